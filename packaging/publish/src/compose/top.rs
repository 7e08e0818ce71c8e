//! Networks and volumes, and what berth.yaml says of things that must exist.

use std::collections::BTreeMap;

use berth_format::config::Field;
use berth_format::release::Migration;
use berth_format::service::{Network, Service, Volume};
use berth_format::{Name, Template, validate};

use crate::berth_yaml::{FILE, ImageSource, UNNAMED};
use crate::compose::cursor::At;
use crate::compose::keys::{self, Scope};
use crate::compose::{Builder, labels};
use crate::problem::Problem;
use crate::yaml::{Kind, Map, Node, Pos};

impl Builder<'_> {
    /// Adds a network that a service is on.
    pub fn used_network(&mut self, name: &Name, user: &At) {
        if self.networks.contains_key(name) {
            return;
        }
        let model = self.model;
        let defined = model.get("networks").and_then(|n| n.get(name.as_str()));
        if defined.is_none() && name.as_str() != "default" {
            user.fail(
                format!("{name} is not defined"),
                format!("add `networks: {{{name}: }}` to the Compose file"),
            );
            return;
        }
        let key = format!("networks.{name}");
        let network = defined.map(|node| network(&At::new(node, key, self.report)));
        self.networks
            .insert(name.clone(), network.unwrap_or_default());
    }

    /// The volume that a mount names.
    pub fn used_volume(&mut self, source: &At) -> Option<Name> {
        let text = source.text()?;
        let Ok(name) = text.parse::<Name>() else {
            source.fail(
                format!("{text:?} is no name of a volume"),
                "a path begins with . or /",
            );
            return None;
        };
        if self.volumes.contains_key(&name) {
            return Some(name);
        }
        let model = self.model;
        let Some(node) = model.get("volumes").and_then(|v| v.get(&text)) else {
            source.fail(
                format!("the volume {text} is not defined"),
                format!(
                    "add `volumes: {{{text}: }}` to the Compose file; a path begins with . or /"
                ),
            );
            return None;
        };
        let volume = self.volume(
            &name,
            &At::new(node, format!("volumes.{text}"), self.report),
        );
        self.volumes.insert(name.clone(), volume);
        Some(name)
    }

    /// A volume that has no name in Compose: it gets one, since an anonymous volume would be
    /// new in each generation.
    pub fn own_volume(&mut self, owner: &Name, target: &str) -> Name {
        let name = super::image_volumes::name(owner, target);
        if !self.volumes.contains_key(&name) {
            let empty = Node::at(&Pos::file(""), Kind::Map(Map::default()));
            let at = At::new(&empty, "", self.report);
            let volume = self.volume(&name, &at);
            self.volumes.insert(name.clone(), volume);
        }
        name
    }

    fn volume(&self, name: &Name, at: &At) -> Volume {
        keys::check(at, Scope::Volume);
        not_external(at, "a volume");
        if let Some(driver) = at.get("driver")
            && driver.text().is_some_and(|d| d != "local")
        {
            driver.fail("is a plugin that the customer does not have", "use `local`");
        }
        let driver_opts = self.driver_opts(at);
        let settings = self.berth.volumes.get(name.as_str());
        let snapshot = settings.is_none_or(|(s, _)| s.snapshot);
        Volume {
            snapshot: snapshot && driver_opts.is_empty(),
            driver_opts,
            labels: labels(at),
        }
    }

    /// Options of the `local` driver, which mounts what they say.
    fn driver_opts(&self, at: &At) -> BTreeMap<String, Template> {
        let Some(at) = at.get("driver_opts") else {
            return BTreeMap::new();
        };
        let options: BTreeMap<_, _> = at
            .entries()
            .into_iter()
            .filter_map(|(key, value)| {
                if !matches!(key, "type" | "device" | "o" | "size") {
                    value.fail(
                        "is no option of the driver `local`",
                        "there are type, device, o and size",
                    );
                }
                Some((key.to_owned(), value.template()?))
            })
            .collect();
        let reaches = validate::reaches_host(&options).or_else(|| {
            let all = options.get("o").map(Template::variables);
            let all = all.unwrap_or_default();
            let mut fields = self.berth.config.iter();
            // A comma begins another word.
            let comma = |f: &Field| f.default.iter().chain(&f.choices).any(|t| t.contains(','));
            let smuggles = fields.any(|f| all.contains(f.name.as_str()) && comma(f));
            smuggles.then_some("o")
        });
        if let Some(at) = reaches.and_then(|option| at.get(option)) {
            at.fail(
                "lets the volume show a path or a disk of the host, and nobody has granted it",
                "use a bind mount, which becomes a grant; the types tmpfs, nfs, cifs and ceph are fine",
            );
        }
        for (one, other) in [("type", "device"), ("device", "type"), ("o", "type")] {
            if options.contains_key(one) && !options.contains_key(other) {
                at.fail(
                    format!("Docker refuses `{one}` without `{other}`"),
                    format!("add `{other}:`"),
                );
            }
        }
        options
    }

    /// The product is the name of the project.
    pub fn check_name(&self, top: &At) {
        if let Some(name) = top.get("name")
            && name
                .text()
                .is_some_and(|n| n != self.berth.product.as_str())
            && self.berth.product.as_str() != UNNAMED
        {
            name.warn(
                "is not the product of berth.yaml, which is what holds",
                "remove it",
            );
        }
    }

    /// Everything in berth.yaml that names a service or a volume names one that is there.
    pub fn check_berth(&self, services: &BTreeMap<Name, Service>) {
        let unknown = |key: String, pos: &Pos, noun: &str, name: &str| {
            self.report.problem(Problem::new(
                pos,
                &key,
                format!("{name} is no {noun} of the release"),
                "correct the name, or remove it",
            ));
        };
        // Before its own problems are solved, a service is not in the release yet.
        let is_service = |name: &str| self.active.contains(name) || services.contains_key(name);
        for (name, (_, pos)) in &self.berth.services {
            if !is_service(name) {
                unknown(format!("services.{name}"), pos, "service", name);
            }
        }
        for (name, (probe, pos)) in &self.berth.probes {
            for name in [name.as_str(), probe.service.as_str()] {
                if !is_service(name) {
                    unknown(format!("probes.{name}"), pos, "service", name);
                }
            }
        }
        if let Some(probe) = &self.berth.upgrade.drained
            && !is_service(probe.service.as_str())
        {
            let (pos, name) = (Pos::file(FILE), probe.service.as_str());
            unknown("upgrade.drained".to_owned(), &pos, "service", name);
        }
        for (name, (_, pos)) in &self.berth.volumes {
            if !self.volumes.contains_key(name.as_str()) && self.report.is_ok() {
                unknown(format!("volumes.{name}"), pos, "volume", name);
            }
        }
        for (path, pos) in &self.berth.host_data {
            if self.host_data.get(path) == Some(&false) {
                self.report.problem(Problem::new(
                    pos,
                    "host_data",
                    format!("no service mounts {path}"),
                    "correct the path, or remove it",
                ));
            }
        }
    }

    /// Where images come from, by their keys in the release.
    pub fn image_sources(
        &self,
        services: &BTreeMap<Name, Service>,
        migrations: &[Migration],
    ) -> BTreeMap<String, ImageSource> {
        let mut out: BTreeMap<String, ImageSource> = BTreeMap::new();
        for (user, (source, pos)) in &self.berth.images {
            let service = services.get(user.as_str());
            let migration = migrations.iter().find(|m| m.name.as_str() == user);
            let key = service
                .map(|s| &s.image)
                .or(migration.map(|m| &m.service.image));
            let place = format!("images.{user}");
            let problem = |what: String, instead: &str| {
                self.report
                    .problem(Problem::new(pos, &place, what, instead));
            };
            match key {
                Some(key) if out.get(key).is_some_and(|s| s != source) => problem(
                    "gives another source to an image that several services use".to_owned(),
                    "say it once",
                ),
                Some(key) => {
                    out.insert(key.clone(), source.clone());
                }
                None if self.active.contains(user) => {}
                None => problem(
                    format!("{user} is no service and no migration"),
                    "correct the name, or remove it",
                ),
            }
        }
        for key in self.images.keys() {
            out.entry(key.clone()).or_insert(ImageSource::Engine);
        }
        out
    }

    /// What is defined and used by nobody is not in the release: the vendor should know.
    pub fn check_unused(&self, top: &At) {
        for (section, used) in [
            (
                "networks",
                self.networks.keys().map(Name::as_str).collect::<Vec<_>>(),
            ),
            ("volumes", self.volumes.keys().map(Name::as_str).collect()),
        ] {
            for (name, at) in top.get(section).map(|s| s.entries()).unwrap_or_default() {
                if !used.contains(&name) {
                    at.warn("is used by no service of the release", "it is left out");
                }
            }
        }
        for section in ["secrets", "configs"] {
            for (name, at) in top.get(section).map(|s| s.entries()).unwrap_or_default() {
                keys::check(&at, Scope::Source);
                not_external(&at, "a secret or config");
                let sources = ["file", "environment", "content"];
                let said: Vec<_> = sources
                    .into_iter()
                    .filter(|k| at.get(k).is_some())
                    .collect();
                if let [one, .., other] = said.as_slice() {
                    at.fail(
                        format!("has `{one}` and `{other}`, and can be only one file"),
                        "keep one of them",
                    );
                }
                if !self.used_files.contains(&(section, name.to_owned())) {
                    at.warn("is used by no service of the release", "it is left out");
                }
            }
        }
    }
}

