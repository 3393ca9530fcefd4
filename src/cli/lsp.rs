//! `millstream lsp`: the language server, spoken to by an editor over stdin and stdout.

mod last;
mod session;
mod wire;
mod workspace;

use std::io::{BufReader, stdin, stdout};
use std::process::ExitCode;
use std::sync::mpsc::channel;

use anyhow::Context;

use self::session::Session;
use super::Place;

/// Speaks with an editor (Language Server Protocol over stdin and stdout): problems while typing, completion, hover,
/// definitions, renaming of steps.
///
/// The project is the nearest folder above a file that has `millstream.yaml` or `flows/`, unless --dir names one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The only way there is; editors like to name it.
    #[arg(long)]
    stdio: bool,
}

/// What the session hears of.
enum Event {
    Incoming(wire::Incoming),
    /// The files of this project folder have changed on disk.
    Changed(std::path::PathBuf),
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let _ = self.stdio;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (send, events) = channel();
        let session = Session::new(place, runtime.handle().clone(), send.clone(), stdout());
        // It is left behind in a read that may never end, and ends with the process.
        let read = move || {
            let mut input = BufReader::new(stdin());
            loop {
                let incoming = wire::read(&mut input).unwrap_or(wire::Incoming::End);
                let last = matches!(incoming, wire::Incoming::End);
                if send.send(Event::Incoming(incoming)).is_err() || last {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("input".into()).spawn(read).context("no thread reads stdin")?;
        let ended = session.run(&events);
        runtime.shutdown_background();
        Ok(if ended { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
