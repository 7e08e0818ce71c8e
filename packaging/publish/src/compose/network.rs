//! Networks of a service, and the ports that it has on them.

use std::collections::{BTreeMap, BTreeSet};

use berth_format::Name;
use berth_format::release::GrantKind;
use berth_format::service::{Attachment, NetworkMode, Port};

use crate::compose::cursor::At;
use crate::compose::keys::{self, Scope};
use crate::compose::{Builder, ports};

/// What belongs to whoever owns the network: Docker refuses most of it for a container that
/// shares one, and has no use for the rest.
/// <https://github.com/moby/moby/blob/master/runconfig/hostconfig_unix.go>
const OF_THE_OWNER: &[&str] = &[
    "hostname",
    "domainname",
    "dns",
    "dns_opt",
    "dns_search",
    "extra_hosts",
    "expose",
];

impl Builder<'_> {
    /// Reads which networks a service is on.
    pub fn network(&mut self, name: &Name, at: &At) -> NetworkMode {
        if let Some(mode) = at.get("network_mode") {
            return self.network_mode(name, at, &mode);
        }
        let mut alias = BTreeSet::new();
        if let Some(container) = at.get("container_name") {
            match container
                .text()
                .map(|t| t.parse::<Name>().is_ok().then_some(t))
            {
                Some(Some(text)) => {
                    alias.insert(text);
                }
                Some(None) => container.expected("a name that a host can have"),
                None => {}
            }
        }
        alias.remove(name.as_str());
        let mut out = BTreeMap::new();
        let listed = at.get("networks").map(|n| n.entries()).unwrap_or_default();
        for (network, value) in &listed {
            keys::check(value, Scope::Attachment);
            let Ok(network) = network.parse::<Name>() else {
                value.fail(format!("{network:?} is no name of a network"), "");
                continue;
            };
            let mut aliases = alias.clone();
            for item in value.get("aliases").map(|a| a.items()).unwrap_or_default() {
                aliases.extend(item.text());
            }
            self.used_network(&network, value);
            out.insert(network, Attachment { aliases });
        }
        if listed.is_empty()
            && let Ok(network) = "default".parse::<Name>()
        {
            self.used_network(&network, at);
            out.insert(network, Attachment { aliases: alias });
        }
        NetworkMode::Networks(out)
    }

    fn network_mode(&mut self, name: &Name, service: &At, mode: &At) -> NetworkMode {
        if let Some(networks) = service.get("networks") {
            networks.fail("stands beside `network_mode`", "keep one of them");
        }
        if let Some(container) = service.get("container_name") {
            container.warn(
                "would be an alias on networks, and the service is on none",
                "it is left out",
            );
        }
        let none = || NetworkMode::Networks(BTreeMap::new());
        let Some(text) = mode.text() else {
            return none();
        };
        match text.split_once(':') {
            None if text == "none" => NetworkMode::None,
            None if text == "host" => {
                self.grant(name, GrantKind::HostNetwork, "", mode);
                NetworkMode::Host
            }
            Some(("service", other)) => {
                for at in OF_THE_OWNER.iter().filter_map(|key| service.get(key)) {
                    at.fail(
                        format!("belongs to {other}, whose network this is"),
                        format!("say it of {other}, or remove `network_mode`"),
                    );
                }
                if !self.active.contains(other) {
                    self.missing(mode, other, "add the profile, or remove `network_mode`");
                }
                other.parse().map_or_else(|_| none(), NetworkMode::Service)
            }
            _ => {
                mode.fail(
                    format!("{text} is not supported"),
                    "there are none, host and service:NAME; without it the service is on `default`",
                );
                none()
            }
        }
    }
}

/// Published ports.
pub fn ports(at: &At, network: &NetworkMode) -> Vec<Port> {
    let Some(at) = at.get("ports") else {
        return Vec::new();
    };
    let mut out: Vec<Port> = Vec::new();
    for item in at.items() {
        let Some(port) = ports::port(&item) else {
            continue;
        };
        if out.iter().any(|other| ports::collide(other, &port)) {
            item.fail("publishes a port twice", "remove one");
        }
        out.push(port);
    }
    if !matches!(network, NetworkMode::Networks(_)) && !out.is_empty() {
        at.fail(
            "publishes ports and has no network of its own",
            "remove `ports` or `network_mode`",
        );
    }
    out
}

/// `PORT[-PORT][/PROTOCOL]`; a range becomes several.
pub fn expose(at: &At) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for at in at.get("expose").map(|e| e.items()).unwrap_or_default() {
        let Some(text) = at.text() else { continue };
        let (numbers, protocol) = match text.split_once('/') {
            Some((numbers, protocol)) => (numbers, Some(protocol)),
            None => (text.as_str(), None),
        };
        let range = ports::range(numbers);
        let known = protocol.is_none_or(|p| matches!(p, "tcp" | "udp" | "sctp"));
        let (Some((low, high)), true) = (range, known) else {
            at.expected("PORT[-PORT][/PROTOCOL] of the container");
            continue;
        };
        let suffix = protocol.map_or_else(String::new, |p| format!("/{p}"));
        out.extend((low..=high).map(|port| format!("{port}{suffix}")));
    }
    out
}
