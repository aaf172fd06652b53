//! Deletes on record outside the catalogue: who asked for what, and what a catalogue made anew must go on hiding.
//!
//! `deletes.jsonl`, one JSON object a line, appended and synced before a delete takes effect; one that then could not is
//! taken back by a line of its own.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use model::id::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::markers::{matchers_text, read_matchers};
use crate::delete::{Delete, DeleteFrom, DeleteRecord};
use crate::error::Error;

pub(crate) const FILE: &str = "deletes.jsonl";

#[derive(Serialize, Deserialize)]
struct Line {
    tenant: u32,
    kind: String,
    matchers: String,
    from_time: i64,
    to_time: i64,
    wal_seq: u64,
    requested_by: String,
    created: i64,
    deadline: i64,
}

/// Takes back the last line with this sequence: the delete did not take effect.
#[derive(Serialize, Deserialize)]
struct Undone {
    undone: u64,
}

/// Notes that the delete of `seq` that was appended last did not take effect; durable when it returns.
pub(crate) fn undo(dir: &Path, seq: u64) -> Result<(), Error> {
    append_line(dir, &Undone { undone: seq })
}

/// Appends `record`; durable when it returns.
pub(crate) fn append(dir: &Path, record: &DeleteRecord) -> Result<(), Error> {
    let DeleteRecord { delete, seq, created, deadline, .. } = record;
    let line = Line {
        tenant: delete.tenant.0,
        kind: delete.from.name().to_owned(),
        matchers: matchers_text(&delete.matchers),
        from_time: delete.first.0,
        to_time: delete.last.0,
        wal_seq: *seq,
        requested_by: delete.requested_by.clone(),
        created: created.0,
        deadline: deadline.0,
    };
    append_line(dir, &line)
}

fn append_line(dir: &Path, line: &impl Serialize) -> Result<(), Error> {
    // A line of its own, also behind one that a crash cut short.
    let mut text = vec![b'\n'];
    text.extend(serde_json::to_vec(line).expect("plain data always has a JSON form"));
    text.push(b'\n');
    let path = dir.join(FILE);
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(Error::io("write", &path))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", dir))
}

/// Every delete on record that took effect, oldest first. A line that a crash cut short took none.
pub(crate) fn read(dir: &Path) -> Result<Vec<DeleteRecord>, Error> {
    let path = dir.join(FILE);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        done => done.map_err(Error::io("read", &path))?,
    };
    let mut records: Vec<DeleteRecord> = Vec::new();
    for (number, line) in (1..).zip(String::from_utf8_lossy(&text).lines()) {
        if let Ok(Undone { undone }) = serde_json::from_str(line) {
            let place = records.iter().rposition(|record| record.seq == undone);
            place.into_iter().for_each(|place| drop(records.remove(place)));
        } else if let Some(record) = parse(line) {
            records.push(record);
        } else if !line.is_empty() {
            tracing::error!(path = %path.display(), number, "line of a delete cannot be read, its rows may come back");
        }
    }
    Ok(records)
}

fn parse(line: &str) -> Option<DeleteRecord> {
    let line: Line = serde_json::from_str(line).ok()?;
    Some(DeleteRecord {
        id: 0,
        delete: Delete {
            tenant: TenantId(line.tenant),
            from: DeleteFrom::parse(&line.kind)?,
            matchers: read_matchers(&line.matchers)?,
            first: Timestamp(line.from_time),
            last: Timestamp(line.to_time),
            requested_by: line.requested_by,
        },
        seq: line.wal_seq,
        created: Timestamp(line.created),
        deadline: Timestamp(line.deadline),
        done: None,
    })
}

#[cfg(test)]
mod tests {
    use model::matcher::{MatchOp, Matcher};

    use super::*;

    fn record(host: &str, seq: u64) -> DeleteRecord {
        let delete = Delete {
            tenant: TenantId(0),
            from: DeleteFrom::Metrics,
            matchers: vec![Matcher::new("host", MatchOp::Equal, host)],
            first: Timestamp(0),
            last: Timestamp(9),
            requested_by: "test".to_owned(),
        };
        let (created, deadline) = (Timestamp(1), Timestamp(2));
        DeleteRecord { id: 0, delete, seq, created, deadline, done: None }
    }

    #[test]
    fn what_did_not_take_effect_and_what_is_damaged_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), []);
        for (host, seq) in [("a", 3), ("b", 3), ("c", 4), ("d", 5)] {
            append(dir.path(), &record(host, seq)).unwrap();
            if host == "b" {
                undo(dir.path(), seq).unwrap();
            }
        }
        assert_eq!(read(dir.path()).unwrap(), [record("a", 3), record("c", 4), record("d", 5)]);
        let path = dir.path().join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        let place = bytes.windows(9).position(|part| part == b"\"wal_seq\"").unwrap();
        bytes[place + 1] = 0xff; // No text at all any more.
        fs::write(&path, bytes).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [record("c", 4), record("d", 5)]);
    }
}
