//! A journal that several processes share: rows of PostgreSQL, and a lease on who may add to them. Every statement is
//! whole by itself: a process that is stopped in the middle of anything holds no lock, and what it adds after another has
//! taken over is refused by the server, not by its own clock.

use std::time::Duration;

use model::time::Timestamp;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Config, NoTls};
use tracing::warn;

use super::record::Event;

/// Rows read at once.
const ROWS_MAX: i64 = 4_096;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS headrope_lease (
  name text PRIMARY KEY, epoch bigint NOT NULL, holder text NOT NULL, until timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS headrope_action_journal (
  name text, seq bigint, epoch bigint NOT NULL, time_ns bigint NOT NULL, base boolean NOT NULL,
  record bytea NOT NULL, chain bytea NOT NULL, PRIMARY KEY (name, seq));";

/// A new lease where there is none or its time is over, the same one for longer where it is ours.
const TAKE: &str = "
INSERT INTO headrope_lease AS l (name, epoch, holder, until)
VALUES ($1, 1, $2, clock_timestamp() + $4::bigint * interval '1 ms')
ON CONFLICT (name) DO UPDATE SET
  epoch = CASE WHEN l.holder = $2 AND l.epoch = $3 THEN l.epoch ELSE l.epoch + 1 END,
  holder = $2, until = clock_timestamp() + $4::bigint * interval '1 ms'
WHERE (l.holder = $2 AND l.epoch = $3) OR l.until <= clock_timestamp()
RETURNING epoch";

const HOLDER: &str = "SELECT holder FROM headrope_lease WHERE name = $1";

const LEAVE: &str = "
UPDATE headrope_lease SET until = clock_timestamp() WHERE name = $1 AND holder = $2 AND epoch = $3";

/// Rows under the lease, after those up to `$4` are gone. Nothing at all where it is another's or over.
const ADD: &str = "
WITH held AS (
  SELECT 1 FROM headrope_lease
  WHERE name = $1 AND epoch = $2 AND until > clock_timestamp() FOR SHARE),
gone AS (
  DELETE FROM headrope_action_journal j USING held WHERE j.name = $1 AND j.seq <= $4)
INSERT INTO headrope_action_journal (name, seq, epoch, time_ns, base, record, chain)
SELECT $1, r.seq, $2, $3, r.base, r.record, r.chain
FROM held, unnest($5::bigint[], $6::boolean[], $7::bytea[], $8::bytea[]) AS r(seq, base, record, chain)";

const READ: &str = "
SELECT seq, base, record, chain FROM headrope_action_journal
WHERE name = $1 AND seq > $2 ORDER BY seq LIMIT $3";

/// Who holds the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// We do, under this epoch.
    Ours(u64),
    /// Another process does.
    Theirs(String),
}

/// What another process has added, or we ourselves.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Whether everything before is void: the first of these begins a journal that was rewritten.
    pub(crate) is_base: bool,
    pub(crate) events: Vec<Event>,
}

/// Why nothing was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The lease is another's, or over.
    Fenced,
    /// Whether it was is not known.
    Doubt(String),
}

/// Where the rows are.
pub(crate) struct Table {
    config: Config,
    name: String,
    holder: String,
    ttl: Duration,
    client: Option<Client>,
    /// The epoch of our lease; 0 without one.
    epoch: u64,
    /// When our lease ends at the latest by our clock, which does not stand still while the process is stopped.
    until: Instant,
    /// The last row that was read or added, and the hash it ends with.
    seq: i64,
    chain: Vec<u8>,
}

impl Table {
    /// Rows under `name` in the database of `config`; nothing is asked of it yet.
    pub(crate) fn new(config: Config, name: &str, holder: &str, ttl: Duration) -> Self {
        Self {
            config,
            name: name.to_owned(),
            holder: holder.to_owned(),
            ttl,
            client: None,
            epoch: 0,
            until: Instant::now(),
            seq: 0,
            chain: vec![0; 32],
        }
    }

    /// Until when nobody else can have the lease.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// Takes the lease or keeps it.
    pub(crate) async fn take(&mut self) -> Result<Held, String> {
        let asked = Instant::now();
        let (name, holder) = (self.name.clone(), self.holder.clone());
        let (epoch, ttl) = (signed(self.epoch), millis(self.ttl));
        let taken = self.ask(async move |client| {
            let row = client.query_opt(TAKE, &[&name, &holder, &epoch, &ttl]).await?;
            if let Some(row) = row {
                return Ok(Held::Ours(row.get::<_, i64>(0).unsigned_abs()));
            }
            let other = client.query_opt(HOLDER, &[&name]).await?;
            Ok(Held::Theirs(other.map_or_else(String::new, |row| row.get(0))))
        });
        let held = taken.await?;
        match held {
            Held::Ours(epoch) => (self.epoch, self.until) = (epoch, asked + self.ttl),
            Held::Theirs(_) => self.epoch = 0,
        }
        Ok(held)
    }

