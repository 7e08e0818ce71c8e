//! The plan: the exact steps from the stack as it is to the stack as it should be.
//!
//! Plain data, made by [`super::policy`]. Its digest names it: apply refuses when the digest of
//! a plan made anew is another one.

use std::collections::BTreeMap;

use berth_format::release::{Grant, MigrationPhase};
use berth_format::{Digest, Name, Product};
use semver::Version;
use serde::{Deserialize, Serialize};

/// All that will be done, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub product: Product,
    /// For people.
    pub title: String,
    pub kind: PlanKind,
    /// `None`: a first install.
    pub from: Option<Version>,
    pub to: Version,
    /// One journaled update after the other.
    pub hops: Vec<Hop>,
    /// What the releases ask for beyond a container, that has not been agreed to.
    pub grants: Vec<Grant>,
    /// Bytes that a fetch will write into Docker: layers that are not known.
    pub fetch_bytes: u64,
    /// Bytes of it that come over the line; 0 where they are at hand.
    #[serde(default)]
    pub download_bytes: u64,
    /// Sentences that the admin must read: what is not covered, what cannot be undone.
    pub warnings: Vec<String>,
}

/// What kind of change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanKind {
    Install,
    Update,
    /// The same release with other config values.
    Reconfigure,
    /// Back to the release before, by hand.
    Rollback,
}

/// One update of one version to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    pub from: Option<Version>,
    pub to: Version,
    /// Of the release's bytes.
    pub release: Digest,
    pub generation: u64,
    /// Every service of either release.
    pub services: BTreeMap<Name, Change>,
    /// Networks of the new release by label, as they will be.
    pub networks: BTreeMap<String, PlannedNetwork>,
    /// Volumes of the new release that the old one had not: real names.
    pub new_volumes: Vec<String>,
    /// Volumes that are copied: real names.
    pub snapshot: Vec<String>,
    /// Volumes whose data no snapshot covers: real names.
    pub not_covered: Vec<String>,
    pub migrations: Vec<PlannedMigration>,
    /// The product is stopped, doors are closed until commit, data is snapshotted.
    pub data_may_change: bool,
    /// Goes back to the kept snapshot of this run and hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<(i64, usize)>,
}

/// What happens to one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub action: Action,
    /// The container that runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The container that will run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Digest of the new container's specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Digest>,
    /// Generation of the new container.
    pub generation: u64,
}

/// What happens to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Not touched.
    Keep,
    /// The same container, stopped for the snapshot and started again.
    Cycle,
    /// A new container for the old one.
    Replace,
    /// New in this release.
    Add,
    /// Not in this release.
    Remove,
}

/// A network as it will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedNetwork {
    /// Real name; holds the generation that made it.
    pub name: String,
    pub spec: Digest,
    /// Made by this hop.
    pub new: bool,
}

/// A migration of a hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMigration {
    pub name: Name,
    pub phase: MigrationPhase,
    pub reversible: bool,
    /// Real name of its container.
    pub container: String,
}

impl Plan {
    /// What names this plan.
    pub fn digest(&self) -> Digest {
        Digest::of(&berth_format::canonical(self))
    }
}

impl Hop {
    /// Containers that this hop stops: old ones that are replaced, removed or cycled.
    pub fn stops(&self) -> impl Iterator<Item = (&Name, &str)> {
        self.services
            .iter()
            .filter_map(|(name, change)| match change.action {
                Action::Cycle | Action::Replace | Action::Remove => {
                    Some((name, change.old.as_deref()?))
                }
                Action::Keep | Action::Add => None,
            })
    }

    /// Containers that this hop creates.
    pub fn creates(&self) -> impl Iterator<Item = (&Name, &Change)> {
        self.services
            .iter()
            .filter(|(_, change)| matches!(change.action, Action::Replace | Action::Add))
    }
}
