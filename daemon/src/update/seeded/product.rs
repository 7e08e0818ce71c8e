//! A product with a random history: releases, and how their images behave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_format::image::{Blob, Image, Platform, PlatformImage};
use berth_format::release::{
    DataPromise, Migration, MigrationPhase, Need, Probe, Release, Requires, Upgrade,
};
use berth_format::service::{
    Attachment, Condition, Dependency, Healthcheck, Mount, Network, NetworkMode, Port, Protocol,
    Restart, Service, Volume,
};
use berth_format::{Digest, Name, Template};
use semver::{Version, VersionReq};

use crate::engine::fake::patient::{Behaviour, Flaw, Role};
use crate::engine::fake::random::Random;

/// A release and what the test knows of it.
pub struct Shipped {
    pub release: Release,
    pub bytes: Vec<u8>,
    /// It cannot become healthy from any version.
    pub bad: bool,
}

/// The product.
pub struct Product {
    pub releases: Vec<Shipped>,
    pub behaviours: BTreeMap<Digest, Behaviour>,
}

/// What goes from release to release.
#[derive(Clone)]
struct Line {
    /// Revision of each service's image.
    revisions: BTreeMap<&'static str, u32>,
    epoch: u32,
    format: u32,
    schema: u32,
    /// The oldest release of the same data.
    since: Version,
    worker: &'static str,
    has_worker: bool,
    has_extra: bool,
    has_side: bool,
    network: u32,
    /// The release that reads what the old database says before the new one runs.
    dump: Option<Version>,
    migrations: Vec<(Version, u32, Flawed)>,
}

type Flawed = Option<Flaw>;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn text(text: &str) -> Template {
    Template::parse(text).unwrap()
}

impl Product {
    /// A product of two to four releases.
    pub fn random(random: &mut Random) -> Self {
        let mut product = Self {
            releases: Vec::new(),
            behaviours: BTreeMap::new(),
        };
        let style = random.draw();
        let mut line = Line {
            revisions: ["db", "cache", "init", "api", "front", "worker", "side"]
                .map(|s| (s, 1))
                .into(),
            epoch: 1,
            format: 1,
            schema: 0,
            since: Version::new(1, 0, 0),
            worker: "worker",
            has_worker: random.chance(70),
            has_extra: random.chance(30),
            has_side: random.chance(30),
            network: 0,
            dump: None,
            migrations: Vec::new(),
        };
        for minor in 0..2 + random.below(3) {
            let version = Version::new(1, minor, 0);
            let before = line.clone();
            let flaw = (minor > 0 && random.chance(35)).then(|| random.below(6));
            if minor == 0 && random.chance(60) {
                line.schema = 1;
                line.migrations.push((version.clone(), 1, None));
            }
            let unchanged = minor > 0 && random.chance(35);
            if minor > 0 {
                step(&mut line, random, &version, unchanged, flaw);
            }
            let bad = product.add(&line, random, style, &version, unchanged, flaw);
            if bad {
                // The next one is made from the last good one.
                line = before;
            }
        }
        product
    }

