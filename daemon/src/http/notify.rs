//! Who is told: each receiver is a thing of its own, because what is shown of one is not all of it
//! and cannot be sent back.

use axum::extract::State;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use berth_format::{Code, Name, Refusal};
use serde::Deserialize;

use super::Server;
use super::json::{Answer, Body, Path, Query, Refused, usage};
use super::wire::TestRequest;
use crate::api::Api;
use crate::notify::{Delivery, Notifications, Receiver, Tested};

/// The most lines of one answer.
const MOST: u32 = 1000;

pub(super) fn routes<A: Api>() -> Router<Server<A>> {
    Router::new()
        .route("/", get(notifications::<A>))
        .route(
            "/receivers/{name}",
            put(set_receiver::<A>).delete(remove_receiver::<A>),
        )
        .route("/test", post(test::<A>))
        .route("/deliveries", get(deliveries::<A>))
}

async fn notifications<A: Api>(State(server): State<Server<A>>) -> Answer<Notifications> {
    Ok(Json(server.api.notifications()?))
}

async fn set_receiver<A: Api>(
    State(server): State<Server<A>>,
    Path(name): Path<String>,
    Body(receiver): Body<Receiver>,
) -> Answer<Notifications> {
    let name: Name = name.parse().map_err(|error| {
        let error: berth_format::name::ParseNameError = error;
        usage("a receiver cannot have this name").found(error.to_string())
    })?;
    Ok(Json(server.api.set_receiver(&name, Some(&receiver))?))
}

async fn remove_receiver<A: Api>(
    State(server): State<Server<A>>,
    Path(name): Path<String>,
) -> Answer<Notifications> {
    let name: Name = name
        .parse()
        .map_err(|_| Refused(Refusal::new(Code::NotFound, "nobody of this name is told")))?;
    Ok(Json(server.api.set_receiver(&name, None)?))
}

async fn test<A: Api>(
    State(server): State<Server<A>>,
    Body(request): Body<TestRequest>,
) -> Answer<Vec<Tested>> {
    let only = request.receiver.as_ref();
    Ok(Json(server.api.test_notifications(only).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitQuery {
    limit: Option<u32>,
}

async fn deliveries<A: Api>(
    State(server): State<Server<A>>,
    Query(query): Query<LimitQuery>,
) -> Answer<Vec<Delivery>> {
    let limit = query.limit.unwrap_or(20).min(MOST);
    Ok(Json(server.api.deliveries(limit)?))
}
