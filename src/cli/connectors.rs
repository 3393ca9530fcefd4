//! `millstream connectors`: what is built in and what is one's own; a new one from a request; one call by hand.

mod call;
mod list;
mod new;
mod options;

use std::process::ExitCode;

use super::Place;

/// Shows connectors, makes new ones, and tries them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    List(list::Args),
    New(new::Args),
    Call(call::Args),
    Options(options::Args),
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        match self.what {
            What::List(args) => args.run(place),
            What::New(args) => args.run(place),
            What::Call(args) => args.run(place),
            What::Options(args) => args.run(place),
        }
    }
}
