//! How far each numbered stream has come (`agent_seq`): raised with the watermark, read at the start.

use model::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::delivery::{Deliveries, Reached, SILENCE_NS, STREAMS_MAX, Stream};
use crate::error::Error;

const LIMIT: i64 = STREAMS_MAX as i64;

/// CRC32C of a row's other columns as text, joined with `|`.
fn row_crc(agent: &str, epoch: i64, reached: Reached) -> i64 {
    let Reached { seq, at } = reached;
    i64::from(crc32c::crc32c(format!("{agent}|{epoch}|{seq}|{}", at.0).as_bytes()))
}

/// Raises the streams of a flush, and forgets those that have been silent for long.
pub(super) async fn raise(
    tx: &mut SqliteConnection,
    deliveries: &Deliveries,
    now: Timestamp,
) -> Result<(), Error> {
    let wrap = || Error::catalogue("note deliveries");
    if deliveries.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM agent_seq WHERE seen < $1")
        .bind(now.0.saturating_sub(SILENCE_NS))
        .execute(&mut *tx)
        .await
        .map_err(wrap())?;
    for ((agent, epoch), reached) in deliveries.sorted() {
        let (agent, epoch) = (format!("{agent:032x}"), epoch.cast_signed());
        let reached = Reached { at: now, ..reached };
        sqlx::query(
            "INSERT INTO agent_seq (agent, epoch, seq, seen, row_crc) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (agent, epoch) DO UPDATE SET seq = excluded.seq, seen = excluded.seen, \
             row_crc = excluded.row_crc WHERE excluded.seq >= agent_seq.seq",
        )
        .bind(&agent)
        .bind(epoch)
        .bind(super::int(reached.seq))
        .bind(reached.at.0)
        .bind(row_crc(&agent, epoch, reached))
        .execute(&mut *tx)
        .await
        .map_err(wrap())?;
    }
    // Senders name themselves as they like: however many there are, what is kept has a limit.
    sqlx::query(
        "DELETE FROM agent_seq WHERE rowid IN (SELECT rowid FROM agent_seq ORDER BY seen DESC LIMIT -1 OFFSET $1)",
    )
    .bind(LIMIT)
    .execute(&mut *tx)
    .await
    .map_err(wrap())?;
    Ok(())
}

/// The streams that are remembered, those that spoke last.
pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Deliveries, Error> {
    let wrap = || Error::catalogue("read deliveries");
    let rows = sqlx::query(
        "SELECT agent, epoch, seq, seen, row_crc FROM agent_seq ORDER BY seen DESC LIMIT $1",
    )
    .bind(LIMIT)
    .fetch_all(connection)
    .await
    .map_err(wrap())?;
    let mut deliveries = Deliveries::default();
    for row in &rows {
        let agent: String = row.try_get("agent").map_err(wrap())?;
        let damaged =
            || super::damaged(format!("row of agent `{agent}` in agent_seq has a bad checksum"));
        let int = |name: &str| row.try_get::<i64, _>(name).map_err(|_| damaged());
        let seq = u64::try_from(int("seq")?).map_err(|_| damaged())?;
        let (epoch, reached) = (int("epoch")?, Reached { seq, at: Timestamp(int("seen")?) });
        if int("row_crc")? != row_crc(&agent, epoch, reached) {
            return Err(damaged());
        }
        let stream: Stream =
            (u128::from_str_radix(&agent, 16).map_err(|_| damaged())?, epoch.cast_unsigned());
        deliveries.insert(stream, reached);
    }
    Ok(deliveries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::delivery::Delivery;

    #[tokio::test]
    async fn no_more_streams_are_kept_than_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path(), Timestamp(0)).await.unwrap();
        for time in 1..4 {
            let mut some = Deliveries::default();
            for agent in 0..STREAMS_MAX / 2 {
                let agent = u128::try_from(agent).unwrap() + (time << 64);
                some.note(&Delivery { agent, epoch: 0, seq: 1 }, Timestamp(0));
            }
            let now = Timestamp(i64::try_from(time).unwrap());
            raise(&mut catalogue.connection().await.unwrap(), &some, now).await.unwrap();
        }
        let count = "SELECT count(*) FROM agent_seq";
        let mut connection = catalogue.connection().await.unwrap();
        let n_kept: i64 = sqlx::query_scalar(count).fetch_one(&mut *connection).await.unwrap();
        assert_eq!(n_kept, LIMIT, "the first third is gone");
        let known = load(&mut connection).await.unwrap();
        let is_known =
            |time: u128| known.is_repeat(&Delivery { agent: time << 64, epoch: 0, seq: 1 });
        assert_eq!([1, 2, 3].map(is_known), [false, true, true]);
    }
}
