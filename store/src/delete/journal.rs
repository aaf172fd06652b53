//! Deletes on record outside the catalogue: who asked for what, and what a catalogue made anew must go on hiding.
//!
//! `deletes.jsonl`, one JSON object a line, appended and synced before a delete takes effect.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use model::id::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::markers::{matchers_text, read_matchers};
use crate::delete::{Delete, DeleteFrom, DeleteRecord};
use crate::error::Error;

const FILE: &str = "deletes.jsonl";

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
    // A line of its own, also behind one that a crash cut short.
    let mut text = vec![b'\n'];
    text.extend(serde_json::to_vec(&line).expect("plain data always has a JSON form"));
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

/// Every delete on record, oldest first. A line that a crash cut short took no effect.
pub(crate) fn read(dir: &Path) -> Result<Vec<DeleteRecord>, Error> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        done => done.map_err(Error::io("read", &path))?,
    };
    Ok(text.lines().filter_map(parse).collect())
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
