//! Where a request may go: the rule for redirects and for the addresses behind names.
//!
//! A mirror that the admin set may be anywhere. What a mirror sends us on to may be anywhere on
//! the public internet, so that it cannot use an appliance to reach into the customer's network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Action, Attempt};

/// The most redirects of one request.
pub(super) const MAX_REDIRECTS: usize = 5;

/// What the settings say about places.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Host, port and whether it is https, of every mirror.
    pub(super) mirrors: Vec<(String, u16, bool)>,
    pub(super) proxies: Vec<String>,
    pub(super) allow_private: bool,
}

/// Why a place is not gone to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlaceError {
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooMany,
    #[error("a redirect that is not from https to https")]
    NotHttps,
    #[error("{0} is not a public address")]
    Private(String),
    #[error("{0} is a public address, and http:// is for private ones")]
    Public(String),
    #[error("{0} is a name of the settings, at another port")]
    OtherPort(String),
}

impl Places {
    /// Judges a redirect, as far as the URL shows it; [`Resolver`] judges the rest.
    pub(super) fn redirect(&self, to: &Url, before: &[Url]) -> Result<(), PlaceError> {
        if before.len() > MAX_REDIRECTS {
            return Err(PlaceError::TooMany);
        }
        if to.scheme() != "https" || before.iter().any(|url| url.scheme() != "https") {
            return Err(PlaceError::NotHttps);
        }
        let host = to.host_str().unwrap_or_default();
        let port = to.port_or_known_default().unwrap_or_default();
        let is_mirror = self.mirrors.iter().any(|(h, p, _)| h == host && *p == port);
        if self.allow_private || is_mirror {
            return Ok(());
        }
        match literal(to) {
            Some(ip) if !is_public(ip) => Err(PlaceError::Private(ip.to_string())),
            None if self.is_set(host) => Err(PlaceError::OtherPort(host.to_owned())),
            _ => Ok(()),
        }
    }

    /// Judges what a name leads to.
    fn behind(&self, host: &str, ip: IpAddr) -> Result<(), PlaceError> {
        let plain = |(h, _, https): &(String, u16, bool)| h == host && !https;
        if self.proxies.iter().any(|proxy| proxy == host) {
            Ok(())
        } else if self.mirrors.iter().any(plain) && is_public(ip) {
            Err(PlaceError::Public(format!("{host} ({ip})")))
        } else if self.allow_private || self.is_set(host) || is_public(ip) {
            Ok(())
        } else {
            Err(PlaceError::Private(format!("{host} ({ip})")))
        }
    }

    fn is_set(&self, host: &str) -> bool {
        self.mirrors.iter().any(|(h, _, _)| h == host) || self.proxies.iter().any(|p| p == host)
    }
}

/// Judges a mirror whose address is written out.
pub(super) fn mirror(url: &Url) -> Result<(), PlaceError> {
    match literal(url) {
        Some(ip) if url.scheme() == "http" && is_public(ip) => {
            Err(PlaceError::Public(ip.to_string()))
        }
        _ => Ok(()),
    }
}

/// [`Places::redirect`] as the HTTP library wants it.
pub(super) fn follow(places: &Places, attempt: Attempt) -> Action {
    match places.redirect(attempt.url(), attempt.previous()) {
        Ok(()) => attempt.follow(),
        Err(error) => attempt.error(error),
    }
}

/// The system's look-up, without the addresses that are not allowed.
pub(super) struct Resolver(pub(super) Arc<Places>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let places = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str();
            let mut allowed: Vec<SocketAddr> = Vec::new();
            let mut refused = None;
            for address in tokio::net::lookup_host((host, 0)).await? {
                match places.behind(host, address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                Some(error) if allowed.is_empty() => Err(error.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Whether the address is one of the public internet (IANA's special-purpose registries).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = match a {
        0 | 10 | 127 => true,
        100 => b & 0xc0 == 64,
        169 => b == 254,
        172 => b & 0xf0 == 16,
        192 => b == 168 || (b == 0 && (c == 0 || c == 2)),
        198 => b & 0xfe == 18 || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        _ => a >= 224,
    };
    !special
}

/// Global unicast is `2000::/3`. Addresses that carry one of IPv4 are as public as that.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let part = ip.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match part {
        // NAT64 and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        // Teredo and its neighbours, documentation.
        [0x2001, 0..0x200 | 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => false,
        _ => part[0] & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places {
            mirrors: vec![
                ("dl.vendor.example".into(), 443, true),
                ("10.0.0.5".into(), 443, true),
                ("plain.internal".into(), 80, false),
            ],
            proxies: vec!["proxy.internal".into()],
            allow_private: false,
        }
    }

    fn to(text: &str) -> Result<(), PlaceError> {
        let before = [Url::parse("https://dl.vendor.example/a").unwrap()];
        places().redirect(&Url::parse(text).unwrap(), &before)
    }

    #[test]
    fn special_addresses_are_not_public() {
        for ip in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "1.1.1.1",
            "100.63.0.1",
            "172.32.0.1",
            "193.168.1.1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn redirects_go_from_https_to_https_in_public_only() {
        assert_eq!(to("https://cdn.example/x"), Ok(()));
        assert_eq!(to("https://1.1.1.1/x"), Ok(()));
        assert_eq!(to("https://10.0.0.5/x"), Ok(()), "a mirror of the settings");
        assert_eq!(to("http://dl.vendor.example/x"), Err(PlaceError::NotHttps));
        for odd in [
            "https://127.1/",
            "https://0x7f000001/",
            "https://[::1]/",
            "https://2130706433/",
            "https://169.254.169.254/",
            "https://10.0.0.5:8443/",
        ] {
            assert!(matches!(to(odd), Err(PlaceError::Private(_))), "{odd}");
        }
        for other in ["https://proxy.internal/", "https://dl.vendor.example:8443/"] {
            assert!(
                matches!(to(other), Err(PlaceError::OtherPort(_))),
                "{other}"
            );
        }
        let url = Url::parse("https://cdn.example/x").unwrap();
        let before = vec![url.clone(); 6];
        assert_eq!(places().redirect(&url, &before), Err(PlaceError::TooMany));
        assert_eq!(places().redirect(&url, &before[..5]), Ok(()));
        let plain = [Url::parse("http://plain.internal/").unwrap()];
        assert_eq!(places().redirect(&url, &plain), Err(PlaceError::NotHttps));
    }

    #[test]
    fn a_name_that_leads_into_the_network_is_refused_unless_it_was_set() {
        let private = "10.9.9.9".parse().unwrap();
        let public = "1.1.1.1".parse().unwrap();
        let behind = |host, ip| places().behind(host, ip).is_ok();
        assert!(behind("dl.vendor.example", private));
        assert!(behind("proxy.internal", private));
        assert!(behind("cdn.example", public));
        assert!(!behind("cdn.example", private));
        assert!(behind("plain.internal", private));
        assert!(
            !behind("plain.internal", public),
            "http:// over the internet"
        );
        let open = Places {
            allow_private: true,
            ..places()
        };
        assert!(open.behind("cdn.example", private).is_ok());
    }

    #[tokio::test]
    async fn localhost_by_name_is_refused_by_the_resolver() {
        let resolver = Resolver(Arc::new(places()));
        let found = resolver.resolve("localhost".parse().unwrap()).await;
        let error = found.err().unwrap().to_string();
        assert!(error.contains("not a public address"), "{error}");
    }
}
