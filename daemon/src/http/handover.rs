//! Files that clients hand over open, on a socket of their own beside the API's.
//!
//! The client sends one byte and with it one file descriptor (`SCM_RIGHTS`), and gets one line:
//! a token for one later request. So berthd reads exactly the file that the client could open,
//! wherever it is and whatever becomes of its name; no path is ever followed with berthd's rights.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_format::{Code, Refusal};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::json::usage;
use super::sockets::handover_path;
use super::wire::{HandedOver, HandoverAnswer};
use crate::api::{Result, internal};

/// How long a token is good.
const TOKEN_LIFE: Duration = Duration::from_mins(1);
/// How long a client may take to send its byte and its file.
const DEADLINE: Duration = Duration::from_secs(5);
/// Files that wait for their request.
const PENDING: usize = 8;
/// Clients that are heard at once; more wait in the socket's queue.
const CLIENTS: usize = 8;
/// Descriptors that are received, so that more than one can be told from one. The kernel closes
/// what does not fit.
const ROOM: usize = 4;
/// The longest answer.
const ANSWER: u64 = 16 << 10;

/// Files that were handed over and not asked for yet. Cheap to clone.
#[derive(Clone)]
pub struct Handover {
    pending: Arc<Mutex<Vec<Pending>>>,
    token_life: Duration,
    deadline: Duration,
}

struct Pending {
    token: String,
    file: File,
    until: Instant,
}

impl Default for Handover {
    fn default() -> Self {
        Self::with_limits(TOKEN_LIFE, DEADLINE)
    }
}

impl Handover {
    /// One that forgets and hangs up earlier, or later.
    pub(super) fn with_limits(token_life: Duration, deadline: Duration) -> Self {
        Self {
            pending: Arc::default(),
            token_life,
            deadline,
        }
    }

    /// The file of a token, once.
    pub(super) fn redeem(&self, token: &str) -> Result<File> {
        let mut pending = self.fresh();
        match pending.iter().position(|p| p.token == token) {
            Some(at) => Ok(pending.swap_remove(at).file),
            None => Err(usage("no file was handed over under this token")
                .because(
                    "a token that is new, and used for the first time",
                    "another one",
                )
                .next("Hand the file over again.")),
        }
    }

    /// Keeps a file and gives its token.
    pub(super) fn keep(&self, file: File) -> Result<String> {
        let mut random = [0u8; 16];
        let filled = getrandom(&mut random, GetRandomFlags::empty()).map_err(internal)?;
        if filled != random.len() {
            return Err(internal("the kernel gave too few random bytes"));
        }
        let token = hex::encode(random);
        let mut pending = self.fresh();
        if pending.len() >= PENDING {
            return Err(Refusal::new(
                Code::Busy,
                "too many files were handed over and are not asked for",
            )
            .because(format!("at most {PENDING}"), pending.len().to_string())
            .next("Try again in a minute."));
        }
        pending.push(Pending {
            token: token.clone(),
            file,
            until: Instant::now() + self.token_life,
        });
        Ok(token)
    }

    /// What waits and is not too old; files that are go.
    fn fresh(&self) -> MutexGuard<'_, Vec<Pending>> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        pending.retain(|p| p.until > now);
        pending
    }
}

/// Takes files until it is dropped.
pub(super) async fn serve(listener: UnixListener, handover: Handover) {
    let clients = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, for one: others must end before there is room.
                log::warn!("handover: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let handover = handover.clone();
        tokio::spawn(async move {
            answer(stream, &handover).await;
            drop(permit);
            // A file that nobody asks for is closed when its token is too old.
            tokio::time::sleep(handover.token_life).await;
            drop(handover.fresh());
        });
    }
}

async fn answer(mut stream: UnixStream, handover: &Handover) {
    let uid = stream.peer_cred().ok().map_or(-1, |c| i64::from(c.uid()));
    let taken = match timeout(handover.deadline, receive(&stream)).await {
        Ok(taken) => taken.and_then(|file| handover.keep(file)),
        Err(_) => Err(usage("no file came in time").because(
            "one byte with one open file",
            format!("nothing in {:?}", handover.deadline),
        )),
    };
    let answer = match taken {
        Ok(token) => {
            log::info!(peer_uid = uid; "a file was handed over by uid {uid}");
            HandoverAnswer::Taken(HandedOver { token })
        }
        Err(refusal) => {
            log::warn!(peer_uid = uid; "a handover by uid {uid} was refused: {refusal}");
            HandoverAnswer::Refused(refusal)
        }
    };
    if let Ok(mut line) = serde_json::to_vec(&answer) {
        line.push(b'\n');
        let _ = timeout(handover.deadline, stream.write_all(&line)).await;
    }
}

/// One byte and one file that can be read.
async fn receive(stream: &UnixStream) -> Result<File> {
    let (fds, whole) = stream
        .async_io(Interest::READABLE, || {
            let mut byte = [0u8; 1];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ROOM))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let message = recvmsg(
                stream,
                &mut [IoSliceMut::new(&mut byte)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
            )?;
            let fds: Vec<OwnedFd> = control
                .drain()
                .filter_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                    _ => None,
                })
                .flatten()
                .collect();
            Ok((fds, !message.flags.contains(ReturnFlags::CTRUNC)))
        })
        .await
        .map_err(|error| usage("the file could not be received").found(error.to_string()))?;
    let found = fds.len();
    let mut fds = fds.into_iter();
    match (fds.next(), fds.next(), whole) {
        (Some(fd), None, true) => readable_file(fd),
        (_, _, whole) => Err(usage("exactly one file can be handed over").because(
            "one open file",
            if whole {
                format!("{found}")
            } else {
                format!("more than {found}")
            },
        )),
    }
}

fn readable_file(fd: OwnedFd) -> Result<File> {
    let refuse = |found: String| {
        Refusal::new(
            Code::BundleNotABundle,
            "what was handed over cannot be a bundle",
        )
        .because("a regular file that is open for reading", found)
    };
    let kind = FileType::from_raw_mode(fstat(&fd).map_err(internal)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(refuse(
            match kind {
                FileType::Directory => "a folder",
                FileType::Fifo => "a pipe",
                FileType::Socket => "a socket",
                FileType::CharacterDevice | FileType::BlockDevice => "a device",
                _ => "something else",
            }
            .to_owned(),
        ));
    }
    let flags = fcntl_getfl(&fd).map_err(internal)?;
    if flags.contains(OFlags::PATH) || flags & OFlags::RWMODE == OFlags::WRONLY {
        return Err(refuse("a file that is not open for reading".to_owned()));
    }
    Ok(File::from(fd))
}

/// Why a client could not hand its file over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Refused(Box<Refusal>),
}

/// Hands `file` to the berthd whose API is at `api`, and gives the token.
pub async fn hand_over(
    api: &Path,
    file: impl AsFd,
) -> std::result::Result<HandedOver, HandOverError> {
    let mut stream = UnixStream::connect(handover_path(api)).await?;
    stream
        .async_io(Interest::WRITABLE, || {
            let fds = [file.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            Ok(sendmsg(
                &stream,
                &[IoSlice::new(b"f")],
                &mut control,
                flags,
            )?)
        })
        .await?;
    let mut line = Vec::new();
    (&mut stream).take(ANSWER).read_to_end(&mut line).await?;
    match serde_json::from_slice(&line).map_err(io::Error::other)? {
        HandoverAnswer::Taken(token) => Ok(token),
        HandoverAnswer::Refused(refusal) => Err(HandOverError::Refused(Box::new(refusal))),
    }
}
