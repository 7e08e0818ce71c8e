//! `berth reconfigure`: the installed version with the config that is set now.

use berth_format::Digest;

use super::Done;
use super::bundle::{Consent, go};
use super::client::Client;
use super::terminal::Terminal;
use crate::api::PlanRequest;
use crate::update::plan::PlanKind;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only if the plan is still this one; `berth plan --reconfigure` says its digest.
    #[arg(long, value_name = "DIGEST")]
    plan: Option<Digest>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    let request = PlanRequest {
        kind: PlanKind::Reconfigure,
        bundle: None,
        to: None,
        retry_quarantined: false,
    };
    let consent = Consent {
        yes: args.yes,
        plan: args.plan,
        accept_grants: false,
        confirm: None,
    };
    go(request, consent, client, terminal).await
}
