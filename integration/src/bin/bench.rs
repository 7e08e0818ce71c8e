//! The measurements of the project, each beside what it is measured against, in one run.
//!
//! `scripts/bench.sh` makes ready what it needs: release builds, the published product, Compose.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_integration::{Client, Engine, Machine, Outage, program, repository, run, wait_for};
use serde_json::Value;

/// Runs of each side; the median counts.
const RUNS: usize = 3;

/// Services of lantern 1.x that have an image of their own.
const IMAGES: [&str; 4] = ["frontend", "gateway", "indexer", "migrator"];

fn main() -> Result<()> {
    let mut table = Table::default();
    sizes(&mut table)?;
    imports(&mut table)?;
    idle(&mut table)?;
    downtime(&mut table)?;
    table.print();
    Ok(())
}

#[derive(Default)]
struct Table(Vec<[String; 5]>);

impl Table {
    /// `ours` beside `theirs` where there is one, judged by their ratio.
    fn ratio(&mut self, what: &str, ours: Duration, theirs: Duration, goal: f64) {
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64().max(1e-9);
        self.row(
            what,
            &format!("{:.2} s", ours.as_secs_f64()),
            &format!("{:.2} s", theirs.as_secs_f64()),
            &format!("{ratio:.3} (goal {goal})"),
            ratio <= goal,
        );
    }

    fn bytes(&mut self, what: &str, bytes: u64, goal: u64) {
        let mib = |bytes: u64| f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0;
        self.row(
            what,
            &format!("{:.1} MiB", mib(bytes)),
            "",
            &format!("goal {:.0} MiB", mib(goal)),
            bytes <= goal,
        );
    }

    fn row(&mut self, what: &str, ours: &str, theirs: &str, judged: &str, met: bool) {
        let met = if met { "met" } else { "NOT MET" };
        eprintln!("{what}: {ours} {theirs} {judged} {met}");
        self.0
            .push([what, ours, theirs, judged, met].map(Into::into));
    }

    fn print(&self) {
        println!(
            "{:<58} {:>12} {:>12}  {:<22}",
            "measured", "berth", "other", "ratio or goal"
        );
        for [what, ours, theirs, judged, met] in &self.0 {
            println!("{what:<58} {ours:>12} {theirs:>12}  {judged:<22} {met}");
        }
    }
}

fn sizes(table: &mut Table) -> Result<()> {
    let size = fs::metadata(program("berthd"))?.len();
    table.bytes(
        "size of berthd, stripped (no goal but small)",
        size,
        32 << 20,
    );
    Ok(())
}

fn imports(table: &mut Table) -> Result<()> {
    let engine = Engine::own("docker", None)?;
    build_images(&engine)?;
    let first = saved(&engine, "1.0.0")?;
    let second = saved(&engine, "1.1.0")?;
    let mut docker = Vec::new();
    let mut docker_second = Vec::new();
    let mut berth: [Vec<Duration>; 3] = Default::default();
    let mut peak = 0;
    for _ in 0..RUNS {
        engine.forget_images()?;
        docker.push(load(&engine, &first)?);
        docker_second.push(load(&engine, &second)?);

        let machine = Machine::new()?;
        machine.engine.forget_images()?;
        let pid = machine.berthd.pid().context("berthd runs")?;
        machine.install("1.0.0").good()?;
        berth[0].push(fetch_time(&machine, 0)?);
        machine.update("1.1.0").good()?;
        berth[1].push(fetch_time(&machine, 0)?);
        peak = peak.max(memory(pid, "VmHWM")?);
        machine.berth(["rollback", "--confirm", "1.0.0"]).good()?;
        machine.update("1.1.0").good()?;
        berth[2].push(fetch_time(&machine, 0)?);
    }
    let docker = median(docker);
    let [whole, known, again] = berth.map(median);
    table.ratio(
        "import of a full bundle vs docker load of a .tar.gz",
        whole,
        docker,
        0.85,
    );
    let what = "the same where the next version shares its layers";
    table.ratio(what, known, median(docker_second), 0.15);
    table.ratio("a second import of the same bundle", again, docker, 0.02);
    table.bytes("peak memory of berthd with three imports", peak, 64 << 20);
    Ok(())
}

fn idle(table: &mut Table) -> Result<()> {
    let mut machine = Machine::with("1.0.0")?;
    machine.berthd.kill()?;
    machine.berthd.start()?;
    std::thread::sleep(Duration::from_secs(15));
    let pid = machine.berthd.pid().context("berthd runs")?;
    let idle = memory(pid, "VmRSS")?;
    table.bytes("idle memory of berthd, a product installed", idle, 10 << 20);
    Ok(())
}

fn downtime(table: &mut Table) -> Result<()> {
    let berth = {
        let machine = Machine::with("1.1.0")?;
        let watch = machine.client.watch("/healthz");
        std::thread::sleep(Duration::from_secs(1));
        machine.update("1.2.0").good()?;
        settled(&machine.client, "1.2.0")?;
        watch.stop()
    };
    let engine = Engine::shared()?;
    build_images(&engine)?;
    let compose = Compose::new(&engine)?;
    let as_written = compose.update(None)?;
    let only_frontend = compose.update(Some("lantern/{}:1.1.0"))?;
    eprintln!("berth {berth:?}\ncompose {as_written:?}\ncompose, one service {only_frontend:?}");
    ensure!(berth.ended_well && as_written.ended_well && only_frontend.ended_well);
    table.ratio(
        "downtime of 1.1.0 -> 1.2.0 vs docker compose up --wait",
        berth.total,
        as_written.total,
        0.5,
    );
    table.ratio(
        "the same, where only the frontend's tag changed for Compose",
        berth.total,
        only_frontend.total,
        0.5,
    );
    Ok(())
}

