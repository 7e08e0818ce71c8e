//! JSON in and out: bodies that say what is wrong with them, and refusals with their status.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use berth_format::{Code, Refusal};
use serde::de::DeserializeOwned;

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refused(pub Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.kind().http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

/// What a handler answers.
pub(super) type Answer<T> = Result<Json<T>, Refused>;

/// A body of JSON.
pub(super) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let declared = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("none")
            .to_owned();
        // A page of another site can send a form without asking, but not this type.
        if declared.split(';').next().map(str::trim) != Some("application/json") {
            return Err(usage("the body is not declared as JSON")
                .because("Content-Type: application/json", declared)
                .into());
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| unread(&rejection))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            usage("the body is not what this request takes")
                .found(error.to_string())
                .into()
        })
    }
}

fn unread(rejection: &BytesRejection) -> Refused {
    let what = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        "the body is too large"
    } else {
        "the body ended too early"
    };
    usage(what).found(rejection.body_text()).into()
}

/// Parameters of the query.
pub(super) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(usage("a parameter is not what this request takes")
                .found(rejection.body_text())
                .into()),
        }
    }
}

/// Parameters of the path.
pub(super) struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(rejection) => Err(
                Refusal::new(Code::NotFound, "there is nothing of that name")
                    .found(rejection.body_text())
                    .into(),
            ),
        }
    }
}

/// Wrong use of the API.
pub(super) fn usage(summary: &str) -> Refusal {
    Refusal::new(Code::Usage, summary)
}
