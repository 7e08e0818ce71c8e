//! The page for people.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use berth_web::{Home, Mood, Service};

use super::Server;
use super::json::Refused;
use crate::api::{Api, Overall};

/// No script, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

pub(super) async fn home<A: Api>(State(server): State<Server<A>>) -> Result<Response, Refused> {
    let status = server.api.status().await?;
    let mood = match status.state {
        Overall::Healthy => Mood::Good,
        Overall::NotInstalled => Mood::Quiet,
        Overall::Updating | Overall::RollingBack | Overall::Degraded => Mood::Attention,
        Overall::Halted | Overall::EngineGone => Mood::Bad,
    };
    let home = Home {
        title: status.title.unwrap_or_else(|| "Berth".to_owned()),
        mood,
        state: word(status.state),
        sentence: status.summary,
        version: status.version.map(|v| v.to_string()),
        available: status.available.iter().map(ToString::to_string).collect(),
        services: status
            .services
            .into_iter()
            .map(|service| Service {
                name: service.name.to_string(),
                good: service.good,
                summary: service.summary,
            })
            .collect(),
        berth: status.berth,
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, home.render()).into_response())
}

/// The state as it stands in a sentence.
fn word(state: Overall) -> &'static str {
    match state {
        Overall::NotInstalled => "not installed",
        Overall::Healthy => "healthy",
        Overall::Degraded => "degraded",
        Overall::Updating => "updating",
        Overall::RollingBack => "rolling back",
        Overall::Halted => "halted",
        Overall::EngineGone => "no answer from Docker",
    }
}