    /// Gives the lease back, so that another need not wait for its end.
    pub(crate) async fn leave(&mut self) {
        let (name, holder, epoch) = (self.name.clone(), self.holder.clone(), signed(self.epoch));
        if std::mem::take(&mut self.epoch) == 0 {
            return;
        }
        let left = self.ask(async move |client| {
            client.execute(LEAVE, &[&name, &holder, &epoch]).await.map(drop)
        });
        if let Err(error) = left.await {
            warn!(error, "the lease could not be given back, it ends by itself");
        }
    }

    /// From now on the lease is no longer ours, whatever the server believes.
    pub(crate) const fn forget(&mut self) {
        self.epoch = 0;
    }

    /// What was added since the last look.
    pub(crate) async fn follow(&mut self) -> Result<Vec<Rows>, String> {
        let mut all = Vec::new();
        loop {
            let (name, seq) = (self.name.clone(), self.seq);
            let read = self.ask(async move |client| {
                let rows = client.query(READ, &[&name, &seq, &ROWS_MAX]).await?;
                let row = |row: &tokio_postgres::Row| {
                    let (seq, base): (i64, bool) = (row.get(0), row.get(1));
                    (seq, base, row.get::<_, Vec<u8>>(2), row.get::<_, Vec<u8>>(3))
                };
                Ok(rows.iter().map(row).collect::<Vec<_>>())
            });
            let rows = read.await?;
            let is_last = rows.len() < usize::try_from(ROWS_MAX).unwrap_or(usize::MAX);
            let mut found = Rows::default();
            for (seq, base, record, chain) in rows {
                if base {
                    // Rewritten: what was collected before it is void as well.
                    all.clear();
                    found = Rows { is_base: true, events: Vec::new() };
                } else if seq != self.seq + 1 {
                    return Err(format!("row {} of the journal is missing", self.seq + 1));
                }
                let expected = if base { chain.clone() } else { chained(&self.chain, &record) };
                let event = Event::decode(&record).filter(|_| chain == expected);
                let event = event.ok_or_else(|| format!("row {seq} of the journal is damaged"))?;
                found.events.push(event);
                (self.seq, self.chain) = (seq, chain);
            }
            all.push(found);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Adds `events`, all or none.
    pub(crate) async fn add(&mut self, now: Timestamp, events: &[&Event]) -> Result<(), Refused> {
        self.put(now, events, false).await
    }

    /// Replaces every row by `events`.
    pub(crate) async fn replace(&mut self, now: Timestamp, all: &[&Event]) -> Result<(), Refused> {
        self.put(now, all, true).await
    }

    async fn put(
        &mut self,
        now: Timestamp,
        events: &[&Event],
        is_base: bool,
    ) -> Result<(), Refused> {
        if self.epoch == 0 || Instant::now() >= self.until {
            return Err(Refused::Fenced);
        }
        let (mut seq, mut chain) = (self.seq, self.chain.clone());
        let (mut seqs, mut bases, mut records, mut chains) = (vec![], vec![], vec![], vec![]);
        for event in events {
            let mut record = Vec::new();
            event.encode(&mut record);
            seq += 1;
            chain = chained(&chain, &record);
            seqs.push(seq);
            bases.push(is_base && bases.is_empty());
            records.push(record);
            chains.push(chain.clone());
        }
        let (name, epoch) = (self.name.clone(), signed(self.epoch));
        let gone = if is_base { self.seq } else { -1 };
        let added = self.ask(async move |client| {
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 8] =
                [&name, &epoch, &now.0, &gone, &seqs, &bases, &records, &chains];
            client.execute(ADD, &parameters).await
        });
        match added.await {
            Ok(n) if n == events.len() as u64 => {
                (self.seq, self.chain) = (seq, chain);
                Ok(())
            }
            Ok(_) => Err(Refused::Fenced),
            Err(error) => Err(Refused::Doubt(error)),
        }
    }

    /// Asks the server one thing, within a third of the lease; a connection that fails is given up.
    async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, String> {
        let patience = self.ttl / 3;
        let asking = async {
            let client = match self.client.take() {
                Some(client) if !client.is_closed() => client,
                _ => connect(&self.config).await?,
            };
            let answer = question(&client).await?;
            self.client = Some(client);
            Ok(answer)
        };
        match timeout(patience, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(in_words(&error)),
            Err(_) => Err(format!("no answer within {} ms", patience.as_millis())),
        }
    }
}

async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // Ends with the client, and runs on the journal's own runtime.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            warn!(error = in_words(&error), "the connection of the action journal ended");
        }
    });
    client.batch_execute("SET synchronous_commit = on").await?;
    client.batch_execute(SCHEMA).await?;
    Ok(client)
}

/// The error with what the server said.
fn in_words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("PostgreSQL: {}", said.message()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("PostgreSQL: {error}: {source}"),
            None => format!("PostgreSQL: {error}"),
        },
    }
}

fn chained(previous: &[u8], record: &[u8]) -> Vec<u8> {
    Sha256::new().chain_update(previous).chain_update(record).finalize().to_vec()
}

fn signed(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
