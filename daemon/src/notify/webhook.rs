//! A signed POST, as [Standard Webhooks](https://www.standardwebhooks.com) says: id, time and body
//! are signed with a key that both sides have, so that libraries of many languages can verify it.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, Url};
use sha2::Sha256;

use super::{Letter, NotifyError, Webhook};
use crate::release::download::{
    Proxies, authorities, bad_file, causes, host, printable, retry_after, secret, to_one,
};

/// For name, connection and TLS.
const CONNECT: Duration = Duration::from_secs(10);

/// For all of it.
const WHOLE: Duration = Duration::from_secs(20);

/// So much of an answer is read.
const ANSWER: usize = 4 << 10;

/// How a key is written.
const PREFIX: &str = "whsec_";

/// Bytes of a key, says the standard.
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

/// What both sides have.
pub(super) struct Key(Vec<u8>);

impl Key {
    /// Reads `whsec_…`; `path` is where it was.
    pub(super) fn read(text: &str, path: &Path) -> Result<Self, NotifyError> {
        let key = text.strip_prefix(PREFIX).and_then(|encoded| {
            let decoded = STANDARD.decode(encoded);
            decoded.or_else(|_| STANDARD_NO_PAD.decode(encoded)).ok()
        });
        match key {
            Some(key) if LENGTH.contains(&key.len()) => Ok(Self(key)),
            _ => {
                let wanted = "expected whsec_ and 24 to 64 bytes in base64";
                Err(bad_file(path, wanted).into())
            }
        }
    }
}

/// The value of `webhook-signature`.
pub(super) fn sign(key: &Key, id: &str, seconds: i64, body: &[u8]) -> String {
    // HMAC takes a key of any length, so there is no error to see.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key.0) else {
        return String::new();
    };
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// A client that goes there and nowhere else.
pub(super) fn client(webhook: &Webhook, url: &Url) -> Result<reqwest::Client, NotifyError> {
    let proxies = Proxies::read(&webhook.proxy(), |name| std::env::var_os(name))?;
    let ca = webhook.ca_file.as_deref().map(authorities).transpose()?;
    to_one(url, &proxies, ca.unwrap_or_default())?
        .connect_timeout(CONNECT)
        .timeout(WHOLE)
        .build()
        .map_err(|error| NotifyError::Unusable(causes(error)))
}

/// Sends it once.
pub(super) async fn post(webhook: &Webhook, letter: &Letter) -> Result<(), NotifyError> {
    let url = webhook.target()?;
    let at = host(&url);
    let key = Key::read(&secret(&webhook.secret_file)?, &webhook.secret_file)?;
    let client = client(webhook, &url)?;
    let body =
        serde_json::to_vec(letter).map_err(|error| NotifyError::Unusable(error.to_string()))?;
    // The time of the try and not of the event: a receiver throws away what is minutes old.
    let seconds = Timestamp::now().as_second();
    let sent = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", &letter.id)
        .header("webhook-timestamp", seconds.to_string())
        .header("webhook-signature", sign(&key, &letter.id, seconds, &body))
        .body(body)
        .send()
        .await;
    match sent {
        Ok(response) => judge(at, response).await,
        Err(error) if error.is_timeout() => Err(NotifyError::Silent { at, within: WHOLE }),
        Err(error) => Err(NotifyError::Unreachable {
            at,
            why: causes(error),
        }),
    }
}

async fn judge(at: String, mut response: Response) -> Result<(), NotifyError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let after = response.headers().get(RETRY_AFTER);
    let after = after.and_then(|value| retry_after(value.as_bytes()));
    let mut said = Vec::new();
    while said.len() < ANSWER {
        match response.chunk().await {
            Ok(Some(bytes)) => said.extend_from_slice(&bytes),
            // What it says is only for the log.
            Ok(None) | Err(_) => break,
        }
    }
    said.truncate(ANSWER);
    Err(NotifyError::Status {
        at,
        status: status.as_u16(),
        said: printable(&said),
        retry_after: after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_of_the_standard() {
        // The example of the specification's own libraries.
        let key = Key::read(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            Path::new("/dev/null"),
        )
        .unwrap();
        let signed = sign(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
