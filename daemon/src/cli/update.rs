//! `berth update`: to a newer version.

use std::path::PathBuf;

use berth_format::Digest;
use semver::Version;

use super::Done;
use super::bundle::{Consent, TermsArgs, go};
use super::client::Client;
use super::terminal::Terminal;
use crate::api::PlanRequest;
use crate::update::plan::PlanKind;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A bundle; without one, what the channel offers or was fetched before.
    bundle: Option<PathBuf>,
    #[command(flatten)]
    terms: TermsArgs,
    /// To this version; else the newest that can be reached.
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,
    /// Only if the plan is still this one; `berth plan` says its digest.
    #[arg(long, value_name = "DIGEST")]
    plan: Option<Digest>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// The list of what the release asks for was read, and is agreed to.
    #[arg(long)]
    accept_grants: bool,
    /// Also a release that failed here before.
    #[arg(long)]
    retry_quarantined: bool,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    let bundle = match &args.bundle {
        Some(path) => Some(client.open_bundle(path, args.terms.terms()).await?.id),
        None => None,
    };
    let request = PlanRequest {
        kind: PlanKind::Update,
        bundle,
        to: args.to,
        retry_quarantined: args.retry_quarantined,
    };
    let consent = Consent {
        yes: args.yes,
        plan: args.plan,
        accept_grants: args.accept_grants,
        confirm: None,
    };
    go(request, consent, client, terminal).await
}
