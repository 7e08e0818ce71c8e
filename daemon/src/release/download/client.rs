//! The HTTP client: one for all mirrors of a channel, built when it is first needed.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use tokio::sync::OnceCell;

use super::address::{PlaceError, Places, Resolver, follow, mirror};
use super::body::Body;
use super::error::{DownloadError, causes};
use super::pace::{Bucket, Floor};
use super::proxy::Proxies;
use super::retry::{Backoff, Real, Timing, retry_after};
use super::settings::{Authorization, Base, Settings, SettingsError};

/// Bytes a second that even a bad line brings on the whole.
const STEADY: u64 = 16 << 10;

/// How long and how much is waited for. The settings of the admin do not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For name, connection and TLS.
    pub connect: Duration,
    /// Until the head of an answer is here, with all redirects.
    pub answer: Duration,
    /// For a small file as a whole, each time that it is tried, and besides this what its cap
    /// takes at [`STEADY`] or at the bandwidth limit.
    pub small: Duration,
    pub floor: Floor,
    pub backoff: Backoff,
    /// Bytes that count as progress when no frame was completed.
    pub progress: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            small: Duration::from_mins(1),
            floor: Floor::default(),
            backoff: Backoff::default(),
            progress: 16 << 10,
        }
    }
}

/// Fetches files of one channel.
///
/// Make a new one for each check of the channel: settings, tokens and certificates are read once.
pub struct Client<T = Real> {
    settings: Settings,
    pub(super) limits: Limits,
    pub(super) timing: T,
    environment: fn(&str) -> Option<OsString>,
    built: OnceCell<Built>,
    bucket: Option<Mutex<Bucket>>,
    fetched: AtomicU64,
}

struct Built {
    http: reqwest::Client,
    bases: Vec<Base>,
}

impl Client {
    /// Nothing is read, and nobody is asked, before the first file is wanted.
    pub fn new(settings: Settings) -> Self {
        Self::with(settings, Limits::default(), Real::default())
    }
}

impl<T: Timing> Client<T> {
    /// With other limits or another clock.
    pub fn with(settings: Settings, limits: Limits, timing: T) -> Self {
        let bucket = settings
            .bandwidth
            .map(|rate| Mutex::new(Bucket::new(rate, timing.now())));
        Self {
            settings,
            limits,
            timing,
            environment: |name| std::env::var_os(name),
            built: OnceCell::new(),
            bucket,
            fetched: AtomicU64::new(0),
        }
    }

    /// With another environment than that of the process.
    #[cfg(test)]
    pub(super) fn environment(mut self, environment: fn(&str) -> Option<OsString>) -> Self {
        self.environment = environment;
        self
    }

    /// Whether all that is set can be used: what the first file would find out. Nobody is asked.
    pub async fn ready(&self) -> Result<(), DownloadError> {
        self.built().await?;
        Ok(())
    }

    /// Bytes of bodies that have come so far, also those that were thrown away.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// How long a small file of `most` bytes may take.
    pub(super) fn deadline(&self, most: u64) -> Duration {
        let rate = self.settings.bandwidth.unwrap_or(STEADY).clamp(1, STEADY);
        self.limits.small + Duration::from_millis(most.saturating_mul(1000) / rate)
    }

    /// How many mirrors there are.
    pub(super) fn mirrors(&self) -> usize {
        self.settings.mirrors.len()
    }

    /// What a mirror is called: its URL without a secret, for the validators that it gave.
    pub(super) async fn mirror_name(&self, mirror: usize) -> Result<String, DownloadError> {
        Ok(self.built().await?.bases[mirror].url.to_string())
    }

    /// Asks a mirror for a file. Any status is an answer, if its head came in time.
    pub(super) async fn get(
        &self,
        mirror: usize,
        name: &str,
        headers: HeaderMap,
    ) -> Result<Body<'_, T>, DownloadError> {
        let built = self.built().await?;
        let base = &built.bases[mirror];
        let url = address(&base.url, name)?;
        let at = host(&base.url);
        let request = built.http.get(url).headers(headers);
        // Both mark the header as one that does not go along to another host.
        let request = match &base.authorization {
            None => request,
            Some(Authorization::Bearer(token)) => request.bearer_auth(token),
            Some(Authorization::Basic(user, password)) => request.basic_auth(user, Some(password)),
        };
        match tokio::time::timeout(self.limits.answer, request.send()).await {
            Ok(Ok(response)) => Ok(Body::new(self, at, response)),
            Ok(Err(error)) => Err(unanswered(at, error)),
            Err(_) => Err(DownloadError::Silent {
                at,
                within: self.limits.answer,
            }),
        }
    }

    /// Counts bytes, and sleeps as long as the bandwidth limit wants.
    pub(super) async fn took(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bucket) = &self.bucket {
            let now = self.timing.now();
            let pause = bucket
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(bytes, now);
            if !pause.is_zero() {
                self.timing.sleep(pause).await;
            }
        }
    }

    async fn built(&self) -> Result<&Built, SettingsError> {
        let build = async || {
            let bases = self.settings.bases()?;
            let proxies = Proxies::read(&self.settings.proxy, self.environment)?;
            let authorities = self.settings.authorities()?;
            let http = self.build(&bases, &proxies, authorities)?;
            Ok(Built { http, bases })
        };
        self.built.get_or_try_init(build).await
    }

    fn build(
        &self,
        bases: &[Base],
        proxies: &Proxies,
        authorities: Vec<reqwest::Certificate>,
    ) -> Result<reqwest::Client, SettingsError> {
        let places = Places {
            mirrors: bases.iter().map(|base| place(&base.url)).collect(),
            proxies: proxies.hosts().map(str::to_owned).collect(),
            allow_private: self.settings.allow_private,
        };
        for (index, base) in bases.iter().enumerate() {
            mirror(&base.url).map_err(|error| SettingsError::Mirror {
                number: index + 1,
                problem: error.to_string(),
            })?;
        }
        let places = Arc::new(places);
        let judge = Arc::clone(&places);
        let redirects = reqwest::redirect::Policy::custom(move |attempt| follow(&judge, attempt));
        assemble(places, proxies, authorities)?
            .connect_timeout(self.limits.connect)
            .redirect(redirects)
            .build()
            .map_err(|error| SettingsError::Tls(causes(error)))
    }
}

