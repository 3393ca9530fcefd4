//! Parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use millstream::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages, which doubles the memory of an idle server; without them it is no slower here.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    Cli::parse().run()
}
