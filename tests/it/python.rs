//! A Python interpreter with the pinned packages of `tests/python`, for tests that use what others wrote.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::server::target_dir;

/// Where the scripts are.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// Runs `command` to its end, fails with what it printed, returns its standard output.
pub(crate) async fn run(mut command: Command) -> String {
    let output = command.kill_on_drop(true).output().await.unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The interpreter of an environment that holds exactly the pinned packages; made once, kept below `target`.
pub(crate) async fn python() -> PathBuf {
    let wanted = std::fs::read_to_string(sources().join("requirements.txt")).unwrap();
    let environment = target_dir().join("python-sdk");
    let lock = std::fs::File::create(target_dir().join("python-sdk.lock")).unwrap();
    // Tests are processes of their own: only one of them may make it.
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await.unwrap();
    let lock = lock.unwrap();
    let (python, stamp) =
        (environment.join("bin").join("python"), environment.join("installed.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&environment);
    run(venv).await;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    pip.arg(sources().join("requirements.txt"));
    run(pip).await;
    std::fs::write(stamp, wanted).unwrap();
    drop(lock);
    python
}
