//! Rule files and scrape files read anew while everything runs: at SIGHUP, and at `POST /-/reload` where that is allowed.
//!
//! All files are read and checked before any takes effect: one that is wrong leaves what runs as it is.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use model::time::{Clock, Timestamp};

use super::rules::{Rules, groups};
use crate::config::Config;

/// What is read anew, and how it went the last time.
pub struct Reloader {
    config: Config,
    rules: Arc<Rules>,
    scrape: agent::ScrapeReloader,
    clock: Arc<dyn Clock>,
    /// One after the other.
    busy: tokio::sync::Mutex<()>,
    is_successful: AtomicBool,
    /// Of the last success, ns since the epoch.
    succeeded_at: AtomicI64,
    error: Mutex<String>,
}

impl Reloader {
    /// Reads the files that `config` names, which were read at the start a moment ago.
    pub(super) fn new(
        config: Config,
        rules: Arc<Rules>,
        scrape: agent::ScrapeReloader,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let succeeded_at = AtomicI64::new(clock.now().0);
        Arc::new(Self {
            config,
            rules,
            scrape,
            clock,
            busy: tokio::sync::Mutex::default(),
            is_successful: AtomicBool::new(true),
            succeeded_at,
            error: Mutex::default(),
        })
    }

    /// Reads everything anew and lets it take effect, all of it or nothing.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub async fn reload(self: &Arc<Self>) -> Result<()> {
        let _one = self.busy.lock().await;
        let outcome = self.take().await;
        self.is_successful.store(outcome.is_ok(), Ordering::Relaxed);
        let told = match &outcome {
            Ok(()) => {
                self.succeeded_at.store(self.clock.now().0, Ordering::Relaxed);
                tracing::info!("rule files and scrape files were read anew");
                String::new()
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "files were not taken, those before stay in force");
                error
            }
        };
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = told;
        outcome
    }

    async fn take(self: &Arc<Self>) -> Result<()> {
        let own = Arc::clone(self);
        let read = move || {
            let plan = own.scrape.read().map_err(|error| anyhow!("{error}"))?;
            Ok::<_, anyhow::Error>((groups(&own.config)?, plan))
        };
        let read =
            tokio::task::spawn_blocking(read).await.context("the files could not be read")?;
        let (groups, plan) = read?;
        self.rules.follow(groups).await?;
        self.scrape.follow(plan).await;
        Ok(())
    }

    /// Whether the last time went well; the start counts.
    #[must_use]
    pub fn is_successful(&self) -> bool {
        self.is_successful.load(Ordering::Relaxed)
    }

    /// When it went well the last time.
    #[must_use]
    pub fn succeeded_at(&self) -> Timestamp {
        Timestamp(self.succeeded_at.load(Ordering::Relaxed))
    }

    /// What was wrong the last time; empty when nothing was.
    #[must_use]
    pub fn error(&self) -> String {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
