//! The command line: one file a command. Answers go to stdout, messages to stderr; exit code 0 only if all is well.

mod check;
mod eval;
mod functions;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

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
    fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.dir.join(".millstream"))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Eval(eval::Args),
    Functions(functions::Args),
    /// Prints the completions of a shell: `millstream completions bash`.
    Completions { shell: clap_complete::Shell },
}

impl Cli {
    /// Runs the command; errors go to stderr with their causes.
    pub fn run(self) -> ExitCode {
        let place = &self.place;
        let done = match self.command {
            Command::Check(args) => args.run(place),
            Command::Eval(args) => args.run(place),
            Command::Functions(args) => args.run(place),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "millstream", &mut std::io::stdout());
                Ok(ExitCode::SUCCESS)
            }
        };
        done.unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        })
    }
}

/// Prints a JSON document on stdout, readable where a person reads it.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    use std::io::{IsTerminal, Write};
    let mut out = std::io::stdout().lock();
    if out.is_terminal() { serde_json::to_writer_pretty(&mut out, value)? } else { serde_json::to_writer(&mut out, value)? }
    writeln!(out)?;
    Ok(())
}
