//! What install, update, plan, rollback and reconfigure share: a plan, a yes, and the run.

use berth_format::{Code, Digest, Refusal};
use hyper::Method;
use jiff::SignedDuration;
use serde::Serialize;

use super::client::Client;
use super::terminal::Terminal;
use super::{Done, describe, follow};
use crate::api::{
    ApplyRequest, Check, PlanAnswer, PlanRequest, Result, RunDetail, RunSummary, Terms,
};
use crate::store::Outcome;
use crate::update::plan::PlanKind;

/// The first line of a followed change with `--json`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
enum Line<'a> {
    Plan(&'a PlanAnswer),
    Run(&'a RunSummary),
}

/// What is said of a bundle besides its path.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct TermsArgs {
    /// Also if the channel in the bundle is past its expiry: nobody says then that there is nothing
    /// newer. For this one bundle.
    #[arg(long, requires = "bundle")]
    accept_expired_channel: bool,
}

impl TermsArgs {
    pub fn terms(self) -> Terms {
        Terms {
            accept_expired_channel: self.accept_expired_channel,
            back: false,
        }
    }
}

/// Asks for a plan.
pub async fn plan(request: &PlanRequest, client: &Client) -> Result<PlanAnswer> {
    client.send(Method::POST, "/v1/plan", request).await
}

/// Shows a plan.
pub async fn show(answer: &PlanAnswer, client: &Client, terminal: &mut Terminal) -> Result<()> {
    if terminal.json {
        return terminal.json_line(&Line::Plan(answer));
    }
    let measured = match answer.plan.kind {
        PlanKind::Install => None,
        _ => measured(client).await,
    };
    describe::plan(answer, measured, terminal);
    terminal.line("");
    Ok(())
}

/// How long the product was away in the last change that was committed.
pub async fn measured(client: &Client) -> Option<SignedDuration> {
    let history: Vec<RunSummary> = client.get("/v1/history?limit=20").await.ok()?;
    let last = history.iter().find(|run| {
        run.kind != PlanKind::Install && run.ended.is_some_and(|e| e.outcome == Outcome::Committed)
    })?;
    let detail: RunDetail = client.get(&format!("/v1/runs/{}", last.id)).await.ok()?;
    follow::away(&detail)
}

/// Refuses as the failed checks do: as the one, or as several.
pub fn ready(checks: &[Check]) -> Result<()> {
    let failed: Vec<&Refusal> = checks.iter().filter_map(|c| c.refusal.as_ref()).collect();
    match failed.as_slice() {
        [] => Ok(()),
        [one] => Err((*one).clone()),
        many => {
            let found: Vec<String> = many
                .iter()
                .map(|refusal| format!("{} [{}]", refusal.summary, refusal.code))
                .collect();
            Err(
                Refusal::new(Code::PreflightFailed, "this machine is not ready")
                    .found(found.join("; ")),
            )
        }
    }
}

/// What the admin said on the command line.
pub struct Consent {
    /// `--yes`.
    pub yes: bool,
    /// `--plan`: this plan was read before.
    pub plan: Option<Digest>,
    pub accept_grants: bool,
    /// A typed version.
    pub confirm: Option<String>,
}

/// Shows the plan, gets a yes, begins, and follows to the end.
pub async fn go(
    request: PlanRequest,
    consent: Consent,
    client: &Client,
    terminal: &mut Terminal,
) -> Done {
    let answer = plan(&request, client).await?;
    if let Some(read) = consent.plan
        && read != answer.digest
    {
        return Err(
            Refusal::new(Code::PlanMoved, "the plan is another one by now")
                .because(read.to_string(), answer.digest.to_string()),
        );
    }
    show(&answer, client, terminal).await?;
    ready(&answer.checks)?;
    let accept_grants = grants(&answer, consent.accept_grants, terminal)?;
    let confirm = if request.kind == PlanKind::Rollback {
        Some(typed(&answer, consent.confirm, terminal)?)
    } else {
        agree(consent.yes || consent.plan.is_some(), &answer, terminal)?;
        None
    };
    let apply = ApplyRequest {
        plan: request,
        // What the admin saw is what is done, or nothing.
        digest: Some(answer.digest),
        accept_grants,
        confirm,
    };
    let run: RunSummary = client.send(Method::POST, "/v1/apply", &apply).await?;
    if terminal.json {
        terminal.json_line(&Line::Run(&run))?;
    }
    follow::run(&run, client, terminal).await
}

fn agree(yes: bool, answer: &PlanAnswer, terminal: &mut Terminal) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !terminal.interactive {
        return Err(
            Refusal::new(Code::Usage, "nobody is here to say yes to the plan").next(format!(
                "Say --yes, or --plan {} for exactly this plan.",
                answer.digest
            )),
        );
    }
    let question = match answer.plan.kind {
        PlanKind::Install => format!("Install {}?", answer.plan.to),
        _ => format!("Go to {}?", answer.plan.to),
    };
    if terminal.agree(&question)? {
        terminal.line("");
        return Ok(());
    }
    Err(Refusal::new(Code::Cancelled, "you said no").next("Nothing to do."))
}

fn grants(answer: &PlanAnswer, accepted: bool, terminal: &mut Terminal) -> Result<bool> {
    if accepted || answer.plan.grants.is_empty() {
        return Ok(accepted);
    }
    if terminal.interactive && terminal.agree("Does the product get what it asks for?")? {
        return Ok(true);
    }
    let asked: Vec<String> = answer
        .plan
        .grants
        .iter()
        .map(|grant| format!("{} {:?} {}", grant.service, grant.kind, grant.detail))
        .collect();
    Err(Refusal::new(
        Code::GrantsNotAccepted,
        "the release asks for more than a container has",
    )
    .found(asked.join("; ")))
}

/// The version that a rollback goes to, typed.
fn typed(answer: &PlanAnswer, confirm: Option<String>, terminal: &mut Terminal) -> Result<String> {
    let wanted = answer.plan.to.to_string();
    let typed = match confirm {
        Some(typed) => typed,
        None if terminal.interactive => {
            terminal.ask(&format!("Type {wanted} to go back to it:"))?
        }
        None => {
            return Err(Refusal::new(
                Code::ConfirmationWanted,
                "a rollback wants its version typed",
            )
            .next(format!("Read the plan, then say --confirm {wanted}.")));
        }
    };
    if typed == wanted {
        return Ok(typed);
    }
    Err(Refusal::new(Code::ConfirmationWanted, "another version was typed").because(wanted, typed))
}
