//! Bodies of requests and answers that the API wraps around the types of [`crate::api`].

use std::collections::BTreeMap;

use berth_format::{Digest, Name, Refusal};
use serde::{Deserialize, Serialize};

use crate::api::BundleInfo;

/// `PUT /v1/trust`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRequest {
    pub fingerprint: Digest,
    /// Also when another root is trusted.
    #[serde(default)]
    pub replace: bool,
}

/// `POST /v1/bundles` and `POST /v1/bundles/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandedOver {
    /// What the handover socket answered.
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
