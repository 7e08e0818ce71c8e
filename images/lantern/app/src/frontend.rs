//! The frontend: search page, JSON API and health, on port 3080.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::cache::Cache;
use crate::db::{self, Db};
use crate::docs::{Docs, Hit};
use crate::page::Page;
use crate::settings::{Fault, Release, var, var_or};
use crate::shutdown::Shutdown;

/// Longest document, bytes.
const MAX_DOCUMENT: usize = 8 << 20;

struct Frontend {
    release: Release,
    db: Db,
    /// Versions from 2.0 on live without.
    cache: Option<Cache>,
    external_url: String,
    motd: String,
}

/// Serves until told to stop.
pub async fn run(release: Release, shutdown: Shutdown) -> std::io::Result<()> {
    let motd = var_or("LANTERN_MOTD", "/etc/lantern/motd.txt");
    let frontend = Frontend {
        db: Db::from_env(),
        cache: var("CACHE_ADDRESS").map(|address| Cache { address }),
        external_url: var_or("EXTERNAL_URL", ""),
        motd: std::fs::read_to_string(motd).unwrap_or_default(),
        release,
    };
    let listener = TcpListener::bind(var_or("LANTERN_LISTEN", "0.0.0.0:3080")).await?;
    println!(
        "frontend {} on {}",
        frontend.release.version,
        listener.local_addr()?
    );
    shutdown.serve(listener, app(frontend)).await
}

fn app(frontend: Frontend) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/api/search", get(search))
        .route("/api/docs", get(count).post(put))
        .route("/healthz", get(healthz))
        .route("/version", get(version))
        .layer(DefaultBodyLimit::max(MAX_DOCUMENT))
        .with_state(Arc::new(frontend))
}

/// The database is away, or its schema is not the one that the SQL was written for.
impl IntoResponse for db::Error {
    fn into_response(self) -> Response {
        eprintln!("{self}");
        (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"error": self.to_string()})),
        )
            .into_response()
    }
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

#[derive(Deserialize)]
struct Document {
    name: String,
    text: String,
}

impl Frontend {
    async fn find(&self, query: &str) -> Result<Vec<Hit>, db::Error> {
        if query.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(cache) = &self.cache
            && let Err(error) = cache.count("lantern:searches").await
        {
            eprintln!("{error}");
        }
        let work = async {
            let client = self.db.client().await?;
            Docs {
                client: &client,
                schema: self.release.schema,
            }
            .search(query)
            .await
        };
        self.db.within(work).await
    }

    /// What is wrong; empty when all is well. Beside it the schema that was found.
    async fn problems(&self) -> (Vec<String>, Option<i32>) {
        let wanted = self.release.schema;
        let mut problems = Vec::new();
        let mut found = None;
        match self.db.within(self.db.schema()).await {
            Ok(schema) => {
                found = Some(schema.version);
                if schema.dirty {
                    problems.push("schema: a migration did not end".to_owned());
                } else if schema.version < wanted {
                    problems.push(format!("schema: wants {wanted}, found {}", schema.version));
                }
            }
            Err(error) => problems.push(error.to_string()),
        }
        if problems.is_empty() {
            // The version table is one thing, what the SQL of this version meets another.
            if let Err(error) = self.find("\u{1}").await {
                problems.push(error.to_string());
            }
        }
        if let Some(cache) = &self.cache
            && let Err(error) = cache.ping().await
        {
            problems.push(error.to_string());
        }
        if self.release.fault == Some(Fault::NeverHealthy) {
            problems.push("search workers: 0 of 4 ready".to_owned());
        }
        (problems, found)
    }
}

async fn page(State(frontend): State<Arc<Frontend>>, Query(search): Query<Search>) -> Html<String> {
    let found = frontend.find(&search.q).await;
    let schema = frontend.db.within(frontend.db.schema()).await.ok();
    let problem = found.as_ref().err().map(ToString::to_string);
    let page = Page {
        version: &frontend.release.version,
        schema: schema.map(|schema| schema.version),
        accent: &frontend.release.accent,
        external_url: &frontend.external_url,
        motd: &frontend.motd,
        query: &search.q,
        hits: found.as_deref().unwrap_or_default(),
        problem: problem.as_deref(),
    };
    Html(page.html())
}

async fn search(
    State(frontend): State<Arc<Frontend>>,
    Query(search): Query<Search>,
) -> Result<Json<Value>, db::Error> {
    let hits = frontend.find(&search.q).await?;
    Ok(Json(
        json!({"query": search.q, "count": hits.len(), "hits": hits}),
    ))
}

async fn count(State(frontend): State<Arc<Frontend>>) -> Result<Json<Value>, db::Error> {
    let work = async {
        let client = frontend.db.client().await?;
        Docs {
            client: &client,
            schema: frontend.release.schema,
        }
        .count()
        .await
    };
    Ok(Json(json!({"count": frontend.db.within(work).await?})))
}

async fn put(
    State(frontend): State<Arc<Frontend>>,
    Json(document): Json<Document>,
) -> Result<Response, db::Error> {
    let Document { name, text } = document;
    if name.is_empty() || name.contains('\0') || text.contains('\0') {
        let error = json!({"error": "a document has a name, and no NUL"});
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(error)).into_response());
    }
    let work = async {
        let client = frontend.db.client().await?;
        Docs {
            client: &client,
            schema: frontend.release.schema,
        }
        .put(&name, "put", &text)
        .await
    };
    frontend.db.within(work).await?;
    Ok((StatusCode::CREATED, Json(json!({"name": name}))).into_response())
}

async fn healthz(State(frontend): State<Arc<Frontend>>) -> Response {
    let (problems, schema) = frontend.problems().await;
    let status = if problems.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    for problem in &problems {
        eprintln!("not healthy: {problem}");
    }
    let wants = frontend.release.schema;
    (
        status,
        Json(json!({"schema": schema, "wants": wants, "problems": problems})),
    )
        .into_response()
}

async fn version(State(frontend): State<Arc<Frontend>>) -> Json<Value> {
    let schema = frontend.db.within(frontend.db.schema()).await.ok();
    Json(json!({
        "version": frontend.release.version,
        "schema": schema.map(|schema| schema.version),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    #[tokio::test]
    async fn without_a_database_the_frontend_serves_but_is_not_healthy() {
        let release = Release {
            version: "9.9.9".into(),
            schema: 1,
            accent: "red".into(),
            fault: None,
        };
        let frontend = Frontend {
            release,
            // Nothing listens there: the name is not in any DNS.
            db: Db::from_env(),
            cache: Some(Cache {
                address: "127.0.0.1:1".into(),
            }),
            external_url: String::new(),
            motd: String::new(),
        };
        let app = app(frontend);
        let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
        let health = app.clone().oneshot(get("/healthz")).await.unwrap();
        assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
        let page = app.oneshot(get("/")).await.unwrap();
        assert_eq!(page.status(), StatusCode::OK);
    }
}
