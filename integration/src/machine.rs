//! A customer's machine: an engine, a berthd, and a user of the product.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Answer, Berthd, Client, Engine, Published, Tree, run, test_dir, volumes, wait_for};

/// The port that the tests publish the product on; every engine has a network of its own.
pub const PORT: u16 = 8080;

/// A machine with Berth on it. Fields end in this order: berthd before its engine.
#[derive(Debug)]
pub struct Machine {
    pub berthd: Berthd,
    pub engine: Engine,
    pub client: Client,
    pub published: Published,
    pub dir: TempDir,
}

impl Machine {
    /// Berth runs and trusts lantern's vendor; nothing is installed.
    pub fn new() -> Result<Self> {
        let machine = Self::without_trust(Engine::shared()?)?;
        let fingerprint = machine.published.fingerprint();
        machine.berth(["trust", &fingerprint]).good()?;
        Ok(machine)
    }

    /// Berth runs and trusts nobody.
    pub fn without_trust(engine: Engine) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("machine-")
            .tempdir_in(test_dir())?;
        let mut berthd = Berthd::new(dir.path(), &engine);
        berthd.start()?;
        Ok(Self {
            client: Client::new(engine.netns(), PORT),
            berthd,
            engine,
            published: Published::open(),
            dir,
        })
    }

    /// A version of lantern is installed and has data.
    pub fn with(version: &str) -> Result<Self> {
        let machine = Self::new()?;
        machine.install(version).good()?;
        machine
            .client
            .put("notes/keep.txt", "a heron stands still")?;
        machine.wait_indexed()?;
        Ok(machine)
    }

    /// `berth --json …`.
    pub fn berth<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Answer {
        self.berthd.cli(words)
    }

    /// `berth install` of one version's own bundle, with all that it wants.
    pub fn install(&self, version: &str) -> Answer {
        self.berth(self.install_words(version))
    }

    /// The words of [`Machine::install`].
    pub fn install_words(&self, version: &str) -> Vec<String> {
        let bundle = self.published.bundle(version).display().to_string();
        let url = "EXTERNAL_URL=http://localhost:8080";
        let words = ["install", &bundle, "--set", url, "--yes", "--accept-grants"];
        words.map(Into::into).to_vec()
    }

    /// `berth update` from the bundle with every version.
    pub fn update(&self, to: &str) -> Answer {
        self.berth(self.update_words(to))
    }

    /// The words of [`Machine::update`].
    pub fn update_words(&self, to: &str) -> Vec<String> {
        let bundle = self.published.all().display().to_string();
        ["update", &bundle, "--to", to, "--yes", "--accept-grants"]
            .map(Into::into)
            .to_vec()
    }

    pub fn status(&self) -> Result<Value> {
        self.berth(["status"]).good()
    }

    /// Newest first.
    pub fn history(&self) -> Result<Vec<Value>> {
        let history = self.berth(["history"]).good()?;
        history.as_array().cloned().context("a list of runs")
    }

    /// Waits until `berth status` says that this version runs, whole and healthy.
    pub fn wait_healthy(&self, version: &str) -> Result<()> {
        let mut last = Value::Null;
        let answer = wait_for(
            &format!("{version} healthy"),
            Duration::from_secs(90),
            || {
                last = self.status().ok()?;
                (last["state"] == "healthy" && last["version"] == version && last["run"].is_null())
                    .then_some(())
            },
        );
        answer.with_context(|| format!("{last:#}\n{}", self.berthd.log()))?;
        let (found, _) = self.client.version()?;
        ensure!(
            found == version,
            "the gateway says {found}, status says {version}"
        );
        Ok(())
    }

    /// Waits until the sample repository on the volume is found.
    pub fn wait_indexed(&self) -> Result<()> {
        wait_for("the sample is indexed", Duration::from_secs(30), || {
            let hits = self.client.search("lighthouse").ok()?;
            (hits.len() >= 3).then_some(())
        })
    }

    /// Waits until the state of the whole is this word.
    pub fn wait_state(&self, state: &str) -> Result<()> {
        let mut last = Value::Null;
        wait_for(state, Duration::from_mins(1), || {
            last = self.status().ok()?;
            (last["state"] == state && last["run"].is_null()).then_some(())
        })
        .with_context(|| format!("{last:#}"))
    }

    /// Links of the machine's network.
    pub fn links(&self) -> Result<Vec<String>> {
        let netns = format!("--net={}", self.engine.netns().display());
        let text = run(Command::new("nsenter").args([&netns, "ip", "-o", "link"]))?;
        let names = text.lines().filter_map(|line| line.split(": ").nth(1));
        Ok(names.map(Into::into).collect())
    }

    /// Routes of the machine's network, of IPv4 and IPv6.
    pub fn routes(&self) -> Result<Vec<String>> {
        let netns = format!("--net={}", self.engine.netns().display());
        let mut routes = Vec::new();
        for family in ["-4", "-6"] {
            let ip = ["ip", family, "route", "show", "table", "all"];
            let text = run(Command::new("nsenter").arg(&netns).args(ip))?;
            routes.extend(text.lines().map(str::to_owned));
        }
        Ok(routes)
    }

    /// Waits until the run that is under way is in this phase.
    pub fn wait_phase(&self, phase: &str) -> Result<()> {
        let mut last = Value::Null;
        wait_for(&format!("phase {phase}"), Duration::from_secs(90), || {
            last = self.status().ok()?;
            let now = &last["run"]["phase"];
            (now["at"] == phase || *now == *phase).then_some(())
        })
        .with_context(|| format!("{last:#}\n{}", self.berthd.log()))
    }

    /// Waits until berthd stands still in this phase, or (`phase+`) at its end.
    pub fn wait_held(&self, phase: &str) -> Result<()> {
        self.wait_phase(phase.trim_end_matches('+'))?;
        let line = format!("held at {phase}");
        wait_for(&line, Duration::from_secs(90), || {
            let log = self.berthd.log();
            log.lines()
                .rev()
                .take(50)
                .any(|l| l.ends_with(&line))
                .then_some(())
        })
        .with_context(|| self.berthd.log())
    }

    /// Container ids by service, of those that run.
    pub fn running(&self) -> Result<std::collections::BTreeMap<String, String>> {
        let mut running = std::collections::BTreeMap::new();
        for container in self.engine.containers()? {
            if container["State"]["Running"] == true {
                let name = container["Config"]["Labels"]["berth.name"].as_str();
                let id = container["Id"].as_str().unwrap_or_default();
                running.insert(name.unwrap_or("?").to_owned(), id.to_owned());
            }
        }
        Ok(running)
    }

    /// When a service's container was started, as Docker writes it.
    pub fn started(&self, service: &str) -> Result<String> {
        let containers = self.engine.containers()?;
        let container = containers.iter().find(|c| {
            c["Config"]["Labels"]["berth.name"] == service && c["State"]["Running"] == true
        });
        let container = container.with_context(|| format!("{service} does not run"))?;
        Ok(container["State"]["StartedAt"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// The files of one of the product's volumes that only the user writes to.
    pub fn quiet_tree(&self, volume: &str) -> Result<Tree> {
        let name = format!("{}_{volume}", crate::PRODUCT);
        let path = self.engine.volume_path(&name);
        if path.exists() {
            volumes::tree(&path)
        } else {
            Ok(Tree::new())
        }
    }

    /// All files of all volumes; while nothing runs.
    pub fn volume_trees(&self) -> Result<Tree> {
        let mut all = Tree::new();
        for volume in self.engine.volumes()? {
            let path: PathBuf = self.engine.volume_path(&volume);
            for (name, line) in volumes::tree(&path)? {
                all.insert(format!("{volume}/{name}"), line);
            }
        }
        Ok(all)
    }
}