/// The vendor's own Compose file, run by Compose.
struct Compose<'a> {
    engine: &'a Engine,
    program: PathBuf,
    client: Client,
}

impl<'a> Compose<'a> {
    fn new(engine: &'a Engine) -> Result<Self> {
        let program = std::env::var_os("BERTH_BENCH_COMPOSE").context("BERTH_BENCH_COMPOSE")?;
        Ok(Self {
            engine,
            program: program.into(),
            client: Client::new(engine.netns(), 8080),
        })
    }

    /// What a client sees of 1.1.0 -> 1.2.0; `pinned` is the image of what need not change.
    fn update(&self, pinned: Option<&str>) -> Result<Outage> {
        self.engine.clear()?;
        let dir = tempfile::tempdir()?;
        let override_file = dir.path().join("pinned.yaml");
        let mut text = "services: {}\n".to_owned();
        if let Some(image) = pinned {
            let line =
                |(service, image): (&str, String)| format!("  {service}: {{image: {image}}}\n");
            let kept = [
                ("gateway", "gateway"),
                ("indexer", "indexer"),
                ("sample", "indexer"),
            ];
            let lines = kept.map(|(service, name)| line((service, image.replace("{}", name))));
            text = format!("services:\n{}", lines.concat());
        }
        fs::write(&override_file, text)?;
        self.up("1.1.0", &override_file, &["up", "-d", "--wait", "db"])?;
        self.up("1.1.0", &override_file, &["run", "--rm", "-T", "migrator"])?;
        // A one-off that ended well is an error to `--wait`.
        let _ = self.up("1.1.0", &override_file, &["up", "-d", "--wait"]);
        settled(&self.client, "1.1.0")?;
        let watch = self.client.watch("/healthz");
        std::thread::sleep(Duration::from_secs(1));
        let _ = self.up("1.2.0", &override_file, &["up", "-d", "--wait"]);
        settled(&self.client, "1.2.0")?;
        let outage = watch.stop();
        self.engine.clear()?;
        Ok(outage)
    }

    fn up(&self, version: &str, extra: &Path, words: &[&str]) -> Result<String> {
        let folder = repository().join("images/lantern/versions").join(version);
        run(Command::new(&self.program)
            .args(["-p", "lantern", "--project-directory"])
            .arg(&folder)
            .arg("-f")
            .arg(folder.join("compose.yaml"))
            .arg("-f")
            .arg(extra)
            .args(words)
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.engine.socket().display()),
            )
            .env("DB_PASSWORD", "bench")
            .env("EXTERNAL_URL", "http://localhost:8080")
            .env("HTTP_PORT", "8080")
            .stdin(Stdio::null()))
    }
}

fn settled(client: &Client, version: &str) -> Result<()> {
    wait_for(version, Duration::from_secs(90), || {
        let (found, _) = client.version().ok()?;
        let healthy = client.get("/healthz").ok()?.status == 200;
        (found == version && healthy).then_some(())
    })?;
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

fn build_images(engine: &Engine) -> Result<()> {
    run(Command::new("bash")
        .arg(repository().join("images/build.sh"))
        .env(
            "DOCKER_HOST",
            format!("unix://{}", engine.socket().display()),
        ))?;
    Ok(())
}

/// `docker save | gzip` of one version's images.
fn saved(engine: &Engine, version: &str) -> Result<PathBuf> {
    let file = berth_integration::test_dir().join(format!("lantern-{version}.tar.gz"));
    let tags = IMAGES.map(|image| format!("lantern/{image}:{version}"));
    run(Command::new("bash")
        .args([
            "-o",
            "pipefail",
            "-c",
            "docker save lantern/db:15 lantern/cache:7 \"${@:2}\" | gzip >\"$1\"",
            "save",
        ])
        .arg(&file)
        .args(tags)
        .env(
            "DOCKER_HOST",
            format!("unix://{}", engine.socket().display()),
        ))?;
    Ok(file)
}

fn load(engine: &Engine, file: &Path) -> Result<Duration> {
    run(&mut Command::new("sync"))?;
    let begun = Instant::now();
    engine.docker(["load", "-q", "-i", &file.display().to_string()])?;
    Ok(begun.elapsed())
}

/// How long the step `fetch` of the last run took, in its hop.
fn fetch_time(machine: &Machine, hop: u64) -> Result<Duration> {
    let id = machine.history()?[0]["id"].clone();
    let url = format!("http://berth/v1/runs/{id}");
    let text = run(Command::new("curl")
        .args(["-fsS", "--unix-socket"])
        .arg(machine.berthd.socket())
        .arg(url))?;
    let detail: Value = serde_json::from_str(&text)?;
    let entries = detail["entries"].as_array().context("entries")?;
    let at = |event: &str| -> Result<f64> {
        let entry = entries
            .iter()
            .find(|e| e["phase"]["at"] == "fetch" && e["event"] == event && e["hop"] == hop);
        let at = entry.with_context(|| format!("fetch {event}"))?["at"].clone();
        let at = at.as_str().context("a time")?;
        let seconds = run(Command::new("date").args(["+%s.%N", "-d", at]))?;
        Ok(seconds.trim().parse()?)
    };
    Ok(Duration::from_secs_f64(
        (at("done")? - at("begun")?).max(0.0),
    ))
}

/// A line of /proc/PID/status, in bytes.
fn memory(pid: u32, line: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status
        .lines()
        .find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
    let kib = value.with_context(|| line.to_owned())?;
    let kib: u64 = kib.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib << 10)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
