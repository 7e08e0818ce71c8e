//! `berth rollback`: by hand, to the version before; or on with one that stood still.

use std::path::PathBuf;

use berth_format::Digest;
use hyper::Method;

use super::Done;
use super::bundle::{Consent, go};
use super::client::Client;
use super::follow;
use super::terminal::Terminal;
use crate::api::{PlanRequest, RunSummary, Terms};
use crate::update::plan::PlanKind;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle of that version, where its images are not in Docker any more.
    bundle: Option<PathBuf>,
    /// The version that it goes back to, typed: what was written since is lost.
    #[arg(long, value_name = "VERSION")]
    confirm: Option<String>,
    /// Only if the plan is still this one; `berth plan --rollback` says its digest.
    #[arg(long, value_name = "DIGEST")]
    plan: Option<Digest>,
    /// Take up a rollback that could not finish, after its reason was mended.
    #[arg(long, conflicts_with_all = ["bundle", "confirm", "plan"])]
    resume: bool,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    if args.resume {
        let run: RunSummary = client.send(Method::POST, "/v1/resume", &()).await?;
        return follow::resumed(&run, client, terminal).await;
    }
    let bundle = match &args.bundle {
        Some(path) => {
            // Only the images are taken from it, of a release that ran here: it may be old.
            let terms = Terms {
                back: true,
                ..Terms::default()
            };
            Some(client.open_bundle(path, terms).await?.id)
        }
        None => None,
    };
    let request = PlanRequest {
        kind: PlanKind::Rollback,
        bundle,
        to: None,
        retry_quarantined: false,
    };
    let consent = Consent {
        yes: false,
        plan: args.plan,
        accept_grants: false,
        confirm: args.confirm,
    };
    go(request, consent, client, terminal).await
}
