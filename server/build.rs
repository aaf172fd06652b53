//! Rebuilds the embedding when the dashboard was built anew. Calls nothing.

fn main() -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "cargo::rerun-if-changed=../ui/dist")
}
