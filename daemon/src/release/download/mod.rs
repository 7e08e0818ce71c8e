//! What fetches a channel's files from web servers, and believes none of them.
//!
//! # Threats
//!
//! Mirrors, proxies, names and everything between are the attacker's. He may answer with any
//! bytes, at any speed, never, or from another place. He cannot forge a signature or a digest:
//! what arrives here is *unverified* until somebody who knows the signed digest says otherwise.
//!
//! What he tries, and what is done against it:
//! 1. Endless data: every file has a cap that is known before the request ([`fetch::Small`], or the
//!    signed size), and is refused while it streams. Bodies are never decompressed.
//! 2. Slow retrieval: an answer has to begin in time; a small file has one deadline; a large one
//!    must come faster than 1 KiB/s ([`pace::Speed`]).
//! 3. Redirects: at most five, from https to https, never to an address that is not public, by
//!    name or by number, unless the admin set it ([`address`]).
//! 4. Stolen tokens: a token goes to its mirror alone, never along a redirect.
//! 5. Wrong bytes: each frame of a layer is compared with its signed digest before it is written
//!    ([`part`]). A bad one is asked for again from another mirror, then the layer is refused.
//! 6. Lies about ranges and lengths: an answer that is not exactly what was asked is an error.
//! 7. Names that lead elsewhere: files are written under names that are ours, with
//!    `O_EXCL|O_NOFOLLOW`, as `*.unverified` until they are not.
//! 8. Exhaustion: failures are counted, and only new bytes make the count start over
//!    ([`retry::Turns`]).
//!
//! What is not done: with a proxy the proxy looks names up, so what a name leads to is its
//! affair; only addresses that are written out are judged then.

mod address;
pub mod blob;
mod body;
pub mod client;
pub mod error;
pub mod fetch;
pub mod pace;
mod part;
mod proxy;
pub mod retry;
pub mod settings;
#[cfg(test)]
mod tests;

pub use blob::{Wanted, sweep};
pub use client::{Client, Limits};
pub use error::DownloadError;
pub use fetch::{Answer, Small, Tag};
// What `notify` shares: one way of reading a secret, a proxy and an authority.
pub(crate) use client::{host, to_one};
pub(crate) use error::{causes, printable};
pub(crate) use proxy::Proxies;
pub(crate) use retry::{Backoff, Real, Timing, retry_after};
pub use settings::{Credential, Mirror, ProxySetting, Secret, Settings};
pub(crate) use settings::{SettingsError, authorities, bad_file, pem, secret};
