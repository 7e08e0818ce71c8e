//! The vendor side: a Compose file becomes a signed release and a bundle.
//!
//! The road: [`compose`] resolves the vendor's folder, [`images`] finds what it needs, [`layers`]
//! packs, [`build`] seals the release into the folder that is published ([`out`]), [`bundle`]
//! makes one file of it, [`channel`] offers it to appliances. [`keys`], [`signer`] and [`roots`] are
//! about who signs. [`cli`] is the only part that prints.

pub mod berth_yaml;
pub mod build;
pub mod bundle;
pub mod channel;
pub mod cli;
pub mod compose;
pub mod daemon;
pub mod images;
pub mod keys;
pub mod layers;
pub mod out;
pub mod problem;
pub mod progress;
pub mod resign;
pub mod roots;
pub mod signed;
pub mod signer;
pub mod yaml;

/// Bytes as millions of bytes, for people.
#[expect(
    clippy::cast_precision_loss,
    reason = "one digit after the point is shown"
)]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
