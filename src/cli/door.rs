//! The way in: the running server's API, or, where none runs, the same API over the store under its lock.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::Place;
use super::assemble::assemble;
use crate::config::Config;
use crate::data::{Data, Whereabouts};
use crate::mapping::parse_json;

/// Longest time for work on the whole store.
const LONG: Duration = Duration::from_secs(12 * 3600);

/// Where a command's questions go.
pub(super) enum Door {
    Server { whereabouts: Whereabouts, token: SecretString, client: reqwest::Client },
    Store { api: Router, token: SecretString },
}

impl Door {
    /// Finds the running server, or opens the store.
    ///
    /// # Errors
    /// If neither can be had: the store's lock is held and no server answers.
    pub async fn open(place: &Place) -> anyhow::Result<Door> {
        if let Some(door) = Door::server(place).await? {
            return Ok(door);
        }
        let config = Config::load(&place.dir)?;
        let parts = assemble(place, config).context("no server answers, and the store cannot be opened either")?;
        let api = crate::server::api(&parts.config, parts.engine, parts.access);
        Ok(Door::Store { api, token: parts.token })
    }

    /// The running server, if there is one.
    pub async fn server(place: &Place) -> anyhow::Result<Option<Door>> {
        let folder = place.data()?;
        if !folder.is_dir() {
            return Ok(None);
        }
        let data = Data::open(&folder).map_err(|why| anyhow!(why))?;
        let Some(whereabouts) = data.whereabouts().filter(|at| is_ours(at.pid, data.path())) else {
            return Ok(None);
        };
        let token = data.admin_token().map_err(|why| anyhow!(why))?;
        let door = Door::Server { whereabouts, token, client: client()? };
        // Another of our processes may have the number, and listen there: the API knows our token, it does not.
        Ok(door.ask(Method::GET, "/api/v1/problems", None).await.is_ok().then_some(door))
    }

    /// The running server; an error that says how to start one if there is none.
    pub async fn need_server(place: &Place) -> anyhow::Result<Door> {
        let door = Door::server(place).await?;
        door.ok_or_else(|| anyhow!("no server runs on {}; start one with `millstream serve`", place.dir.display()))
    }

    /// In words, for messages.
    pub fn name(&self) -> String {
        match self {
            Door::Server { whereabouts, .. } => format!("the running server (pid {})", whereabouts.pid),
            Door::Store { .. } => "the store (no server runs)".to_owned(),
        }
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Posts; an answer that is a problem is given as it is.
    ///
    /// # Errors
    /// If there was no answer, or not from who was asked.
    pub async fn tell(&self, path: &str, body: Value) -> anyhow::Result<Result<Value, Value>> {
        let (status, value) = self.exchange(Method::POST, path, Some(body)).await?;
        Ok(if status.is_success() { Ok(value) } else { Err(value) })
    }

    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::DELETE, path, None).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let (status, value) = self.exchange(method, path, body).await?;
        if status.is_success() {
            return Ok(value);
        }
        let says = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let places = value.get("errors").and_then(Value::as_array).into_iter().flatten();
        let places: Vec<String> = places.map(|place| format!("\n  {place}")).collect();
        bail!("{}{} ({})", says("detail"), places.concat(), says("code"))
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<(StatusCode, Value)> {
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        let (status, bytes) = match self {
            Door::Server { whereabouts, token, client } => {
                let url = format!("http://{}{path}", whereabouts.admin);
                let mut request = client.request(method, url).bearer_auth(token.expose_secret());
                if path.starts_with("/api/v1/store/") {
                    request = request.timeout(LONG);
                }
                let answer = request.header("content-type", "application/json").body(text).send().await?;
                (answer.status(), answer.bytes().await?)
            }
            Door::Store { api, token } => {
                let request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header("authorization", format!("Bearer {}", token.expose_secret()))
                    .header("content-type", "application/json")
                    .body(Body::from(text))?;
                let answer = api.clone().oneshot(request).await?;
                (answer.status(), axum::body::to_bytes(answer.into_body(), usize::MAX).await?)
            }
        };
        let value: Value = parse_json(&bytes).unwrap_or(json!({}));
        if status == StatusCode::UNAUTHORIZED {
            bail!("the server does not accept the token in the data folder; is it another folder's server?");
        }
        Ok((status, value))
    }
}

/// True if there is a process of this number, and it is not another user's. A server that went down leaves its address
/// behind, and whoever listens there now must not be sent the token.
fn is_ours(pid: u32, data: &Path) -> bool {
    let owner = |path: &Path| std::fs::metadata(path).map(|found| found.uid()).ok();
    let Some(own) = owner(Path::new("/proc/self")) else {
        // A system that does not tell.
        return true;
    };
    // What cannot be looked into is shown as root's.
    owner(Path::new(&format!("/proc/{pid}"))).is_some_and(|uid| [Some(own), Some(0), owner(data)].contains(&Some(uid)))
}

/// A client for this machine's own server: no proxies, no redirects.
pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    Ok(builder.connect_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(130)).build()?)
}
