//! `berth verify`: every byte of a bundle; nothing is changed.

use std::path::PathBuf;
use std::time::Instant;

use berth_format::{Code, Refusal};
use hyper::Method;
use indicatif::ProgressBar;
use jiff::SignedDuration;

use super::Done;
use super::bundle::TermsArgs;
use super::client::Client;
use super::progress::style;
use super::terminal::{Terminal, Tone};
use super::text::{Table, bytes, duration, minute};
use crate::api::{BundleInfo, Result, internal};
use crate::http::wire::{BundleRequest, VerifyLine};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The .berth file.
    bundle: PathBuf,
    #[command(flatten)]
    terms: TermsArgs,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    let begun = Instant::now();
    let terms = args.terms.terms();
    let request = client.bundle_request(&args.bundle, terms).await?;
    let bar = terminal.live.then(|| {
        let bar = ProgressBar::no_length();
        bar.set_style(style(
            "  {bar:32}  {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}",
        ));
        bar
    });
    let verdict = verdict(&request, client, bar.as_ref()).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let bundle = verdict?;
    if terminal.json {
        terminal.document(&bundle)?;
        return Ok(0);
    }
    let took = SignedDuration::try_from(begun.elapsed()).unwrap_or_default();
    let sentence = terminal.paint(Tone::Good, "Every byte is as its vendor signed it.");
    terminal.line(format!(
        "{sentence} {} in {}.",
        bytes(bundle.size),
        duration(took)
    ));
    terminal.line("");
    let mut table = Table::indented(2);
    for release in &bundle.releases {
        let stop = if release.stop {
            "nobody may skip it"
        } else {
            ""
        };
        table.row([
            (
                Tone::Strong,
                format!("{} {}", bundle.product, release.version),
            ),
            (Tone::Dim, stop.to_owned()),
            (Tone::Plain, release.title.clone()),
        ]);
    }
    table.print(terminal);
    terminal.line("");
    channel(&bundle, terminal);
    Ok(0)
}

/// How old it is, and what its vendor took back.
fn channel(bundle: &BundleInfo, terminal: &mut Terminal) {
    let Some(channel) = &bundle.channel else {
        let sentence = "It brings no channel: nobody says how old it is, or what was withdrawn.";
        return terminal.line(terminal.paint(Tone::Dim, sentence));
    };
    let (tone, verb) = if channel.expired {
        (Tone::Warn, "which expired on")
    } else {
        (Tone::Dim, "good until")
    };
    let (name, serial) = (&channel.name, channel.serial);
    let sentence = format!(
        "It brings channel {name}, serial {serial}, published on {}, {verb} {}.",
        minute(channel.published),
        minute(channel.expires)
    );
    terminal.line(terminal.paint(tone, &sentence));
    if let Some(berth) = &bundle.berth {
        terminal.line(format!("It carries Berth {berth}."));
    }
    for told in &channel.told {
        terminal.line(terminal.paint(Tone::Bad, told));
    }
}

async fn verdict(
    request: &BundleRequest,
    client: &Client,
    bar: Option<&ProgressBar>,
) -> Result<BundleInfo> {
    let mut lines = client
        .lines(Method::POST, "/v1/bundles/verify", Some(request))
        .await?;
    while let Some(line) = lines.next().await? {
        match serde_json::from_str(&line).map_err(internal)? {
            VerifyLine::Progress { done, total } => {
                if let Some(bar) = bar {
                    bar.set_length(total);
                    bar.set_position(done);
                }
            }
            VerifyLine::Verified(bundle) => return Ok(bundle),
            VerifyLine::Refused(refusal) => return Err(refusal),
        }
    }
    Err(Refusal::new(
        Code::BerthdGone,
        "berthd went away before it had a verdict",
    ))
}
