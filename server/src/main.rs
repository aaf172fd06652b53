//! `headrope`: the server and its command line.

use std::process::ExitCode;

use clap::Parser;
use server::cli::Cli;

// Returns freed memory to the system and is quicker than the default on every owned path (ingest.md, I5).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::cli::main(Cli::parse())
}
