//! `berth install`: a product from a bundle or from the channel, on a machine that has none.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_format::config::FieldKind;
use berth_format::{Code, Digest, Refusal};
use hyper::Method;
use semver::Version;

use super::Done;
use super::bundle::{Consent, TermsArgs, go};
use super::client::Client;
use super::config::{given, required};
use super::terminal::{Terminal, Tone};
use crate::api::{BundleForm, ChannelStatus, ConfigValue, PlanRequest, Result, Status};
use crate::http::wire::ConfigChange;
use crate::update::plan::PlanKind;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The .berth file that the vendor sent; without one, what the followed channel offers.
    bundle: Option<PathBuf>,
    #[command(flatten)]
    terms: TermsArgs,
    /// This version; else the newest that there is.
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,
    /// Set a config value.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Set a config value from a file; `-` is the standard input.
    #[arg(long, value_name = "NAME=PATH")]
    from_file: Vec<String>,
    /// Only if the plan is still this one; `berth plan BUNDLE` says its digest.
    #[arg(long, value_name = "DIGEST")]
    plan: Option<Digest>,
    /// The list of what the release asks for was read, and is agreed to.
    #[arg(long)]
    accept_grants: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Also a release that failed here before.
    #[arg(long)]
    retry_quarantined: bool,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    let mut values = given(&args.set, &args.from_file)?;
    // Before any value is kept: those of what runs are not to be changed by the way.
    let status: Status = client.get("/v1/status").await?;
    if let (Some(product), Some(version)) = (status.product, status.version) {
        let summary = format!("{product} {version} is installed");
        return Err(Refusal::new(Code::AlreadyInstalled, summary).next("Use `berth update`."));
    }
    let (bundle, form) = if let Some(path) = &args.bundle {
        let bundle = client.open_bundle(path, args.terms.terms()).await?;
        (Some(bundle.id), format!("/v1/bundles/{}/form", bundle.id))
    } else {
        // Nobody has looked yet, on a machine that is new.
        let _: ChannelStatus = client.send(Method::POST, "/v1/channel/check", &()).await?;
        (None, "/v1/channel/form".to_owned())
    };
    let version = args
        .to
        .as_ref()
        .map_or_else(String::new, |v| format!("?version={v}").replace('+', "%2B"));
    let form: BundleForm = client.get(&format!("{form}{version}")).await?;
    ask_missing(&form, &mut values, terminal)?;
    if !values.is_empty() {
        let change = ConfigChange { values };
        let _: Vec<ConfigValue> = client.send(Method::PATCH, "/v1/config", &change).await?;
    }
    let request = PlanRequest {
        kind: PlanKind::Install,
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

/// Asks for what is required and has no value yet. Where no person is there, the plan says what is
/// missing, beside all else that is wrong.
fn ask_missing(
    form: &BundleForm,
    values: &mut BTreeMap<String, Option<String>>,
    terminal: &mut Terminal,
) -> Result<()> {
    let missing: Vec<&ConfigValue> = form
        .config
        .iter()
        .filter(|field| required(field) && !values.contains_key(&field.name))
        .collect();
    if missing.is_empty() || !terminal.interactive {
        return Ok(());
    }
    terminal.line("The product needs to know:");
    for field in missing {
        if !field.help.is_empty() {
            let help = terminal.paint(Tone::Dim, &format!("  {}", field.help));
            terminal.line(help);
        }
        let value = match field.kind {
            FieldKind::Secret => terminal.ask_secret(&format!("  {}, not shown:", field.label))?,
            FieldKind::File | FieldKind::Text => {
                let path = terminal.ask(&format!("  {}, as the path of a file:", field.label))?;
                super::config::content(&field.name, &path)?
            }
            FieldKind::Choice => {
                let choices = field.choices.join(", ");
                terminal.ask(&format!("  {} ({choices}):", field.label))?
            }
            _ => terminal.ask(&format!("  {}:", field.label))?,
        };
        values.insert(field.name.clone(), Some(value));
    }
    terminal.line("");
    Ok(())
}