    fn add(
        &mut self,
        line: &Line,
        random: &mut Random,
        style: u64,
        version: &Version,
        unchanged: bool,
        flaw: Option<u64>,
    ) -> bool {
        let mut release = Release {
            format: berth_format::release::FORMAT,
            product: "shop".parse().unwrap(),
            title: "Shop".into(),
            version: version.clone(),
            upgrade: Upgrade {
                from: if unchanged {
                    format!(">={}", line.since).parse().unwrap()
                } else {
                    VersionReq::STAR
                },
                stop: random.chance(25),
                drained: None,
            },
            notes: String::new(),
            requires: Requires {
                cpus: 0,
                memory: 0,
                disk: 0,
                engine: VersionReq::STAR,
            },
            config: vec![field("PORT", "8080"), field("MODE", "a")],
            grants: Vec::new(),
            data: if unchanged {
                DataPromise::Unchanged
            } else {
                DataPromise::MayChange
            },
            services: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            migrations: Vec::new(),
            images: BTreeMap::new(),
            layers: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        let mut labels = BTreeMap::new();
        if line.network > 0 {
            labels.insert("net".to_owned(), text(&line.network.to_string()));
        }
        let back = Network {
            labels,
            ..Network::default()
        };
        release.networks.insert(name("back"), back);
        let mut volumes = vec![("data", true), ("files", true), ("cache", false)];
        if line.has_extra {
            volumes.push(("extra", true));
        }
        for (volume, snapshot) in volumes {
            let volume_spec = Volume {
                snapshot,
                driver_opts: BTreeMap::new(),
                labels: BTreeMap::new(),
            };
            release.volumes.insert(name(volume), volume_spec);
        }

        let (epoch, schema) = (line.epoch, line.schema);
        let application = Role::Application { epoch, schema };
        let mut bad = false;
        let mut flawed = |hit: bool, flaw| {
            bad |= hit;
            hit.then_some(flaw)
        };
        let front_flaw = flawed(flaw == Some(0), Flaw::NeverHealthy);
        let api_flaw = flawed(flaw == Some(1), Flaw::Ends(1));
        let worker_flaw = flawed(flaw == Some(2) && line.has_worker, Flaw::Ends(3));
        let depends = |on: &[(&str, Condition)]| {
            on.iter()
                .map(|(other, condition)| {
                    let dependency = Dependency {
                        condition: *condition,
                        restart: style & 1 == 1,
                        required: true,
                    };
                    (name(other), dependency)
                })
                .collect::<BTreeMap<_, _>>()
        };

        let mut db = service("db", &["data"], style);
        db.stop(style);
        self.put(
            &mut release,
            line,
            "db",
            "db",
            db.0,
            Role::Database {
                format: line.format,
            },
            None,
        );

        let mut cache = service("cache", &["cache"], style >> 3);
        cache.0.settle_ms = 300;
        cache.0.probe = None;
        cache.0.healthcheck = None;
        self.put(
            &mut release,
            line,
            "cache",
            "cache",
            cache.0,
            Role::Indifferent,
            None,
        );

        let mut init = service("init", &[], style);
        init.0.restart = Restart::No;
        init.0.probe = None;
        init.0.healthcheck = None;
        init.0.depends_on = depends(&[("db", Condition::ServiceHealthy)]);
        self.put(
            &mut release,
            line,
            "init",
            "init",
            init.0,
            Role::OneOff,
            None,
        );

        let mut api = service("api", &["data", "files"], style >> 5);
        api.0.depends_on = depends(&[
            ("db", Condition::ServiceHealthy),
            ("init", Condition::ServiceCompletedSuccessfully),
            ("cache", Condition::ServiceStarted),
        ]);
        self.put(
            &mut release,
            line,
            "api",
            "api",
            api.0,
            application,
            api_flaw,
        );

        let mut front = service("front", &["data", "files"], style >> 7);
        front.0.depends_on = depends(&[("api", Condition::ServiceHealthy)]);
        front.0.ports = vec![Port {
            target: 80,
            protocol: Protocol::Tcp,
            published: Some(text("${PORT}")),
            host_ip: None,
        }];
        if line.has_extra {
            front.0.mounts.push(mount("extra"));
        }
        self.put(
            &mut release,
            line,
            "front",
            "front",
            front.0,
            application,
            front_flaw,
        );

        if line.has_worker {
            let mut worker = service(line.worker, &["files"], style >> 9);
            worker.0.depends_on = depends(&[("db", Condition::ServiceStarted)]);
            worker.0.probe = None;
            worker.0.healthcheck = None;
            worker.0.settle_ms = 1500;
            worker.0.restart = random_restart(style >> 11);
            worker.0.environment.insert("MODE".into(), text("${MODE}"));
            self.put(
                &mut release,
                line,
                "worker",
                line.worker,
                worker.0,
                application,
                worker_flaw,
            );
        }
        if line.has_side {
            let mut side = service("side", &[], style >> 13);
            side.0.network = NetworkMode::Service(name("front"));
            side.0.probe = None;
            side.0.healthcheck = None;
            self.put(
                &mut release,
                line,
                "side",
                "side",
                side.0,
                Role::Indifferent,
                None,
            );
        }

        for (since, schema, flaw) in &line.migrations {
            bad |= flaw.is_some();
            let image = format!("migrate-{schema}-{}", line.epoch);
            self.image(&mut release, &image, version, |takes| Behaviour {
                label: format!("migration {schema} of {version}"),
                role: Role::Migration {
                    epoch,
                    schema: *schema,
                },
                takes,
                fault: *flaw,
            });
            release.migrations.push(Migration {
                name: name(&format!("schema-{schema}")),
                service: Service {
                    image,
                    ..service("migrate", &["data"], 1).0
                },
                needs: vec![Need {
                    service: name("db"),
                    old: false,
                }],
                timeout_ms: 2000,
                from: (*since > Version::new(1, 0, 0))
                    .then(|| format!("<{since}").parse().unwrap()),
                reversible: false,
                phase: MigrationPhase::Stopped,
            });
        }
        // 1.0.0's own migration is for the first install alone.
        for migration in &mut release.migrations {
            if migration.name.as_str() == "schema-1" && migration.from.is_none() {
                migration.from = Some("<1.0.0".parse().unwrap());
            }
        }
        if line.dump.as_ref() == Some(version) {
            let image = format!("dump-{}", line.format);
            let below = line.format;
            self.image(&mut release, &image, version, |takes| Behaviour {
                label: format!("dump for {version}"),
                role: Role::Dump { below },
                takes,
                fault: None,
            });
            let dump = Migration {
                name: name("dump"),
                service: Service {
                    image,
                    ..service("migrate", &[], 1).0
                },
                needs: vec![Need {
                    service: name("db"),
                    old: true,
                }],
                timeout_ms: 2000,
                from: Some(format!("<{version}").parse().unwrap()),
                reversible: true,
                phase: MigrationPhase::Stopped,
            };
            // Before those that the new database is up for.
            release.migrations.insert(0, dump);
        }
        if version.minor > 0 && style & 0xc == 0xc {
            let flaw = (flaw == Some(5)).then_some(Flaw::Ends(1));
            bad |= flaw.is_some();
            let image = format!("pre-{}", version.minor);
            self.image(&mut release, &image, version, |takes| Behaviour {
                label: format!("premigration of {version}"),
                role: Role::Premigration,
                takes,
                fault: flaw,
            });
            let pre = Migration {
                name: name("pre"),
                service: Service {
                    image,
                    ..service("migrate", &["data"], 1).0
                },
                needs: Vec::new(),
                timeout_ms: 2000,
                from: Some(format!("<{version}").parse().unwrap()),
                reversible: true,
                phase: MigrationPhase::Before,
            };
            release.migrations.insert(0, pre);
        }
        let problems = berth_format::validate::check(&release);
        assert!(problems.is_empty(), "{problems:?}");
        let bytes = release.to_bytes();
        self.releases.push(Shipped {
            release,
            bytes,
            bad,
        });
        bad
    }

    #[expect(clippy::too_many_arguments, reason = "one line a service above")]
    fn put(
        &mut self,
        release: &mut Release,
        line: &Line,
        image: &'static str,
        service: &str,
        mut spec: Service,
        role: Role,
        flaw: Flawed,
    ) {
        let mut key = format!("{image}-{}", line.revisions[image]);
        if let Role::Application { epoch, schema } = role {
            key = format!("{key}-{epoch}-{schema}");
        }
        if let Role::Database { format } = role {
            key = format!("{key}-{format}");
        }
        if flaw.is_some() {
            key = format!("{key}-bad-{}", release.version.minor);
        }
        spec.image.clone_from(&key);
        let version = release.version.clone();
        self.image(release, &key, &version, |takes| Behaviour {
            label: format!("{service} of {version}"),
            role,
            takes,
            fault: flaw,
        });
        release.services.insert(name(service), spec);
    }

    fn image(
        &mut self,
        release: &mut Release,
        key: &str,
        version: &Version,
        behaviour: impl FnOnce(Duration) -> Behaviour,
    ) {
        let config = Digest::of(key.as_bytes());
        let takes = Duration::from_millis(50 + u64::from(key.as_bytes()[0]) * 7 % 400);
        self.behaviours
            .entry(config)
            .or_insert_with(|| behaviour(takes));
        let blob = Blob {
            digest: config,
            size: 1,
        };
        let image = PlatformImage {
            config: blob,
            manifest: Digest::of(&berth_format::image::oci_manifest(blob, &[])),
            layers: Vec::new(),
        };
        let image = Image {
            tag: format!("berth.local/shop/{key}:{version}"),
            source: key.to_owned(),
            platforms: BTreeMap::from([(Platform::linux("amd64"), image)]),
        };
        release.images.insert(key.to_owned(), image);
    }
}

fn step(
    line: &mut Line,
    random: &mut Random,
    version: &Version,
    unchanged: bool,
    flaw: Option<u64>,
) {
    for service in ["cache", "init", "side", "front", "api", "worker", "db"] {
        if random.chance(35) {
            *line.revisions.entry(service).or_default() += 1;
        }
    }
    if random.chance(20) {
        line.network += 1;
    }
    if random.chance(20) {
        line.has_worker = !line.has_worker;
    }
    if random.chance(15) {
        line.worker = "crawler";
    }
    if random.chance(20) {
        line.has_extra = !line.has_extra;
    }
    if random.chance(20) {
        line.has_side = !line.has_side;
    }
    if unchanged {
        return;
    }
    line.epoch += 1;
    line.since = version.clone();
    if random.chance(30) {
        line.format += 1;
        line.dump = random.chance(60).then(|| version.clone());
    }
    let flaw = match flaw {
        Some(3) => Some(Flaw::Ends(1)),
        Some(4) => Some(Flaw::Hangs),
        _ => None,
    };
    if random.chance(60) || flaw.is_some() {
        line.schema = u32::try_from(version.minor).unwrap() + 1;
        line.migrations.push((version.clone(), line.schema, flaw));
    }
}

fn field(name: &str, default: &str) -> berth_format::config::Field {
    serde_json::from_value(serde_json::json!({
        "name": name, "type": "string", "label": name, "default": default,
    }))
    .unwrap()
}

fn random_restart(style: u64) -> Restart {
    match style & 3 {
        0 => Restart::Always,
        1 => Restart::UnlessStopped,
        2 => Restart::OnFailure { max_retries: 0 },
        _ => Restart::No,
    }
}

fn mount(volume: &str) -> Mount {
    Mount::Volume {
        volume: name(volume),
        target: format!("/{volume}"),
        read_only: false,
        nocopy: false,
    }
}

struct Draft(Service);

impl Draft {
    fn stop(&mut self, style: u64) {
        self.0.container.stop_grace_ms = Some(style % 1000);
    }
}

/// A service of the network `back`, judged in one of three ways.
fn service(label: &str, volumes: &[&str], style: u64) -> Draft {
    let network = BTreeMap::from([(
        name("back"),
        Attachment {
            aliases: BTreeSet::new(),
        },
    )]);
    let judged = style % 3;
    Draft(Service {
        image: String::new(),
        command: None,
        entrypoint: None,
        environment: BTreeMap::new(),
        ports: Vec::new(),
        expose: BTreeSet::new(),
        mounts: volumes.iter().map(|v| mount(v)).collect(),
        network: NetworkMode::Networks(network),
        depends_on: BTreeMap::new(),
        healthcheck: (judged != 0).then(|| Healthcheck::Test {
            test: (judged == 1).then(|| vec![text("CMD"), text("check")]),
            interval_ms: None,
            timeout_ms: None,
            retries: None,
            start_period_ms: None,
            start_interval_ms: None,
        }),
        probe: (judged != 1).then(|| Probe {
            service: name(label),
            port: 80,
            path: (style & 4 == 4).then(|| "/healthz".into()),
            within_ms: 4000,
        }),
        settle_ms: 800,
        restart: if style & 8 == 8 {
            Restart::Always
        } else {
            Restart::UnlessStopped
        },
        egress: false,
        container: berth_format::service::Container::default(),
        resources: berth_format::service::Resources::default(),
    })
}
