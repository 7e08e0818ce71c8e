//! One service of the model to one service of the release.

use std::collections::BTreeMap;

use berth_format::service::{Condition, Dependency, Healthcheck, Restart, Service};
use berth_format::{Name, Template};

use crate::compose::cursor::At;
use crate::compose::keys::{self, Scope};
use crate::compose::{Builder, network, words};
use crate::yaml::Kind;

/// Without healthcheck and probe, a service must stay up this long, milliseconds.
const SETTLE_MS: u64 = 3000;

impl Builder<'_> {
    /// Reads a service. `at` is in long form.
    pub fn service(&mut self, name: &Name, at: &At) -> Option<Service> {
        let key = keys::check_but;
        key(at, Scope::Service, &self.berth.ignore);
        if at.node.as_map().is_none() {
            at.expected("a map with `image`");
            return None;
        }
        let image = at.get("image");
        if image.is_none() && (at.get("build").is_none() || !self.berth.ignore.is_empty()) {
            at.fail(
                "has no `image`",
                "build the image before and name it in `image:`",
            );
        }
        one_only(at);
        self.platform(at);
        let image = image.and_then(|i| i.text());
        let image = image.map(|source| self.image(name, &source));
        let network = self.network(name, at);
        let services = self.berth.services.get(name.as_str()).map(|(s, _)| *s);
        let settings = services.unwrap_or_default();
        let service = Service {
            image: image.clone().unwrap_or_default(),
            command: at.get("command").map(|c| command(&c)),
            entrypoint: at.get("entrypoint").map(|e| command(&e)),
            environment: self.environment(at),
            ports: network::ports(at, &network),
            expose: network::expose(at),
            mounts: self.mounts(name, at),
            network,
            depends_on: self.depends_on(at),
            healthcheck: at.get("healthcheck").map(|h| healthcheck(&h)),
            probe: self.berth.probes.get(name.as_str()).map(|(p, _)| p.clone()),
            settle_ms: settings.settle_ms.unwrap_or(SETTLE_MS),
            restart: restart(at),
            egress: settings.egress,
            container: self.container(name, at),
            resources: Self::resources(at),
        };
        // Only now, so that everything else that is wrong is told at once.
        image.map(|_| service)
    }

    fn platform(&self, at: &At) {
        let Some(at) = at.get("platform").filter(|p| p.node.as_text() != Some("")) else {
            return;
        };
        let Some(wanted) = at.parse_or_explain::<berth_format::image::Platform>() else {
            return;
        };
        if self.berth.platforms != [wanted.clone()] {
            let all: Vec<_> = self
                .berth
                .platforms
                .iter()
                .map(ToString::to_string)
                .collect();
            at.fail(
                format!("asks for {wanted}, the release is for {}", all.join(", ")),
                "remove it; `platforms:` in berth.yaml says what the release is for",
            );
        }
    }

    /// `env_file` below `environment`, as in Compose.
    pub fn environment(&self, at: &At) -> BTreeMap<String, Template> {
        let mut out = BTreeMap::new();
        for file in at.get("env_file").map(|f| f.items()).unwrap_or_default() {
            for (name, value) in file
                .get("x-values")
                .map(|v| v.entries())
                .unwrap_or_default()
            {
                out.extend(value.template().map(|t| (name.to_owned(), t)));
            }
        }
        for (name, value) in at
            .get("environment")
            .map(|e| e.entries())
            .unwrap_or_default()
        {
            let template = if matches!(value.node.kind, Kind::Null) {
                let known = self.variables.get(name);
                if known.is_none() {
                    value.fail(
                        format!("{name} would come from the shell that runs Compose"),
                        format!("give it a value, make {name} a field under `config:` in berth.yaml, or remove it"),
                    );
                }
                known.and_then(|source| Template::parse(&source).ok())
            } else {
                value.plain_text()
            };
            if name.is_empty() || name.contains(['=', '\0']) {
                value.fail(
                    format!("{name:?} is no name of a variable"),
                    "write NAME=value",
                );
            }
            out.extend(template.map(|t| (name.to_owned(), t)));
        }
        out
    }

    fn depends_on(&self, at: &At) -> BTreeMap<Name, Dependency> {
        let mut out = BTreeMap::new();
        for (name, at) in at
            .get("depends_on")
            .map(|d| d.entries())
            .unwrap_or_default()
        {
            keys::check(&at, Scope::DependsOn);
            let condition = match at.get("condition").map(|c| (c.text(), c)) {
                None => Condition::ServiceStarted,
                Some((Some(text), c)) => match text.as_str() {
                    "service_started" => Condition::ServiceStarted,
                    "service_healthy" => Condition::ServiceHealthy,
                    "service_completed_successfully" => Condition::ServiceCompletedSuccessfully,
                    _ => {
                        c.expected(
                            "service_started, service_healthy or service_completed_successfully",
                        );
                        continue;
                    }
                },
                Some((None, _)) => continue,
            };
            let flag =
                |key: &str, default: bool| at.get(key).and_then(|a| a.bool()).unwrap_or(default);
            let (required, restart) = (flag("required", true), flag("restart", false));
            match name.parse::<Name>() {
                Ok(other) if self.active.contains(name) => {
                    let dependency = Dependency {
                        condition,
                        restart,
                        required,
                    };
                    out.insert(other, dependency);
                }
                _ if self.left_out.contains(name) && !required => {}
                _ => self.missing(&at, name, "add the profile, or say `required: false`"),
            }
        }
        out
    }
}

