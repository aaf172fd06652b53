//! `headrope`: the server and its command line.

use std::process::ExitCode;

use clap::Parser;
use server::cli::Cli;

// Gives back what is free, whichever thread freed it (docs/decision/0003-allocator.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator reads before `main` (jemalloc(3), TUNING): memory free for a second goes back to the system, and a
/// thread of the allocator's own sees to that while all others sleep.
#[expect(unsafe_code, reason = "the allocator finds its settings by this name")]
// SAFETY: nothing else has the name; it points to a text that ends with a zero.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTINGS: Settings =
    Settings(c"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0".as_ptr());

/// The address of a text.
#[repr(transparent)]
pub struct Settings(*const std::ffi::c_char);

#[expect(unsafe_code, reason = "pointers say nothing of what they point to")]
// SAFETY: the text never changes.
unsafe impl Sync for Settings {}

fn main() -> ExitCode {
    server::cli::main(Cli::parse())
}