fn network(at: &At) -> Network {
    keys::check(at, Scope::Network);
    not_external(at, "a network");
    if let Some(driver) = at.get("driver")
        && driver.text().is_some_and(|d| d != "bridge")
    {
        driver.fail("Berth closes doors on bridges only", "use `bridge`");
    }
    let flag = |key: &str| at.get(key).and_then(|a| a.bool());
    if flag("enable_ipv4") == Some(false) {
        at.fail(
            "Berth needs IPv4 between containers",
            "remove `enable_ipv4`",
        );
    }
    let options = at
        .get("driver_opts")
        .map(|o| o.entries())
        .unwrap_or_default();
    Network {
        internal: flag("internal").unwrap_or(false),
        ipv6: flag("enable_ipv6").unwrap_or(false),
        subnet: at.get("ipam").and_then(|i| subnet(&i)),
        driver_opts: options
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value.text()?)))
            .collect(),
        labels: labels(at),
    }
}

fn subnet(at: &At) -> Option<String> {
    keys::check(at, Scope::Ipam);
    if let Some(driver) = at.get("driver")
        && driver.text().is_some_and(|d| d != "default")
    {
        driver.fail("is a plugin that the customer does not have", "remove it");
    }
    let config = at.get("config").map(|c| c.items()).unwrap_or_default();
    for item in &config {
        keys::check(item, Scope::IpamConfig);
    }
    if config.len() > 1 {
        at.fail("has more than one subnet", "keep one");
    }
    let subnet = config.first()?.get("subnet")?;
    let text = subnet.text()?;
    let ok = text.split_once('/').is_some_and(|(ip, bits)| {
        ip.parse::<std::net::IpAddr>().is_ok() && bits.parse::<u8>().is_ok_and(|b| b <= 128)
    });
    if !ok {
        subnet.expected("a subnet such as 172.30.0.0/24");
    }
    Some(text)
}

fn not_external(at: &At, noun: &str) {
    if let Some(external) = at.get("external")
        && (external.node.as_map().is_some() || external.bool() == Some(true))
    {
        external.fail(
            format!("{noun} that the product does not bring is not at the customer"),
            "remove `external`, and let the product bring its own",
        );
    }
}
