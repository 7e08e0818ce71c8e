//! One handler a question: reads the request, asks the API, writes the answer.

use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use berth_format::{Code, Name, Refusal};
use futures_util::Stream;
use semver::Version;
use serde::Deserialize;

use super::json::{Answer, Body, Path, Query, Refused, usage};
use super::wire::{BundleRequest, ConfigChange, TrustRequest};
use super::{Server, stream};
use crate::api::{
    Api, ApplyRequest, BundleForm, BundleInfo, ChannelStatus, ConfigValue, PlanAnswer, PlanRequest,
    PolicyStatus, ReleaseInfo, RunDetail, RunSummary, Status, TrustInfo,
};
use crate::schedule::Policy;
use crate::store::{ChannelSettings, Mended};

/// The most lines of a log or of the history that one answer holds.
const MOST: u32 = 10_000;

type Accepted = Result<(StatusCode, Json<RunSummary>), Refused>;

pub(super) async fn status<A: Api>(State(server): State<Server<A>>) -> Answer<Status> {
    Ok(Json(server.api.status().await?))
}

pub(super) async fn trust_info<A: Api>(State(server): State<Server<A>>) -> Answer<TrustInfo> {
    Ok(Json(server.api.trust_info()?))
}

pub(super) async fn trust<A: Api>(
    State(server): State<Server<A>>,
    Body(request): Body<TrustRequest>,
) -> Answer<TrustInfo> {
    Ok(Json(
        server.api.trust(request.fingerprint, request.replace)?,
    ))
}

pub(super) async fn open_bundle<A: Api>(
    State(server): State<Server<A>>,
    Body(request): Body<BundleRequest>,
) -> Answer<BundleInfo> {
    let file = server.handover.redeem(&request.token)?;
    Ok(Json(server.api.open_bundle(file, request.terms()).await?))
}

pub(super) async fn verify_bundle<A: Api>(
    State(server): State<Server<A>>,
    Body(request): Body<BundleRequest>,
) -> Result<Response, Refused> {
    let file = server.handover.redeem(&request.token)?;
    Ok(stream::verification(server.api, file, request.terms()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FormQuery {
    version: Option<Version>,
}

pub(super) async fn bundle_form<A: Api>(
    State(server): State<Server<A>>,
    Path(id): Path<u64>,
    Query(query): Query<FormQuery>,
) -> Answer<BundleForm> {
    Ok(Json(server.api.bundle_form(id, query.version.as_ref())?))
}

pub(super) async fn channel_form<A: Api>(
    State(server): State<Server<A>>,
    Query(query): Query<FormQuery>,
) -> Answer<BundleForm> {
    Ok(Json(server.api.channel_form(query.version.as_ref())?))
}

pub(super) async fn releases<A: Api>(State(server): State<Server<A>>) -> Answer<Vec<ReleaseInfo>> {
    Ok(Json(server.api.releases()?))
}

pub(super) async fn plan<A: Api>(
    State(server): State<Server<A>>,
    Body(request): Body<PlanRequest>,
) -> Answer<PlanAnswer> {
    Ok(Json(server.api.plan(request).await?))
}

pub(super) async fn apply<A: Api>(
    State(server): State<Server<A>>,
    Body(request): Body<ApplyRequest>,
) -> Accepted {
    Ok((StatusCode::ACCEPTED, Json(server.api.apply(request).await?)))
}

pub(super) async fn resume<A: Api>(State(server): State<Server<A>>) -> Accepted {
    Ok((StatusCode::ACCEPTED, Json(server.api.resume().await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    limit: Option<u32>,
}

pub(super) async fn channel<A: Api>(State(server): State<Server<A>>) -> Answer<ChannelStatus> {
    Ok(Json(server.api.channel()?))
}

pub(super) async fn set_channel<A: Api>(
    State(server): State<Server<A>>,
    Body(settings): Body<ChannelSettings>,
) -> Answer<ChannelStatus> {
    server.api.set_channel(Some(settings)).await?;
    Ok(Json(server.api.channel()?))
}

pub(super) async fn forget_channel<A: Api>(
    State(server): State<Server<A>>,
) -> Result<StatusCode, Refused> {
    server.api.set_channel(None).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn check_channel<A: Api>(
    State(server): State<Server<A>>,
) -> Answer<ChannelStatus> {
    Ok(Json(server.api.check_channel().await?))
}

pub(super) async fn policy<A: Api>(State(server): State<Server<A>>) -> Answer<PolicyStatus> {
    Ok(Json(server.api.policy()?))
}

pub(super) async fn set_policy<A: Api>(
    State(server): State<Server<A>>,
    Body(policy): Body<Policy>,
) -> Answer<PolicyStatus> {
    Ok(Json(server.api.set_policy(policy)?))
}

pub(super) async fn history<A: Api>(
    State(server): State<Server<A>>,
    Query(query): Query<HistoryQuery>,
) -> Answer<Vec<RunSummary>> {
    let limit = query.limit.unwrap_or(20).min(MOST);
    Ok(Json(server.api.history(limit)?))
}

pub(super) async fn mended<A: Api>(
    State(server): State<Server<A>>,
    Query(query): Query<HistoryQuery>,
) -> Answer<Vec<Mended>> {
    let limit = query.limit.unwrap_or(20).min(MOST);
    Ok(Json(server.api.mended(limit)?))
}

pub(super) async fn run<A: Api>(
    State(server): State<Server<A>>,
    Path(id): Path<i64>,
) -> Answer<RunDetail> {
    Ok(Json(server.api.run(id)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    after: Option<i64>,
}

pub(super) async fn run_events<A: Api>(
    State(server): State<Server<A>>,
    Path(id): Path<i64>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    // A browser that connects again keeps the address and adds the header: the header is newer.
    let after = match headers.get("last-event-id") {
        Some(id) => id
            .to_str()
            .ok()
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| {
                usage("Last-Event-ID is not a number that this journal gave")
                    .found(format!("{id:?}"))
            })?,
        None => query.after.unwrap_or(0),
    };
    Ok(stream::run_events(server.api, id, after, server.shutdown)?)
}

pub(super) async fn events<A: Api>(
    State(server): State<Server<A>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    stream::events(server.api.subscribe(), server.shutdown)
}

pub(super) async fn config<A: Api>(State(server): State<Server<A>>) -> Answer<Vec<ConfigValue>> {
    Ok(Json(server.api.config()?))
}

pub(super) async fn set_config<A: Api>(
    State(server): State<Server<A>>,
    Body(change): Body<ConfigChange>,
) -> Answer<Vec<ConfigValue>> {
    Ok(Json(server.api.set_config(change.values)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    tail: Option<u32>,
    #[serde(default)]
    follow: bool,
}

pub(super) async fn logs<A: Api>(
    State(server): State<Server<A>>,
    Path(service): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Refused> {
    let service: Name = service
        .parse()
        .map_err(|error: berth_format::name::ParseNameError| {
            Refusal::new(Code::NotFound, "there is no such service").found(error.to_string())
        })?;
    let tail = query.tail.unwrap_or(100).min(MOST) as usize;
    let lines = server.api.logs(&service, tail, query.follow).await?;
    Ok(stream::lines(lines, server.shutdown).into_response())
}
