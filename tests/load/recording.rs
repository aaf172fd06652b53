//! Recordings of real metrics: series with every sample they had, compact on disk, made by `record`.
//!
//! File: zstd of `HRREC1\n`, count u32, and for each series: kind u8 (1 counter, 0 other), length u32 and text of its
//! labels (`name=value` lines, `__name__` first), n u32, n times i64 ms, n values as u64 bits. Little endian.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const MAGIC: &[u8] = b"HRREC1\n";
const ZSTD_LEVEL: i32 = 12;

/// A series of a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Labels sorted by name, `__name__` among them.
    pub labels: Vec<(String, String)>,
    /// Whether the source said that it is a counter.
    pub is_counter: bool,
    /// Times in ms since the epoch, ascending, and values as bits.
    pub samples: Vec<(i64, u64)>,
}

/// A set of series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// In order of their first sample.
    pub series: Vec<Series>,
    places: HashMap<Vec<(String, String)>, usize>,
}

impl Recording {
    /// Adds a sample; `labels` sorted by name.
    pub fn push(&mut self, labels: Vec<(String, String)>, is_counter: bool, sample: (i64, u64)) {
        let place = *self.places.entry(labels).or_insert_with_key(|labels| {
            let labels = labels.clone();
            self.series.push(Series { labels, is_counter, samples: Vec::new() });
            self.series.len() - 1
        });
        self.series[place].samples.push(sample);
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.iter().map(|series| series.samples.len()).sum()
    }

    /// Whether it has no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first sample of each series in each span of `interval_ms`: what a slower scrape would have seen.
    #[must_use]
    pub fn thinned(&self, interval_ms: i64) -> Self {
        let thin = |series: &Series| {
            let mut last = None;
            let is_first = |sample: &&(i64, u64)| {
                let span = Some(sample.0.div_euclid(interval_ms));
                std::mem::replace(&mut last, span) != span
            };
            let samples = series.samples.iter().filter(is_first).copied().collect();
            Series { samples, ..series.clone() }
        };
        Self { series: self.series.iter().map(thin).collect(), places: HashMap::new() }
    }

    /// Writes it to `path`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&u32::try_from(self.series.len())?.to_le_bytes());
        for series in &self.series {
            let lines: Vec<String> =
                series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let text = lines.join("\n");
            out.push(series.is_counter.into());
            out.extend_from_slice(&u32::try_from(text.len())?.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(&u32::try_from(series.samples.len())?.to_le_bytes());
            series.samples.iter().for_each(|(time, _)| out.extend_from_slice(&time.to_le_bytes()));
            series.samples.iter().for_each(|(_, bits)| out.extend_from_slice(&bits.to_le_bytes()));
        }
        fs::write(path, zstd::bulk::compress(&out, ZSTD_LEVEL)?)
            .with_context(|| path.display().to_string())
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    ///
    /// When the file is missing or no recording.
    pub fn read(path: &Path) -> Result<Self> {
        let packed = fs::read(path).with_context(|| path.display().to_string())?;
        let bytes = zstd::stream::decode_all(&packed[..])?;
        let mut rest = bytes.strip_prefix(MAGIC).context("no recording")?;
        let count = take_u32(&mut rest)?;
        let mut series = Vec::new();
        for _ in 0..count {
            let is_counter = take(&mut rest, 1)? == [1];
            let len = take_u32(&mut rest)?;
            let text = std::str::from_utf8(take(&mut rest, len)?)?;
            let labels = text.lines().filter_map(|line| line.split_once('='));
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let n = take_u32(&mut rest)?;
            let words = |bytes: &[u8]| -> Vec<u64> {
                bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
            };
            let times = words(take(&mut rest, 8 * n)?);
            let values = words(take(&mut rest, 8 * n)?);
            let samples = times.into_iter().map(u64::cast_signed).zip(values).collect();
            series.push(Series { labels, is_counter, samples });
        }
        ensure!(rest.is_empty(), "bytes after the last series");
        Ok(Self { series, places: HashMap::new() })
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len).context("it ends early")?;
    *rest = tail;
    Ok(head)
}

fn take_u32(rest: &mut &[u8]) -> Result<usize> {
    Ok(usize::try_from(u32::from_le_bytes(take(rest, 4)?.try_into()?))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_read_back_and_thin() {
        let mut recording = Recording::default();
        for k in 0..25_i64 {
            for name in ["a", "b"] {
                let labels = vec![("__name__".to_owned(), name.to_owned())];
                recording.push(labels, name == "a", (k * 1_000 + 3, k.cast_unsigned()));
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.rec");
        recording.write(&path).unwrap();
        let read = Recording::read(&path).unwrap();
        assert_eq!(read.series, recording.series);
        let thin = read.thinned(10_000);
        assert_eq!(thin.series[1].samples, [(3, 0), (10_003, 10), (20_003, 20)]);
        assert_eq!(thin.len(), 6);
    }
}
