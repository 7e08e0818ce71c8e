//! Which proxy: Berth's own setting, else the environment, else none.
//!
//! The environment is read here and not by the HTTP library, which takes one that it cannot read
//! for none at all: what was meant to pass a proxy would then go out directly.

use std::ffi::OsString;

use reqwest::{NoProxy, Proxy, Url};

use super::settings::{ProxySetting, SettingsError};

/// What was found: by the scheme of the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Proxies {
    pub(super) https: Option<Url>,
    pub(super) http: Option<Url>,
    except: Option<String>,
}

impl Proxies {
    /// Reads the setting, and the environment where that decides.
    pub(crate) fn read(
        setting: &ProxySetting,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, SettingsError> {
        match setting {
            ProxySetting::Direct => Ok(Self::default()),
            ProxySetting::Use { url, except } => {
                let url = parse("the proxy of Berth's settings", &url.0)?;
                Ok(Self {
                    https: Some(url.clone()),
                    http: Some(url),
                    except: except.clone(),
                })
            }
            ProxySetting::Environment => {
                // Upper case first; what is empty is not set.
                let one = |name: &str| -> Result<Option<(String, String)>, SettingsError> {
                    for name in [name.to_owned(), name.to_ascii_lowercase()] {
                        let Some(value) = environment(&name).filter(|v| !v.is_empty()) else {
                            continue;
                        };
                        let value = value.into_string().map_err(|_| SettingsError::Proxy {
                            origin: name.clone(),
                            problem: "it is not UTF-8",
                        })?;
                        return Ok(Some((name, value)));
                    }
                    Ok(None)
                };
                let url = |name: &str| -> Result<Option<Url>, SettingsError> {
                    one(name)?
                        .map(|(name, value)| parse(&name, &value))
                        .transpose()
                };
                let all = url("ALL_PROXY")?;
                Ok(Self {
                    https: url("HTTPS_PROXY")?.or_else(|| all.clone()),
                    http: url("HTTP_PROXY")?.or(all),
                    except: one("NO_PROXY")?.map(|(_, value)| value),
                })
            }
        }
    }

    /// As the HTTP library takes them.
    pub(super) fn rules(&self) -> reqwest::Result<Vec<Proxy>> {
        let except = self.except.as_deref().and_then(NoProxy::from_string);
        let mut rules = Vec::new();
        if let Some(url) = &self.https {
            rules.push(Proxy::https(url.clone())?.no_proxy(except.clone()));
        }
        if let Some(url) = &self.http {
            rules.push(Proxy::http(url.clone())?.no_proxy(except));
        }
        Ok(rules)
    }

    /// The names of the proxies: the admin chose them, wherever they are.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        [&self.https, &self.http]
            .into_iter()
            .flatten()
            .filter_map(Url::host_str)
    }
}

/// The text is never repeated: a password may be in it.
fn parse(origin: &str, text: &str) -> Result<Url, SettingsError> {
    let bad = |problem| SettingsError::Proxy {
        origin: origin.to_owned(),
        problem,
    };
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = Url::parse(&with_scheme).map_err(|_| bad("it is not a URL"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(bad("only http:// and https:// proxies are known")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Secret;
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Result<Proxies, SettingsError> {
        Proxies::read(&ProxySetting::Environment, |name| {
            let found = pairs.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_environment_counts_where_nothing_is_set() {
        let proxies = environment(&[
            ("https_proxy", "proxy:3128"),
            ("ALL_PROXY", "http://all:1"),
            ("NO_PROXY", ".internal"),
        ])
        .unwrap();
        assert_eq!(
            proxies.https.as_ref().unwrap().as_str(),
            "http://proxy:3128/"
        );
        assert_eq!(proxies.http.as_ref().unwrap().as_str(), "http://all:1/");
        assert_eq!(proxies.except.as_deref(), Some(".internal"));
        assert_eq!(proxies.rules().unwrap().len(), 2);
        assert_eq!(proxies.hosts().collect::<Vec<_>>(), ["proxy", "all"]);
        assert_eq!(
            environment(&[("HTTPS_PROXY", "")]).unwrap(),
            Proxies::default()
        );
    }

    #[test]
    fn the_own_setting_is_before_the_environment() {
        let all = |_: &str| Some("http://environment:1".into());
        assert_eq!(
            Proxies::read(&ProxySetting::Direct, all).unwrap(),
            Proxies::default()
        );
        let setting = ProxySetting::Use {
            url: Secret("http://own:2".into()),
            except: None,
        };
        let proxies = Proxies::read(&setting, all).unwrap();
        assert_eq!(proxies.https.unwrap().host_str(), Some("own"));
    }

    #[test]
    fn a_proxy_that_cannot_be_read_is_an_error_and_no_direct_connection() {
        for bad in [
            "http://",
            "http://me:s3cret@:1:2",
            "socks5://proxy:1",
            "a b",
        ] {
            let error = environment(&[("HTTPS_PROXY", bad)])
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("HTTPS_PROXY: "), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
