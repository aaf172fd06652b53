//! A tree of kernel files made by a test, and a round that can be asked for its values.

use std::io;
use std::path::Path;
use std::sync::Arc;

use model::time::Timestamp;

use super::{Context, Source};
use crate::Config;
use crate::kernel::{Buffer, Roots};
use crate::ledger::Ledger;
use crate::round::{Point, Round, Value};

/// `proc/`, `sys/` and `root/` below a temporary directory.
pub(crate) struct Fixture {
    dir: tempfile::TempDir,
    roots: Roots,
    pub(crate) ledger: Arc<Ledger>,
}

impl Fixture {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let roots = Roots::new(&Self::config(dir.path()));
        let fixture = Self { dir, roots, ledger: Arc::new(Ledger::new()) };
        files.iter().for_each(|(path, content)| fixture.write(path, content));
        fixture
    }

    fn config(dir: &Path) -> Config {
        let (proc, sys, root) = (dir.join("proc"), dir.join("sys"), dir.join("root"));
        Config { proc, sys, root, ..Config::default() }
    }

    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    pub(crate) fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("inside the fixture")).expect("created");
        std::fs::write(path, content).expect("written");
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() {
            std::fs::remove_dir_all(path).expect("removed");
        } else {
            std::fs::remove_file(path).expect("removed");
        }
    }

    pub(crate) fn sample(&self, source: &mut dyn Source) -> Round {
        self.try_sample(source).expect("the source yields data")
    }

    pub(crate) fn sample_at(&self, source: &mut dyn Source, at: Timestamp) -> Round {
        let mut context = Context { buffer: Buffer::new(), ledger: Arc::clone(&self.ledger) };
        let mut round = Round::new(at, Timestamp::from_s(1));
        source.sample(&mut context, &mut round).expect("the source yields data");
        round
    }

    pub(crate) fn try_sample(&self, source: &mut dyn Source) -> io::Result<Round> {
        let mut context = Context { buffer: Buffer::new(), ledger: Arc::clone(&self.ledger) };
        let mut round = Round::new(Timestamp::from_s(100), Timestamp::from_s(1));
        source.sample(&mut context, &mut round)?;
        Ok(round)
    }
}

impl Round {
    fn find(&self, metric: &str, attributes: &[(&str, &str)]) -> Vec<&Point> {
        let has = |point: &&Point| {
            point.metric.name == metric
                && attributes.iter().all(|(k, v)| {
                    point.attributes.iter().any(|(key, value)| key == k && value.as_str() == *v)
                })
        };
        self.points.iter().filter(has).collect()
    }

    /// The value of the one point that matches; panics when there is none or more than one.
    pub(crate) fn value(&self, metric: &str, attributes: &[(&str, &str)]) -> f64 {
        let found = self.find(metric, attributes);
        assert_eq!(found.len(), 1, "{metric} {attributes:?}: {found:?}");
        match &found[0].value {
            Value::Int(value) => *value as f64,
            Value::Double(value) => *value,
            Value::Histogram(value) => value.sum,
        }
    }

    /// How many points of `metric` there are.
    pub(crate) fn count(&self, metric: &str) -> usize {
        self.find(metric, &[]).len()
    }
}