impl Builder<'_> {
    /// Reports a service that is named and not there.
    pub fn missing(&self, at: &At, name: &str, add: &str) {
        if self.left_out.contains(name) {
            let what =
                format!("{name} is left out: none of its profiles is in `profiles:` of berth.yaml");
            at.fail(what, add);
        } else {
            at.fail(
                format!("{name} is no service"),
                "correct the name, or remove it",
            );
        }
    }
}

/// `scale` and `deploy` ask for one container.
fn one_only(at: &At) {
    let deploy = at.get("deploy");
    if let Some(deploy) = &deploy {
        keys::check(deploy, Scope::Deploy);
        if let Some(mode) = deploy.get("mode")
            && mode.text().is_some_and(|m| m != "replicated")
        {
            mode.fail("belongs to Swarm; an appliance is one machine", "remove it");
        }
    }
    let replicas = deploy.and_then(|d| d.get("replicas"));
    for count in replicas.into_iter().chain(at.get("scale")) {
        if count.text().is_some_and(|c| c.trim() != "1") {
            count.fail(
                "a service of an appliance is one container",
                "write a service for each, or let one container run several workers",
            );
        }
    }
}

/// Text is split as a shell would.
pub fn command(at: &At) -> Vec<Template> {
    if at.node.as_seq().is_some() {
        return at.items().iter().filter_map(At::template).collect();
    }
    let Some(template) = at.template() else {
        return Vec::new();
    };
    match words::split(template.source()) {
        Ok(words) => {
            let all = words.iter().map(|w| Template::parse(w));
            all.filter_map(Result::ok).collect()
        }
        Err(why) => {
            at.fail(why, "close it, or write a list");
            Vec::new()
        }
    }
}

fn healthcheck(at: &At) -> Healthcheck {
    keys::check(at, Scope::Healthcheck);
    if at.get("disable").and_then(|d| d.bool()) == Some(true) {
        return Healthcheck::Disabled;
    }
    let test = match at.get("test") {
        None => None,
        Some(test) if test.node.as_seq().is_some() => {
            let all: Vec<_> = test.items().iter().filter_map(At::template).collect();
            match all.first().map(Template::source) {
                Some("NONE") => return Healthcheck::Disabled,
                Some("CMD" | "CMD-SHELL") if all.len() > 1 => {}
                None => {}
                _ => test.expected("NONE, or CMD or CMD-SHELL and what to run"),
            }
            // An empty list is the image's own test, with the times of here.
            (!all.is_empty()).then_some(all)
        }
        Some(test) => {
            let shell = Template::literal("CMD-SHELL");
            test.template().map(|t| vec![shell, t])
        }
    };
    let time = |key: &str| at.get(key).and_then(|a| a.duration_ms());
    Healthcheck::Test {
        test,
        interval_ms: time("interval"),
        timeout_ms: time("timeout"),
        retries: at.get("retries").and_then(|r| r.parse("a whole number")),
        start_period_ms: time("start_period"),
        start_interval_ms: time("start_interval"),
    }
}

fn restart(at: &At) -> Restart {
    let policy = at.get("deploy").and_then(|d| d.get("restart_policy"));
    if let Some(policy) = policy {
        keys::check(&policy, Scope::RestartPolicy);
        if let Some(restart) = at.get("restart") {
            restart.fail("stands beside deploy.restart_policy", "keep one of them");
        }
        let attempts = policy.get("max_attempts");
        let count = attempts.as_ref().and_then(|a| a.parse("a whole number"));
        let restart = match policy.get("condition").map(|c| (c.text(), c)) {
            None => Restart::Always,
            Some((text, c)) => match text.as_deref() {
                Some("none") | None => Restart::No,
                Some("on-failure") => Restart::OnFailure {
                    max_retries: count.unwrap_or(0),
                },
                Some("any") => Restart::Always,
                Some(_) => {
                    c.expected("none, on-failure or any");
                    Restart::No
                }
            },
        };
        if let Some(attempts) = attempts
            && !matches!(restart, Restart::OnFailure { .. })
        {
            attempts.fail(
                "Docker counts attempts only after failures",
                "say `condition: on-failure`, or remove it",
            );
        }
        return restart;
    }
    let Some(at) = at.get("restart") else {
        return Restart::No;
    };
    match at.text().as_deref() {
        Some("no" | "false") | None => Restart::No,
        Some("always") => Restart::Always,
        Some("unless-stopped") => Restart::UnlessStopped,
        Some("on-failure") => Restart::OnFailure { max_retries: 0 },
        Some(text) => {
            let count = text
                .strip_prefix("on-failure:")
                .and_then(|n| n.parse().ok());
            if count.is_none() {
                at.expected("no, always, unless-stopped, on-failure or on-failure:N");
            }
            count.map_or(Restart::No, |max_retries| Restart::OnFailure {
                max_retries,
            })
        }
    }
}
