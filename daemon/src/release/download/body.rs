//! The body of an answer, in pieces, not slower than it may be and not faster than the admin wants.

use bytes::Bytes;
use reqwest::Response;

use super::client::Client;
use super::error::{DownloadError, causes};
use super::pace::{Speed, TooSlow};
use super::retry::Timing;

/// An answer whose head has come.
pub(super) struct Body<'a, T> {
    client: &'a Client<T>,
    pub(super) at: String,
    pub(super) response: Response,
    speed: Speed,
}

impl<'a, T: Timing> Body<'a, T> {
    pub(super) fn new(client: &'a Client<T>, at: String, response: Response) -> Self {
        Self {
            client,
            at,
            response,
            speed: Speed::new(client.limits.floor),
        }
    }

    /// The next bytes, or `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, DownloadError> {
        loop {
            let begun = self.client.timing.now();
            let patience = self.speed.patience();
            let Ok(outcome) = tokio::time::timeout(patience, self.response.chunk()).await else {
                self.waited(patience, 0)?;
                continue;
            };
            let bytes = outcome.map_err(|error| DownloadError::Cut {
                at: self.at.clone(),
                why: causes(error),
            })?;
            let len = bytes.as_ref().map_or(0, Bytes::len) as u64;
            self.client.took(len).await;
            if bytes.is_some() {
                let time = self.client.timing.now().saturating_sub(begun);
                self.waited(time, len)?;
            }
            return Ok(bytes);
        }
    }

    fn waited(&mut self, time: std::time::Duration, bytes: u64) -> Result<(), DownloadError> {
        self.speed
            .waited(time, bytes)
            .map_err(|TooSlow { bytes }| DownloadError::Slow {
                at: self.at.clone(),
                bytes,
                over: self.client.limits.floor.over,
                floor: self.client.limits.floor.rate,
            })
    }
}
