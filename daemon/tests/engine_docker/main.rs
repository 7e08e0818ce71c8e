//! The real engine: each verb against a Docker of the tests' own.
//!
//! Runs where `BERTH_TEST_DOCKER` names the socket of a private engine, as `make test` does;
//! skipped elsewhere, so that nobody's own Docker is touched by accident.
#![expect(
    clippy::unwrap_used,
    reason = "a fixture that does not stand fails its test"
)]

mod bundle;
mod doors;
mod fixture;
mod import;
mod load;
mod verbs;
