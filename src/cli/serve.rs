//! `millstream serve`: the server, until it is told to stop.

use std::future::Future;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::assemble::{Parts, assemble};
use super::{Place, block_on, print_json};
use crate::config::Config;
use crate::data::{Data, Whereabouts};
use crate::server::Server;

/// How long requests and runs at work get to come to an end.
const GRACE: Duration = Duration::from_secs(30);

/// Serves the project folder: its flows are live as long as this runs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address of the public listener; port 0 picks one and says which.
    #[arg(long, env = "MILLSTREAM_LISTEN")]
    listen: Option<String>,
    /// Address of the admin listener.
    #[arg(long, env = "MILLSTREAM_ADMIN")]
    admin: Option<String>,
    /// Log lines as JSON.
    #[arg(long, env = "MILLSTREAM_LOG_JSON")]
    log_json: bool,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        start_log(self.log_json);
        let mut config = Config::load(&place.dir)?;
        config.listen = self.listen.or(config.listen);
        config.admin = self.admin.or(config.admin);
        let parts = assemble(place, config)?;
        block_on(async {
            let ready = |at: &Whereabouts| {
                let (public, admin) = (format!("{}://{}", at.scheme, at.public), format!("http://{}", at.admin));
                if place.json {
                    return print_json(&json!({"public": public, "admin": admin, "pid": at.pid}));
                }
                println!("listening on {public} (admin: {admin})");
                Ok(())
            };
            serve(parts, ready, std::future::pending::<()>()).await
        })
    }
}

/// Serves until a signal comes or `until` resolves. `ready` is called once requests are let in.
pub(super) async fn serve(
    parts: Parts,
    ready: impl FnOnce(&Whereabouts) -> anyhow::Result<()>,
    until: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    let Parts { config, data, access, catalog, engine, .. } = parts;
    // Before anyone is told that it serves: a signal that comes at once is a stop in order too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::bind(&config, engine.clone(), access).await?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let whereabouts = Whereabouts {
        pid: std::process::id(),
        public: server.public_addr(),
        admin: server.admin_addr(),
        scheme: scheme.into(),
    };
    for problem in &catalog.current().problems {
        crate::catalog::log_problem(problem);
    }
    // From here on callers get 503 until the open runs are known, never a refused connection or a 404.
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async { drop(stopped.await) }, GRACE));
    if let Some(alerts) = &config.alerts {
        engine.alert_by(alerts.clone());
    }
    engine.begin().await.context("the open runs could not be read")?;
    engine.keep_schedules();
    engine.retain(config.retention.clone());
    let watch = catalog.watch();
    // On a full disk it serves all the same, as soon as there is room.
    let announced = announce(&data, &whereabouts);
    ready(&whereabouts)?;
    let flows = catalog.current().flows.len();
    tracing::info!(public = %whereabouts.public, admin = %whereabouts.admin, flows, "serving");

    let broken = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        () = until => None,
        reason = engine.failed() => Some(reason),
    };
    announced.abort();
    data.withdraw();
    if let Some(reason) = broken {
        give_up(&reason);
    }
    tracing::info!("stopping");
    drop(watch);
    let _ = stop.send(());
    tokio::select! {
        // First, as the end of the stop itself may be what failed.
        biased;
        reason = engine.failed() => give_up(&reason),
        _ = async { tokio::join!(serving, engine.stop(GRACE)) } => {}
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Nothing may be acknowledged any more, and nothing in memory is worth waiting for.
fn give_up(reason: &str) -> ! {
    tracing::error!(
        reason,
        "the journal cannot be written; stopping at once, what is durable goes on at the next start"
    );
    std::process::exit(1);
}

/// Leaves word of where the server is; if that cannot be written, again and again until it can.
fn announce(data: &Data, whereabouts: &Whereabouts) -> tokio::task::JoinHandle<()> {
    let first = data.announce(whereabouts).inspect_err(|error| {
        tracing::warn!(%error, "server.json could not be written: until it can be, commands do not find this server");
    });
    let (data, whereabouts) = (data.clone(), whereabouts.clone());
    tokio::spawn(async move {
        let mut written = first.is_ok();
        while !written {
            tokio::time::sleep(Duration::from_secs(1)).await;
            written = data.announce(&whereabouts).is_ok();
        }
    })
}

/// Log lines go to stderr; `MILLSTREAM_LOG` sets what is shown (`debug`, `millstream::server=trace`, …).
pub(super) fn start_log(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("MILLSTREAM_LOG").unwrap_or_else(|_| EnvFilter::new("warn,millstream=info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Colours are for a terminal; in a file they are noise.
    let log = log.with_ansi(std::io::stderr().is_terminal());
    let _ = if json { log.json().try_init() } else { log.with_target(false).try_init() };
}
