//! Samples in a log record: our own columns, about 11 bytes a sample where Arrow's need 33.
//!
//! Body: number of runs u32 | series id u64 of each run | lengths of the runs, as runs, if any is above 1 | times |
//! starts | flags, each as runs | values. The entry's header tells the number of samples.

use crate::codec::{Bytes, Malformed, put_runs, put_values, take_runs, take_values};
use crate::sample::SampleRows;

/// Version of the entry; 1 was an Arrow batch.
pub(crate) const VERSION: u8 = 2;

/// Samples of a log record, series by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logged {
    /// Series ids, each with the number of its samples that follow each other.
    pub(crate) runs: Vec<(u64, usize)>,
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) starts: Vec<i64>,
    pub(crate) flags: Vec<u8>,
}

impl Logged {
    /// Keeps the samples of series that `is_kept` accepts; returns how many went.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(u64) -> bool) -> usize {
        let keep: Vec<bool> =
            self.runs.iter().flat_map(|(id, n)| std::iter::repeat_n(is_kept(*id), *n)).collect();
        fn filter<T>(column: &mut Vec<T>, keep: &[bool]) {
            let mut keep = keep.iter();
            column.retain(|_| keep.next().copied().unwrap_or(false));
        }
        filter(&mut self.times, &keep);
        filter(&mut self.values, &keep);
        filter(&mut self.starts, &keep);
        filter(&mut self.flags, &keep);
        self.runs.retain(|(id, _)| is_kept(*id));
        keep.len() - self.times.len()
    }
}

/// Appends the body for `rows`, whose series `id_of` names.
pub(crate) fn put(out: &mut Vec<u8>, rows: &SampleRows, id_of: impl Fn(u32) -> u64) {
    let runs = || rows.slots.chunk_by(|a, b| a == b);
    let count_at = out.len();
    out.reserve(rows.len() * 13);
    out.extend_from_slice(&[0; 4]);
    let mut n_runs = 0_u32;
    for run in runs() {
        out.extend_from_slice(&id_of(run[0]).to_le_bytes());
        n_runs += 1;
    }
    out[count_at..count_at + 4].copy_from_slice(&n_runs.to_le_bytes());
    if n_runs as usize != rows.len() {
        put_runs(out, runs().map(|run| i64::try_from(run.len()).unwrap_or(i64::MAX)));
    }
    put_runs(out, rows.times.iter().copied());
    put_runs(out, rows.starts.iter().copied());
    put_runs(out, rows.flags.iter().map(|flags| i64::from(*flags)));
    put_values(out, &rows.values);
}

/// The `n` samples of a body. Refuses whatever [`put`] does not write.
pub(crate) fn take(body: &[u8], n: usize) -> Result<Logged, Malformed> {
    // Each sample has half a byte at least: a count beyond that must not make room for itself.
    if n > body.len().saturating_mul(2) {
        return Err(Malformed);
    }
    let mut bytes = Bytes(body);
    let n_runs = bytes.take(4)?.first_chunk().map_or(0, |count| u32::from_le_bytes(*count));
    let n_runs = usize::try_from(n_runs).map_err(|_| Malformed)?;
    if n_runs > n {
        return Err(Malformed);
    }
    let ids = bytes.take(n_runs * 8)?.chunks_exact(8);
    let ids = ids.map(|id| id.first_chunk().map_or(0, |id| u64::from_le_bytes(*id)));
    let mut lengths: Vec<usize> = Vec::new();
    if n_runs == n {
        lengths.resize(n, 1);
    } else {
        take_runs(&mut bytes, n_runs, &mut lengths, |len| usize::try_from(len).ok())?;
    }
    let total = lengths.iter().try_fold(0_usize, |total, len| total.checked_add(*len));
    if total != Some(n) || lengths.contains(&0) {
        return Err(Malformed);
    }
    let mut logged = Logged { runs: ids.zip(lengths).collect(), ..Logged::default() };
    take_runs(&mut bytes, n, &mut logged.times, Some)?;
    take_runs(&mut bytes, n, &mut logged.starts, Some)?;
    take_runs(&mut bytes, n, &mut logged.flags, |flags| u8::try_from(flags).ok())?;
    take_values(&mut bytes, n, &mut logged.values)?;
    if bytes.0.is_empty() { Ok(logged) } else { Err(Malformed) }
}
