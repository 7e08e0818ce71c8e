//! Asks the API: one request a connection, over the Unix socket.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use berth_format::{Code, Effect, Refusal};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::api::{BundleInfo, Result, Terms, internal};
use crate::http::handover::{HandOverError, hand_over};
use crate::http::wire::{BundleRequest, HandedOver};

/// The largest answer that is read whole.
const ANSWER: usize = 64 << 20;
/// The longest line of an answer that goes on.
const LINE: usize = 8 << 20;

/// The API at a socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Nothing is connected yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.whole(Method::GET, path, None::<&()>).await
    }

    /// Asks for a change.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        self.whole(method, path, Some(body)).await
    }

    /// Asks for an answer that goes on.
    pub async fn lines(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Lines> {
        let response = self.ask(method, path, body).await?;
        Ok(Lines {
            body: response.into_body(),
            buffer: Vec::new(),
            ended: false,
        })
    }

    /// Hands a file over, and has it opened as a bundle.
    pub async fn open_bundle(&self, path: &Path, terms: Terms) -> Result<BundleInfo> {
        let request = self.bundle_request(path, terms).await?;
        self.send(Method::POST, "/v1/bundles", &request).await
    }

    /// Hands a file over, and what to ask for it with.
    pub async fn bundle_request(&self, path: &Path, terms: Terms) -> Result<BundleRequest> {
        let HandedOver { token } = self.hand_over(path).await?;
        Ok(BundleRequest {
            token,
            accept_expired_channel: terms.accept_expired_channel,
            back: terms.back,
        })
    }

    /// Opens a file with this user's rights, and hands it over.
    pub async fn hand_over(&self, path: &Path) -> Result<HandedOver> {
        let file = File::open(path).map_err(|error| {
            Refusal::new(Code::Usage, "the bundle cannot be opened")
                .because(
                    "a file that you may read",
                    format!("{}: {error}", path.display()),
                )
                .next("Look at the path and its permissions.")
        })?;
        match hand_over(&self.socket, file).await {
            Ok(token) => Ok(token),
            Err(HandOverError::Io(error)) => Err(self.unreachable(&error)),
            Err(HandOverError::Refused(refusal)) => Err(*refusal),
        }
    }

    async fn whole<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let response = self.ask(method, path, body).await?;
        let bytes = self.collect(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            internal(format!(
                "{path}: the answer is not what this `berth` reads: {error}"
            ))
            .next("Check that `berth` and berthd have the same version.")
        })
    }

    /// A request whose answer is only that it was done.
    pub async fn end(&self, method: Method, path: &str) -> Result<()> {
        let response = self.ask(method, path, None::<&()>).await?;
        self.collect(response).await.map(drop)
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes> {
        Limited::new(response.into_body(), ANSWER)
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| self.unreachable(&io::Error::other(error.to_string())))
    }

    /// An answer that is a success; a refusal comes back as the error.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let lost = |error: hyper::Error| self.unreachable(&io::Error::other(error));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(lost)?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(&method)
            .uri(path)
            .header(header::HOST, "berth");
        let bytes = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).map_err(internal)?
            }
            None => Vec::new(),
        };
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(internal)?;
        // It was heard perhaps, and then it is done whether the answer arrives or not.
        let changes = method != Method::GET;
        let unheard = |refusal: Refusal| match refusal.code {
            Code::BerthdGone if changes => refusal.effect(Effect::UnderWay),
            _ => refusal,
        };
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| unheard(lost(error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.collect(response).await?;
        Err(
            serde_json::from_slice::<Refusal>(&bytes).unwrap_or_else(|_| {
                internal(format!(
                    "{path}: {status}: {}",
                    String::from_utf8_lossy(&bytes[..bytes.len().min(500)])
                ))
            }),
        )
    }

    fn unreachable(&self, error: &io::Error) -> Refusal {
        let at = self.socket.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Refusal::new(Code::Usage, "you may not talk to berthd")
                .because(
                    "root, or a member of the group berth",
                    format!("{at}: {error}"),
                )
                .next("Say it again with sudo.");
        }
        Refusal::new(Code::BerthdGone, "berthd does not answer").found(format!("{at}: {error}"))
    }
}

/// Lines of an answer, as they come.
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// The next line without its end; `None`: there are no more.
    pub async fn next(&mut self) -> Result<Option<String>> {
        let gone = |why: String| {
            Refusal::new(Code::BerthdGone, "berthd went away while it was answering").found(why)
        };
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.ended || self.buffer.len() > LINE {
                // A line that was cut is none.
                return Ok(None);
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(Err(error)) => return Err(gone(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// The next server-sent event: its name and its data.
    pub async fn event(&mut self) -> Result<Option<(String, String)>> {
        let (mut name, mut data) = (String::new(), String::new());
        while let Some(line) = self.next().await? {
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line.is_empty() {
                if !data.is_empty() {
                    return Ok(Some((name, data)));
                }
                name.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut name),
                "data" => {
                    if !data.is_empty() {
                        data.push('\n');
                    }
                    data.push_str(value);
                }
                // Comments keep the connection alive; the journal's numbers are in the data.
                _ => {}
            }
        }
        Ok(None)
    }
}
