//! Asks file systems for their space on a thread beside, for the call may never return.
//!
//! One worker asks them all in turn. The mount on which it does not return in time keeps it, and becomes a slow mount
//! with a worker of its own: its answer is taken a round late, whenever it comes. Nobody waits for it again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

/// How long one mount may take before the round goes on without it. A tick may be late by that, once per mount.
const PATIENCE: Duration = Duration::from_millis(250);
/// A thread that makes one system call; the first allocation of a thread takes more than 64 KiB of stack in the allocator.
const STACK_BYTES: usize = 256 << 10;

/// Space of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    pub total_bytes: u64,
    /// Free, whoever may use it.
    pub free_bytes: u64,
    /// Free for users.
    pub available_bytes: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Space(Space),
    /// From a slow mount, asked in the round before.
    Late(Space),
    /// Not returned yet.
    Stuck,
    /// The kernel refused.
    Failed,
}

/// The call itself; tests put one that hangs.
pub(super) type Ask = fn(&Path) -> io::Result<Space>;

/// `statvfs`.
pub(super) fn ask(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space {
        total_bytes: bytes(stat.f_blocks),
        free_bytes: bytes(stat.f_bfree),
        available_bytes: bytes(stat.f_bavail),
        inodes: stat.f_files,
        inodes_free: stat.f_ffree,
    })
}

/// Owns the workers. A worker ends when its channel closes; one that hangs in the kernel cannot be joined by anybody.
#[derive(Debug)]
pub(super) struct Prober {
    ask: Ask,
    worker: Option<Worker>,
    slow: BTreeMap<PathBuf, Slow>,
}

#[derive(Debug)]
struct Slow {
    worker: Worker,
    /// The worker has been asked and has not answered.
    waiting: bool,
}

#[derive(Debug)]
struct Worker {
    /// One place: nothing is asked before the last answer was taken.
    questions: SyncSender<PathBuf>,
    answers: Receiver<io::Result<Space>>,
}

impl Worker {
    fn start(ask: Ask) -> io::Result<Self> {
        let (questions, asked) = sync_channel::<PathBuf>(1);
        let (answer, answers) = sync_channel(1);
        let work = move || {
            while let Ok(path) = asked.recv() {
                if answer.send(ask(&path)).is_err() {
                    break;
                }
            }
        };
        let name = "headrope-statvfs".to_owned();
        std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(work)?;
        Ok(Self { questions, answers })
    }
}

impl Prober {
    pub(super) fn new(ask: Ask) -> Self {
        Self { ask, worker: None, slow: BTreeMap::new() }
    }

    /// One answer per path, in order.
    pub(super) fn ask(&mut self, paths: &[PathBuf]) -> Vec<Answer> {
        // A mount that is gone takes its worker along, as soon as that returns.
        self.slow.retain(|path, _| paths.contains(path));
        paths.iter().map(|path| self.ask_one(path)).collect()
    }

    fn ask_one(&mut self, path: &Path) -> Answer {
        if let Some(slow) = self.slow.get_mut(path) {
            return slow.ask(path);
        }
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => match Worker::start(self.ask) {
                Ok(worker) => worker,
                Err(_) => return Answer::Failed, // No thread to be had; the next round tries again.
            },
        };
        if worker.questions.send(path.to_owned()).is_err() {
            return Answer::Failed;
        }
        match worker.answers.recv_timeout(PATIENCE) {
            Ok(answer) => {
                self.worker = Some(worker);
                answer.map_or(Answer::Failed, Answer::Space)
            }
            Err(_) => {
                self.slow.insert(path.to_owned(), Slow { worker, waiting: true });
                Answer::Stuck
            }
        }
    }
}

impl Slow {
    fn ask(&mut self, path: &Path) -> Answer {
        let answer = match self.worker.answers.try_recv() {
            Ok(answer) => {
                self.waiting = false;
                answer.map_or(Answer::Failed, Answer::Late)
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Answer::Stuck,
        };
        if !self.waiting {
            self.waiting = self.worker.questions.try_send(path.to_owned()).is_ok();
        }
        answer
    }
}
