//! Shared by the vendor and the appliance: what a release is, byte for byte.
//!
//! The publisher writes these types, the daemon reads them, and both refuse in the same words.
//! Data flows one way: bytes -> verified ([`signature`], [`root`]) -> parsed ([`release`],
//! [`channel`], [`bundle`]) -> used. Nothing here knows Docker, the network or where files are kept.

pub mod bundle;
pub mod channel;
pub mod code;
pub mod config;
pub mod daemon;
pub mod digest;
pub mod image;
pub mod key;
pub mod layer;
pub mod name;
pub mod refusal;
pub mod release;
pub mod rollout;
pub mod root;
pub mod service;
pub mod signature;
mod strict;
pub mod template;
pub mod validate;

pub use code::Code;
pub use digest::Digest;
pub use name::{ChannelName, Name, Product};
pub use refusal::{Effect, Refusal};
pub use release::Release;
pub use template::Template;

/// JSON of a value, the same bytes for equal values: no spaces, maps in the order of their keys.
///
/// Only for the types of this crate, whose maps have text keys and whose numbers are whole.
pub fn canonical(value: &impl serde::Serialize) -> Vec<u8> {
    #[expect(
        clippy::expect_used,
        reason = "only maps with keys that are not text fail"
    )]
    serde_json::to_vec(value).expect("types of this crate have text keys")
}
