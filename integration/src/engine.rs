//! A private Docker engine, by `scripts/engine.sh`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{repository, run, test_dir};

/// Engines that tests share, one test at a time each: as many as tests run at once.
const SHARED: usize = 2;

/// A Docker engine of our own, in a network namespace with nothing but loopback.
#[derive(Debug)]
pub struct Engine {
    dir: PathBuf,
    mount: Option<PathBuf>,
    // Whoever holds the lock has the engine.
    lock: Option<File>,
}

impl Engine {
    /// One of the shared engines, emptied but for its images; waits until one is free.
    pub fn shared() -> Result<Self> {
        let engines = test_dir().join("engines");
        fs::create_dir_all(&engines)?;
        loop {
            for slot in 0..SHARED {
                let lock = File::create(test_dir().join(format!("engine-{slot}.lock")))?;
                if lock.try_lock().is_ok() {
                    let engine = Self {
                        dir: engines.join(slot.to_string()),
                        mount: None,
                        lock: Some(lock),
                    };
                    engine.up()?;
                    engine.clear()?;
                    return Ok(engine);
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A new one that ends with the test. `filesystem` is what its data root is on: `ext4` or
    /// `xfs` in a file of `mib` MiB.
    pub fn own(name: &str, filesystem: Option<(&str, u64)>) -> Result<Self> {
        let dir = test_dir().join("own").join(name);
        fs::create_dir_all(&dir)?;
        let mut mount = None;
        if let Some((kind, mib)) = filesystem {
            let image = dir.join("disk");
            File::create(&image)?.set_len(mib << 20)?;
            run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image))?;
            let at = dir.join("engine");
            fs::create_dir_all(&at)?;
            run(Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&at))?;
            mount = Some(at);
        }
        let engine = Self {
            dir: mount.clone().unwrap_or(dir),
            mount,
            lock: None,
        };
        engine.up()?;
        Ok(engine)
    }

    /// Starts it, on the same data if it died.
    pub fn up(&self) -> Result<()> {
        run(script().arg("start").arg(&self.dir).arg("--netns"))?;
        Ok(())
    }

    /// SIGKILL for dockerd; its containers live on. [`Engine::up`] starts it again.
    pub fn kill(&self) -> Result<()> {
        let pid = fs::read_to_string(self.dir.join("docker.pid"))?;
        run(Command::new("kill").args(["-9", pid.trim()]))?;
        // The file would be taken for a running daemon's.
        fs::remove_file(self.dir.join("docker.pid"))?;
        Ok(())
    }

    /// SIGTERM for dockerd, as at a reboot: it stops its containers. [`Engine::up`] starts it again.
    pub fn shut_down(&self) -> Result<()> {
        let pid = fs::read_to_string(self.dir.join("docker.pid"))?;
        run(Command::new("kill").args(["-TERM", pid.trim()]))?;
        let process = Path::new("/proc").join(pid.trim());
        crate::wait_for("dockerd has ended", Duration::from_mins(1), || {
            (!process.exists()).then_some(())
        })
    }

    /// Ids and tags of every image.
    pub fn images(&self) -> Result<Vec<String>> {
        let text = self.docker([
            "images",
            "-a",
            "--format",
            "{{.ID}} {{.Repository}}:{{.Tag}}",
        ])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Leaves only so many bytes free on the disk of this engine; the file that takes the rest.
    pub fn fill(&self, free: u64) -> Result<PathBuf> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        let filler = self.dir.join("filler");
        let bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(free);
        run(Command::new("fallocate")
            .arg("-l")
            .arg(bytes.to_string())
            .arg(&filler))?;
        Ok(filler)
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    /// `DockerRootDir`.
    pub fn root(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its network namespace.
    pub fn netns(&self) -> PathBuf {
        self.dir.join("netns")
    }

    /// Runs `docker …` and gives what it printed.
    pub fn docker<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        run(self.docker_command().args(arguments))
    }

    /// `docker` for this engine.
    pub fn docker_command(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command
    }

    /// What `docker inspect` says of every container, running or not.
    pub fn containers(&self) -> Result<Vec<Value>> {
        let ids = self.docker(["ps", "-aq", "--no-trunc"])?;
        if ids.trim().is_empty() {
            return Ok(Vec::new());
        }
        let text = self.docker(["inspect"].into_iter().chain(ids.split_whitespace()))?;
        serde_json::from_str(&text).context("docker inspect")
    }

    /// Names of volumes.
    pub fn volumes(&self) -> Result<Vec<String>> {
        let text = self.docker(["volume", "ls", "-q"])?;
        Ok(text.split_whitespace().map(Into::into).collect())
    }

    /// Where a volume's files are.
    pub fn volume_path(&self, name: &str) -> PathBuf {
        self.root().join("volumes").join(name).join("_data")
    }

    /// Names of networks that are not Docker's own.
    pub fn networks(&self) -> Result<Vec<String>> {
        let text = self.docker([
            "network",
            "ls",
            "--filter",
            "type=custom",
            "--format",
            "{{.Name}}",
        ])?;
        Ok(text.split_whitespace().map(Into::into).collect())
    }

    /// Removes every container, network and volume, and Berth's snapshots.
    pub fn clear(&self) -> Result<()> {
        // Docker takes a moment to see that the ends of a network are gone. 20.10 can forget it
        // for good where a container was removed while it was connected: then a new engine.
        let tries = 5;
        if (0..tries).all(|_| {
            let failed = self.clear_once().is_err();
            if failed {
                std::thread::sleep(Duration::from_millis(300));
            }
            failed
        }) {
            run(script().arg("stop").arg(&self.dir).arg("--purge"))?;
            return self.up();
        }
        let snapshots = self.root().join("berth-snapshots");
        if snapshots.exists() {
            fs::remove_dir_all(snapshots)?;
        }
        Ok(())
    }

    fn clear_once(&self) -> Result<()> {
        self.each(&["ps", "-aq"], &["rm", "-fv"])?;
        self.each(
            &["network", "ls", "-q", "--filter", "type=custom"],
            &["network", "rm"],
        )?;
        self.each(&["volume", "ls", "-q"], &["volume", "rm", "-f"])
    }

    /// Removes every image: what a fresh machine has.
    pub fn forget_images(&self) -> Result<()> {
        self.each(&["images", "-aq"], &["rmi", "-f"])
    }

    fn each(&self, list: &[&str], act: &[&str]) -> Result<()> {
        let found = self.docker(list)?;
        let mut found: Vec<&str> = found.split_whitespace().collect();
        found.sort_unstable();
        found.dedup();
        if !found.is_empty() {
            self.docker(act.iter().chain(&found))?;
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // The next test clears it too; here it frees memory and ports early.
            let _ = self.clear();
            return;
        }
        let _ = run(script().arg("stop").arg(&self.dir));
        if let Some(at) = &self.mount {
            let _ = run(Command::new("umount").arg("-l").arg(at));
        }
        let dir = self
            .mount
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(&self.dir);
        let _ = fs::remove_dir_all(dir);
    }
}

fn script() -> Command {
    let mut command = Command::new("bash");
    command.arg(repository().join("scripts/engine.sh"));
    command
}
