//! Published ports: `[ADDRESS:][PUBLISHED:]TARGET[/PROTOCOL]`, ranges, and the long form.

use berth_format::Template;
use berth_format::service::{Port, Protocol};

use crate::compose::cursor::At;
use crate::compose::keys::{self, Scope};
use crate::compose::normalize::split_colons;
use crate::yaml::{Kind, Map, Node, Pos};

/// The most ports of one range.
const MAX_RANGE: u16 = 1000;

/// A port of the short form.
#[derive(Debug, PartialEq, Eq)]
pub struct Short {
    host_ip: Option<String>,
    published: Option<String>,
    target: u16,
    protocol: String,
}

impl Short {
    /// The long form of it.
    pub fn node(&self, pos: &Pos) -> Node {
        let mut map = Map::default();
        map.set("target", Node::scalar(pos, self.target.to_string()));
        if let Some(published) = &self.published {
            map.set("published", Node::scalar(pos, published));
        }
        if let Some(ip) = &self.host_ip {
            map.set("host_ip", Node::scalar(pos, ip));
        }
        map.set("protocol", Node::scalar(pos, &self.protocol));
        Node::at(pos, Kind::Map(map))
    }
}

/// Reads the short form; a range becomes several.
pub fn short_form(text: &str) -> Result<Vec<Short>, String> {
    let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let mut parts = split_colons(rest);
    let target = parts.pop().unwrap_or_default();
    let published = parts.pop().unwrap_or_default();
    let ip = parts.join(":");
    let ip = ip.trim_start_matches('[').trim_end_matches(']');
    let (first, last) =
        range(target).ok_or_else(|| format!("{target:?} is no port of a container"))?;
    let make = |target: u16, published: Option<String>| Short {
        host_ip: (!ip.is_empty()).then(|| ip.to_owned()),
        published,
        target,
        protocol: protocol.to_ascii_lowercase(),
    };
    if published.is_empty() {
        return Ok((first..=last).map(|t| make(t, None)).collect());
    }
    if published.contains("${") {
        return if first == last {
            Ok(vec![make(first, Some(published.to_owned()))])
        } else {
            Err(format!("{text:?}: a config field cannot be a range"))
        };
    }
    let (low, high) = range(published).ok_or_else(|| format!("{published:?} is no port"))?;
    if high - low != last - first {
        return Err(format!(
            "{text:?}: the ranges have {} and {} ports",
            high - low + 1,
            last - first + 1
        ));
    }
    Ok((first..=last)
        .zip(low..=high)
        .map(|(t, p)| make(t, Some(p.to_string())))
        .collect())
}

/// One port, or the first and last of several.
pub fn range(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low > 0 && low <= high && high - low < MAX_RANGE).then_some((low, high))
}

/// Reads the long form.
pub fn port(at: &At) -> Option<Port> {
    keys::check(at, Scope::Port);
    let target = at.need("target")?;
    let target = target.parse::<u16>("a port, 1 to 65535").filter(|p| {
        if *p == 0 {
            target.expected("a port, 1 to 65535");
        }
        *p > 0
    })?;
    let protocol = match at.get("protocol") {
        None => Protocol::Tcp,
        Some(p) => match p.text()?.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => {
                p.expected("tcp, udp or sctp");
                return None;
            }
        },
    };
    if let Some(mode) = at.get("mode")
        && !matches!(mode.text()?.as_str(), "host" | "ingress")
    {
        mode.expected("host or ingress");
    }
    let published = match at.get("published") {
        None => None,
        Some(p) => {
            let template = p.template()?;
            let source = template.source();
            let is_field = source.starts_with("${") && source.find('}') == Some(source.len() - 1);
            match source.parse::<u16>() {
                // Compose's way to say "any".
                Ok(0) => None,
                Ok(_) => Some(template),
                Err(_) if is_field => Some(template),
                Err(_) => {
                    p.expected("one port, or ${NAME} of a config field");
                    return None;
                }
            }
        }
    };
    let host_ip = at.get("host_ip").and_then(|ip| {
        let template = ip.template()?;
        let fixed = template.variables().is_empty();
        if fixed && template.source().parse::<std::net::IpAddr>().is_err() {
            ip.expected("an address of the machine, or ${NAME} of a config field");
            return None;
        }
        Some(template)
    });
    Some(Port {
        target,
        protocol,
        published,
        host_ip,
    })
}

/// Whether two services want the same port of the machine.
pub fn collide(a: &Port, b: &Port) -> bool {
    let any = |ip: &Option<Template>| {
        ip.as_ref()
            .is_none_or(|ip| matches!(ip.source(), "0.0.0.0" | "::"))
    };
    a.protocol == b.protocol
        && a.published.is_some()
        && a.published == b.published
        && (a.host_ip == b.host_ip || any(&a.host_ip) || any(&b.host_ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(text: &str) -> Vec<String> {
        let all = short_form(text).unwrap();
        all.iter()
            .map(|s| {
                let ip = s.host_ip.as_deref().unwrap_or("*");
                let published = s.published.as_deref().unwrap_or("?");
                format!("{ip} {published} {} {}", s.target, s.protocol)
            })
            .collect()
    }

    #[test]
    fn every_short_form() {
        for (text, expected) in [
            ("80", vec!["* ? 80 tcp"]),
            ("8080:80", vec!["* 8080 80 tcp"]),
            ("127.0.0.1:8080:80/udp", vec!["127.0.0.1 8080 80 udp"]),
            ("127.0.0.1::80", vec!["127.0.0.1 ? 80 tcp"]),
            ("[::1]:8080:80", vec!["::1 8080 80 tcp"]),
            ("${PORT}:80", vec!["* ${PORT} 80 tcp"]),
            ("${IP}:${PORT}:80", vec!["${IP} ${PORT} 80 tcp"]),
            ("90-91:80-81", vec!["* 90 80 tcp", "* 91 81 tcp"]),
            ("80-81", vec!["* ? 80 tcp", "* ? 81 tcp"]),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
        for bad in [
            "",
            "x",
            "0",
            "70000",
            "80:",
            "8000-8001:80",
            "9-8",
            "1-9999",
            "${P}:80-81",
        ] {
            assert!(short_form(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[0-9:./\\[\\]a-z${}-]{0,30}") {
            let _ = short_form(&text);
        }
    }
}