/// What every client of Berth has in common, whatever it is for.
fn assemble(
    places: Arc<Places>,
    proxies: &Proxies,
    authorities: Vec<reqwest::Certificate>,
) -> Result<reqwest::ClientBuilder, SettingsError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
        .referer(false)
        .https_only(places.mirrors.iter().all(|(_, _, https)| *https))
        .dns_resolver(Resolver(places))
        .tls_certs_merge(authorities)
        // Ours alone: see `proxy`.
        .no_proxy();
    for rule in proxies
        .rules()
        .map_err(|error| SettingsError::Tls(causes(error)))?
    {
        builder = builder.proxy(rule);
    }
    Ok(builder)
}

/// A client for one URL that the admin set, under the same rules as a mirror; it goes nowhere else.
pub(crate) fn to_one(
    url: &Url,
    proxies: &Proxies,
    authorities: Vec<reqwest::Certificate>,
) -> Result<reqwest::ClientBuilder, SettingsError> {
    mirror(url).map_err(|error| SettingsError::Place(error.to_string()))?;
    let places = Places {
        mirrors: vec![place(url)],
        proxies: proxies.hosts().map(str::to_owned).collect(),
        allow_private: false,
    };
    let builder = assemble(Arc::new(places), proxies, authorities)?;
    Ok(builder.redirect(reqwest::redirect::Policy::none()))
}

/// The URL of a file. Names come from signed files, and still lead nowhere else.
fn address(base: &Url, name: &str) -> Result<Url, DownloadError> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
    };
    let bad = || DownloadError::Name(name.chars().take(120).collect());
    if name.len() > 255 || !name.split('/').all(plain) {
        return Err(bad());
    }
    // A plus sign is one for nginx and a space for some object stores; this is one for both.
    base.join(&name.replace('+', "%2B")).map_err(|_| bad())
}

fn place(url: &Url) -> (String, u16, bool) {
    (
        url.host_str().unwrap_or_default().to_owned(),
        url.port_or_known_default().unwrap_or_default(),
        url.scheme() == "https",
    )
}

pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Why there is no answer.
fn unanswered(at: String, error: reqwest::Error) -> DownloadError {
    let mut place = None;
    let mut parse = false;
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        place = place.or_else(|| next.downcast_ref::<PlaceError>().map(ToString::to_string));
        parse |= next
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse);
        cause = next.source();
    }
    let is_redirect = error.is_redirect();
    let at = match error.url().map(host) {
        Some(last) if last != at => format!("{last}, where {at} sent us,"),
        _ => at,
    };
    let unreachable = error.is_connect() || error.is_dns();
    let why = causes(error);
    if let Some(why) = place {
        DownloadError::Redirect { at, why }
    } else if is_redirect {
        DownloadError::Redirect { at, why }
    } else if why.contains("invalid peer certificate") {
        // How rustls begins each of these; the type is too deep to be asked.
        DownloadError::Certificate { at, why }
    } else if unreachable {
        DownloadError::Unreachable { at, why }
    } else if parse {
        DownloadError::Protocol { at, why }
    } else {
        DownloadError::Cut { at, why }
    }
}

/// The error of an answer that is not the file.
pub(super) fn refused(at: &str, name: &str, response: &Response) -> DownloadError {
    let status = response.status();
    let name = name.to_owned();
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        return DownloadError::Missing { name };
    }
    if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return DownloadError::Redirect {
            at: at.to_owned(),
            why: "a place that no web server can be".to_owned(),
        };
    }
    let wanted = response.headers().get(RETRY_AFTER);
    DownloadError::Status {
        at: at.to_owned(),
        name,
        status: status.as_u16(),
        retry_after: wanted.and_then(|value| retry_after(value.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_from_metadata_leaves_the_folder() {
        let base = Url::parse("https://dl.example/lantern/").unwrap();
        let url = address(&base, "release-1.0.0+a.json").unwrap();
        assert_eq!(
            url.as_str(),
            "https://dl.example/lantern/release-1.0.0%2Ba.json"
        );
        assert!(address(&base, "layers/00ff.tar.zst").is_ok());
        for bad in [
            "",
            "/",
            "..",
            "a/../b",
            "/etc/passwd",
            "//evil.example/x",
            "https://evil.example/",
            "a b",
            "a?b",
            "a#b",
            "a%2e%2e",
            "a\\b",
            "a/",
            ".hidden",
            "ü",
        ] {
            assert!(address(&base, bad).is_err(), "{bad}");
        }
    }
}
