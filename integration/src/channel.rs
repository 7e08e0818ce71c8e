//! A vendor's channel: a folder that `berth-publish` keeps, behind Debian's nginx.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::{Client, Machine, program, run, wait_for};

/// The port of the web server, in the machine's network.
pub const PORT: u16 = 8088;

/// The folder that a vendor publishes.
#[derive(Debug)]
pub struct Vendor {
    www: PathBuf,
    keys: PathBuf,
}

impl Vendor {
    /// What `berth-publish build` wrote, with no channel yet.
    pub fn new(machine: &Machine) -> Result<Self> {
        let www = machine.dir.path().join("www");
        run(Command::new("cp")
            .arg("-r")
            .arg(machine.published.releases())
            .arg(&www))?;
        Ok(Self {
            www,
            keys: machine.published.keys(),
        })
    }

    /// `berth-publish channel COMMAND` on `stable`.
    pub fn publish(&self, words: &[&str]) -> Result<String> {
        let (command, rest) = words.split_first().unwrap_or((&"refresh", &[]));
        run(Command::new(program("berth-publish"))
            .args(["channel", command])
            .arg(&self.www)
            .args(["--channel", "stable", "--key"])
            .arg(&self.keys)
            .args(rest))
    }

    /// `berth-publish bundle` with `stable` in it; the path of the file.
    pub fn bundle(&self, name: &str, words: &[&str]) -> Result<String> {
        let to = self.www.with_file_name(name);
        run(Command::new(program("berth-publish"))
            .arg("bundle")
            .arg(&self.www)
            .args(["--channel", "stable", "--key"])
            .arg(&self.keys)
            .arg("--out")
            .arg(&to)
            .args(words))?;
        Ok(to.display().to_string())
    }

    /// A file of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.www.join(name)
    }
}

/// A vendor's folder and the server before it.
#[derive(Debug)]
pub struct WebServer {
    dir: PathBuf,
    vendor: Vendor,
    netns: PathBuf,
    nginx: Option<Child>,
}

impl WebServer {
    /// Serves what `berth-publish build` wrote, with no channel yet.
    pub fn start(machine: &Machine) -> Result<Self> {
        let dir = machine.dir.path().join("web");
        fs::create_dir_all(&dir)?;
        let mut server = Self {
            dir,
            vendor: Vendor::new(machine)?,
            netns: machine.engine.netns(),
            nginx: None,
        };
        server.up()?;
        Ok(server)
    }

    /// Starts the server.
    pub fn up(&mut self) -> Result<()> {
        let (dir, www) = (self.dir.display(), self.vendor.www.display());
        let config = self.dir.join("nginx.conf");
        fs::write(
            &config,
            format!(
                "daemon off; master_process off; user root; pid {dir}/pid; error_log {dir}/errors;\n\
                 events {{}}\n\
                 http {{ access_log {dir}/log; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;\n\
                 fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
                 server {{ listen 127.0.0.1:{PORT}; root {www}; }} }}\n"
            ),
        )?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net={}", self.netns.display()))
            .args(["nginx", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.nginx = Some(child);
        let client = Client::new(self.netns.clone(), PORT);
        wait_for("nginx listens", Duration::from_secs(10), || {
            client.connects().then_some(())
        })
    }

    /// Ends the server.
    pub fn down(&mut self) -> Result<()> {
        if let Some(mut nginx) = self.nginx.take() {
            nginx.kill()?;
            nginx.wait()?;
        }
        Ok(())
    }

    /// What an appliance is told to follow.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{PORT}/")
    }

    /// The same through a port of somebody else's.
    pub fn url_through(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}/")
    }

    /// Bytes of all files that were asked for with success, each once.
    pub fn asked_for(&self) -> u64 {
        let log = self.log();
        let good = log
            .iter()
            .filter(|line| line.contains("\" 200 ") || line.contains("\" 206 "));
        let paths: BTreeSet<&str> = good
            .filter_map(|line| line.split("GET /").nth(1)?.split(' ').next())
            .collect();
        let size = |path: &&str| fs::metadata(self.file(path)).map_or(0, |m| m.len());
        paths.iter().map(size).sum()
    }

    /// A file of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.vendor.file(name)
    }

    /// `berth-publish channel COMMAND` on `stable`.
    pub fn publish(&self, words: &[&str]) -> Result<String> {
        self.vendor.publish(words)
    }

    /// Offers these releases.
    pub fn offer(&self, versions: &[&str]) -> Result<String> {
        let words = versions.iter().flat_map(|version| ["--release", version]);
        let words: Vec<&str> = ["publish"].into_iter().chain(words).collect();
        self.publish(&words)
    }

    /// Lines of the server's log, as `"GET /x HTTP/1.1" 200 …`.
    pub fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        text.lines().map(Into::into).collect()
    }

    /// Copies the channel's folder aside, or back.
    pub fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        run(Command::new("cp").arg("-r").arg(from).arg(to))?;
        Ok(())
    }

    /// Gives the channel's file another time: nginx makes an entity tag of second and size, and both
    /// may be those of what was there before.
    pub fn touch(&self, year: u32) -> Result<()> {
        let file = self.file("stable/channel.json");
        run(Command::new("touch")
            .args(["-d", &format!("{year}-01-01")])
            .arg(file))?;
        Ok(())
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.down();
    }
}
