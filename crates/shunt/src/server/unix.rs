//! The Unix socket: root only.

use super::{Query, Shared};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use tokio::net::UnixListener;

/// Name of the socket in the run directory.
pub const SOCKET: &str = "shunt.sock";

/// Makes the socket and answers on it.
pub(super) fn start(run_dir: &Path, shared: Shared) -> Result<(), String> {
    let path = run_dir.join(SOCKET);
    let failed = |e: std::io::Error| format!("socket {}: {e}; set --run-dir", path.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(run_dir).map_err(failed)?;
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(format!(
            "another agent answers on {}: stop it first, or set --run-dir and --bpf-root",
            path.display()
        ));
    }
    // Under its name it is root's alone from the first moment, and in place of what a killed agent left.
    let new = path.with_extension("new");
    if new.exists() {
        fs::remove_file(&new).map_err(failed)?;
    }
    let listener = UnixListener::bind(&new).map_err(failed)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&new, &path).map_err(failed)?;
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/services", get(services))
        .route("/v1/config", get(config))
        .with_state(shared);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the socket stopped answering");
        }
    });
    Ok(())
}

type Answer<T> = Result<Json<T>, StatusCode>;

fn answer<T: Serialize>(value: Option<T>) -> Answer<T> {
    value.map(Json).ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

async fn status(State(shared): State<Shared>) -> Answer<super::api::Status> {
    answer(shared.ask(Query::Status).await)
}

async fn services(State(shared): State<Shared>) -> Answer<Vec<shunt_model::ServiceView>> {
    answer(shared.ask(Query::Services).await)
}

async fn config(State(shared): State<Shared>) -> Answer<Vec<crate::config::Shown>> {
    answer(Some(shared.config.shown()))
}
