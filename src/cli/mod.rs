//! The command line: one file a command. Answers go to stdout, messages to stderr; exit code 0 only if all is well.

mod assemble;
mod audit;
mod check;
mod connections;
mod connectors;
mod demo;
mod door;
mod eval;
mod fmt;
mod functions;
mod graph;
mod inputs;
mod letters;
mod login;
mod lsp;
mod new;
mod record;
mod run;
mod runs;
mod samples;
mod schema;
mod secret;
mod send;
mod serve;
mod show;
mod store;
mod test;
mod token;
mod url;
mod vault;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use serde_json::Value;

/// A YAML file becomes a durable endpoint that carries each request through connectors.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
struct Place {
    /// The project folder.
    #[arg(long, global = true, default_value = ".", env = "MILLSTREAM_DIR")]
    dir: PathBuf,
    /// The data folder; `.millstream` in the project folder unless set.
    #[arg(long, global = true, env = "MILLSTREAM_DATA")]
    data: Option<PathBuf>,
    /// Prints one JSON document on stdout.
    #[arg(long, global = true)]
    json: bool,
}

impl Place {
    /// The project folder, absolute.
    fn dir(&self) -> anyhow::Result<PathBuf> {
        let shown = self.dir.display();
        std::fs::canonicalize(&self.dir).with_context(|| format!("the project folder {shown} cannot be opened"))
    }

    fn data(&self) -> anyhow::Result<PathBuf> {
        match &self.data {
            Some(data) => Ok(data.clone()),
            None => Ok(self.dir()?.join(".millstream")),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    New(new::Args),
    Check(check::Args),
    Test(test::Args),
    Fmt(fmt::Args),
    Graph(graph::Args),
    Schema(schema::Args),
    Lsp(lsp::Args),
    Url(url::Args),
    Send(send::Args),
    Run(run::Args),
    Runs(runs::Args),
    Connectors(connectors::Args),
    Connections(connections::Args),
    Secret(secret::Args),
    Token(token::Args),
    Audit(audit::Args),
    Store(store::Args),
    Eval(eval::Args),
    Functions(functions::Args),
    /// Prints the completions of a shell: `millstream completions bash`.
    Completions {
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// Runs the command; errors go to stderr with their causes.
    pub fn run(self) -> ExitCode {
        let place = &self.place;
        let done = match self.command {
            Command::Serve(args) => args.run(place),
            Command::Demo(args) => args.run(place),
            Command::New(args) => args.run(place),
            Command::Check(args) => args.run(place),
            Command::Test(args) => args.run(place),
            Command::Fmt(args) => args.run(place),
            Command::Graph(args) => args.run(place),
            Command::Schema(args) => args.run(place),
            Command::Lsp(args) => args.run(place),
            Command::Url(args) => args.run(place),
            Command::Send(args) => args.run(place),
            Command::Run(args) => args.run(place),
            Command::Runs(args) => args.run(place),
            Command::Connectors(args) => args.run(place),
            Command::Connections(args) => args.run(place),
            Command::Secret(args) => args.run(place),
            Command::Token(args) => args.run(place),
            Command::Audit(args) => args.run(place),
            Command::Store(args) => args.run(place),
            Command::Eval(args) => args.run(place),
            Command::Functions(args) => args.run(place),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "millstream", &mut std::io::stdout());
                Ok(ExitCode::SUCCESS)
            }
        };
        done.unwrap_or_else(|error| {
            eprintln!("error: {}", told(&error));
            ExitCode::FAILURE
        })
    }
}

/// An error with its causes, each said once: many messages already hold their cause.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Prints a JSON document on stdout, readable where a person reads it.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    use std::io::{IsTerminal, Write};
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        serde_json::to_writer_pretty(&mut out, value)?
    } else {
        serde_json::to_writer(&mut out, value)?
    }
    writeln!(out)?;
    Ok(())
}

/// Runs a command's asynchronous part.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// A text member of a JSON document; empty if it is not there.
fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// One segment of a URL's path.
fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Reads a JSON file, each number as it was written; `-` is stdin.
fn read_json(path: &Path) -> anyhow::Result<Value> {
    let text = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).context("stdin could not be read")?
    } else {
        std::fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))?
    };
    crate::mapping::parse_json(text.as_bytes()).with_context(|| format!("{} is not JSON", path.display()))
}
