//! `berth plan`: what an update would do; nothing is changed.

use std::path::PathBuf;

use semver::Version;

use super::bundle::TermsArgs;
use super::client::Client;
use super::terminal::Terminal;
use super::{Done, bundle, describe};
use crate::api::{PlanRequest, Result, Status};
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
    /// Also a release that failed here before.
    #[arg(long)]
    retry_quarantined: bool,
    /// The way back to the version before.
    #[arg(long, conflicts_with_all = ["bundle", "to", "reconfigure"])]
    rollback: bool,
    /// The same version with the config that is set now.
    #[arg(long, conflicts_with_all = ["bundle", "to"])]
    reconfigure: bool,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    let kind = if args.rollback {
        PlanKind::Rollback
    } else if args.reconfigure {
        PlanKind::Reconfigure
    } else {
        kind(client).await?
    };
    let opened = match &args.bundle {
        Some(path) => Some(client.open_bundle(path, args.terms.terms()).await?.id),
        None => None,
    };
    let request = PlanRequest {
        kind,
        bundle: opened,
        to: args.to,
        retry_quarantined: args.retry_quarantined,
    };
    let answer = bundle::plan(&request, client).await?;
    if terminal.json {
        terminal.document(&answer)?;
    } else {
        let measured = match kind {
            PlanKind::Install => None,
            _ => bundle::measured(client).await,
        };
        describe::plan(&answer, measured, terminal);
    }
    // A plan that could not be applied is no success for a script.
    Ok(match bundle::ready(&answer.checks) {
        Ok(()) => 0,
        Err(refusal) => refusal.code.kind().exit_code(),
    })
}

/// An update where a product is installed, else an install.
async fn kind(client: &Client) -> Result<PlanKind> {
    let status: Status = client.get("/v1/status").await?;
    Ok(match status.version {
        Some(_) => PlanKind::Update,
        None => PlanKind::Install,
    })
}
