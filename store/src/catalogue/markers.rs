//! Deletes on record: the table `delete_marker`.

use model::id::TenantId;
use model::matcher::{MatchOp, Matcher};
use model::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row};

use crate::catalogue::{Catalogue, damaged, int};
use crate::delete::{Delete, DeleteFrom, DeleteRecord};
use crate::error::Error;

impl Catalogue {
    /// Every delete there was, oldest first.
    pub(crate) async fn markers(&self) -> Result<Vec<DeleteRecord>, Error> {
        let mut connection = self.connection().await?;
        let rows = sqlx::query("SELECT * FROM delete_marker ORDER BY id")
            .fetch_all(&mut *connection)
            .await
            .map_err(Error::catalogue("list deletes"))?;
        rows.iter().map(read).collect()
    }

    /// Keeps `record` under a number of its own.
    pub(crate) async fn add_marker(&self, record: DeleteRecord) -> Result<DeleteRecord, Error> {
        let wrap = || Error::catalogue("note a delete");
        let mut connection = self.connection().await?;
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(wrap())?;
        let id: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) + 1 FROM delete_marker")
            .fetch_one(&mut *tx)
            .await
            .map_err(wrap())?;
        let record = DeleteRecord { id, ..record };
        let delete = &record.delete;
        sqlx::query(
            "INSERT INTO delete_marker (id, tenant, kind, matchers, from_time, to_time, wal_seq, requested_by, created, \
             deadline, done, row_crc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(id)
        .bind(i64::from(delete.tenant.0))
        .bind(delete.from.name())
        .bind(matchers_text(&delete.matchers))
        .bind(delete.first.0)
        .bind(delete.last.0)
        .bind(int(record.seq))
        .bind(&delete.requested_by)
        .bind(record.created.0)
        .bind(record.deadline.0)
        .bind(record.done.map(|done| done.0))
        .bind(crc(&record))
        .execute(&mut *tx)
        .await
        .map_err(wrap())?;
        tx.commit().await.map_err(wrap())?;
        Ok(record)
    }

    /// Notes that the rows of `record` are out of the segments.
    pub(crate) async fn finish_marker(
        &self,
        record: &DeleteRecord,
        now: Timestamp,
    ) -> Result<(), Error> {
        let done = DeleteRecord { done: Some(now), ..record.clone() };
        let mut connection = self.connection().await?;
        sqlx::query("UPDATE delete_marker SET done = $1, row_crc = $2 WHERE id = $3")
            .bind(now.0)
            .bind(crc(&done))
            .bind(record.id)
            .execute(&mut *connection)
            .await
            .map_err(Error::catalogue("note that a delete is done"))?;
        Ok(())
    }
}

/// Matchers as JSON: a list of `[name, operator, value]`.
pub(crate) fn matchers_text(matchers: &[Matcher]) -> String {
    let list: Vec<[&str; 3]> = matchers
        .iter()
        .map(|matcher| [matcher.name.as_str(), operator(matcher.op), matcher.value.as_str()])
        .collect();
    serde_json::to_string(&list).expect("texts always have a JSON form")
}

const OPERATORS: [MatchOp; 4] =
    [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];

const fn operator(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    }
}

pub(crate) fn read_matchers(text: &str) -> Option<Vec<Matcher>> {
    let list: Vec<[String; 3]> = serde_json::from_str(text).ok()?;
    list.into_iter()
        .map(|[name, op, value]| {
            let op = OPERATORS.into_iter().find(|known| operator(*known) == op)?;
            Some(Matcher { name, op, value })
        })
        .collect()
}

/// CRC32C of a row's other columns as text, joined with `|`; a null is empty.
fn crc(record: &DeleteRecord) -> i64 {
    let DeleteRecord { id, delete, seq, created, deadline, done } = record;
    let Delete { tenant, from, matchers, first, last, requested_by } = delete;
    let done = done.map_or_else(String::new, |done| done.0.to_string());
    let text = format!(
        "{id}|{}|{}|{}|{}|{}|{seq}|{requested_by}|{}|{}|{done}",
        tenant.0,
        from.name(),
        matchers_text(matchers),
        first.0,
        last.0,
        created.0,
        deadline.0
    );
    i64::from(crc32c::crc32c(text.as_bytes()))
}

fn read(row: &SqliteRow) -> Result<DeleteRecord, Error> {
    let wrap = || Error::catalogue("read a delete");
    let int = |name: &str| row.try_get::<i64, _>(name).map_err(wrap());
    let text = |name: &str| row.try_get::<String, _>(name).map_err(wrap());
    let id = int("id")?;
    let bad = |what: &str| damaged(format!("row {id} of delete_marker has a bad {what}"));
    let done: Option<i64> = row.try_get("done").map_err(wrap())?;
    let record = DeleteRecord {
        id,
        delete: Delete {
            tenant: TenantId(u32::try_from(int("tenant")?).map_err(|_| bad("tenant"))?),
            from: DeleteFrom::parse(&text("kind")?).ok_or_else(|| bad("kind"))?,
            matchers: read_matchers(&text("matchers")?).ok_or_else(|| bad("predicate"))?,
            first: Timestamp(int("from_time")?),
            last: Timestamp(int("to_time")?),
            requested_by: text("requested_by")?,
        },
        seq: u64::try_from(int("wal_seq")?).map_err(|_| bad("sequence"))?,
        created: Timestamp(int("created")?),
        deadline: Timestamp(int("deadline")?),
        done: done.map(Timestamp),
    };
    if int("row_crc")? == crc(&record) { Ok(record) } else { Err(bad("checksum")) }
}
