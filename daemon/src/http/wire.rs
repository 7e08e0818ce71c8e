//! Bodies of requests and answers that the API wraps around the types of [`crate::api`].

use std::collections::BTreeMap;

use berth_format::{Digest, Name, Refusal};
use serde::{Deserialize, Serialize};

use crate::api::{BundleInfo, Terms};

/// `PUT /v1/trust`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRequest {
    pub fingerprint: Digest,
    /// Also when another root is trusted.
    #[serde(default)]
    pub replace: bool,
}

/// `POST /v1/bundles` and `POST /v1/bundles/verify`: what the handover socket answered, and what the
/// admin says of this one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleRequest {
    pub token: String,
    /// See [`Terms::accept_expired_channel`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_expired_channel: bool,
    /// See [`Terms::back`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub back: bool,
}

impl BundleRequest {
    /// What the admin says of it.
    pub fn terms(&self) -> Terms {
        Terms {
            accept_expired_channel: self.accept_expired_channel,
            back: self.back,
        }
    }
}

/// What the handover socket answers when it took a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandedOver {
    /// Stands for the file, once.
    pub token: String,
}

/// What the handover socket answers, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HandoverAnswer {
    Taken(HandedOver),
    Refused(Refusal),
}

/// A line of the answer to `POST /v1/bundles/verify`; the last one is not progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum VerifyLine {
    /// Bytes.
    Progress {
        done: u64,
        total: u64,
    },
    Verified(BundleInfo),
    Refused(Refusal),
}

/// `PATCH /v1/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigChange {
    /// `null` takes a value away. All or none.
    pub values: BTreeMap<String, Option<String>>,
}

/// `POST /v1/notifications/test`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// `None`: everybody.
    #[serde(default)]
    pub receiver: Option<Name>,
}

/// Data of the server-sent event `missed`: a slow reader lost this many notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    pub missed: u64,
}
