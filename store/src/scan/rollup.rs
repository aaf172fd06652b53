//! The bucket scan: rollups where they say what the samples say, and the samples themselves everywhere else.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::time::{NS_PER_MS, Timestamp};

use crate::definition::series_ids;
use crate::error::Error;
use crate::live::Version;
use crate::registry::{Registry, Series};
use crate::rollup::{Bucket, Resolution, RolledRows, buckets_of, is_source};
use crate::scan::pages::{self, PageReader, Wanted};
use crate::scan::{BucketScan, ScanLimit, SeriesBuckets, samples};
use crate::schema::{Table, columns, segment_schema};
use crate::segment::read::Segment;
use crate::segment::write::Window;

/// A window that a rollup covers.
struct Covered {
    window: Window,
    /// Its segments.
    files: Vec<Arc<Segment>>,
    /// Whether the samples it was made of are gone.
    is_raw_gone: bool,
}

/// Scans `version` for samples of `series` later than `range_ms.0`, up to and with `range_ms.1`, as buckets.
///
/// Both ends must be multiples of a bucket's length.
pub(crate) fn scan(
    (version, registry): (&Version, &Registry),
    series: &[Arc<Series>],
    resolution: Resolution,
    (range_ms, limit): ((i64, i64), &ScanLimit),
) -> Result<BucketScan, Error> {
    let mut all: Vec<Vec<Bucket>> = series.iter().map(|_| Vec::new()).collect();
    let mut n_read = 0;
    let starts = (range_ms.0, range_ms.1.saturating_sub(resolution.ms()));
    let wanted = Wanted::new(series, starts);
    let covered = covered(version, series, resolution, range_ms);
    let schema = segment_schema(resolution.table());
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let names: Vec<&str> = names.filter(|name| *name != columns::METRIC).collect();
    for file in covered.iter().flat_map(|covered| &covered.files) {
        if !wanted.touches(file) {
            continue;
        }
        let rows = pages::known(file, &wanted).map(|rows| rows.selection());
        for batch in PageReader::new(file, &wanted, (&names, version.kept(file)?), rows)? {
            let batch = batch?;
            limit.grow(batch.num_rows(), size_of::<Bucket>())?;
            let rows = RolledRows::new(&batch).expect("the segment has the columns of a rollup");
            for (row, id) in series_ids(&batch).iter().enumerate() {
                if let Some(place) = wanted.place(*id).filter(|_| wanted.holds(rows.start(row))) {
                    all[place].push(rows.bucket(row));
                    n_read += 1;
                }
            }
        }
        if n_read > limit.samples_max {
            return Err(Error::ScanLimit { what: "samples", limit: limit.samples_max });
        }
    }
    let places: BTreeMap<u64, usize> = (0..).zip(series).map(|(i, s)| (s.id.0, i)).collect();
    for stretch in uncovered(&covered, range_ms) {
        let left = ScanLimit {
            samples_max: limit.samples_max.saturating_sub(n_read),
            take: limit.take.clone(),
        };
        for slice in samples::scan(version, registry, series, stretch, &left)? {
            let slice = slice?;
            n_read += slice.t.len() as u64;
            let Some(place) = places.get(&slice.series.id.0) else { continue };
            let start = |i: usize| slice.start_t.as_ref().map_or(i64::MIN, |starts| starts[i]);
            let samples = (0..slice.t.len()).map(|i| (slice.t[i], slice.v[i], start(i)));
            let mut buckets = Vec::new();
            buckets_of(resolution, samples, &mut buckets);
            all[*place].append(&mut buckets);
        }
    }
    let is_raw_gone = covered.iter().any(|covered| covered.is_raw_gone);
    let slices: Vec<SeriesBuckets> = series
        .iter()
        .zip(all)
        .filter(|(_, buckets)| !buckets.is_empty())
        .map(|(series, buckets)| SeriesBuckets {
            series: Arc::clone(series),
            buckets: joined(buckets),
        })
        .collect();
    Ok(BucketScan { slices: slices.into_iter(), is_raw_gone })
}

/// In time order, those of one stretch joined.
fn joined(mut buckets: Vec<Bucket>) -> Vec<Bucket> {
    buckets.sort_by_key(|bucket| (bucket.start, bucket.first_t));
    buckets.dedup_by(|later, kept| {
        let is_one = later.start == kept.start;
        if is_one {
            kept.join(later);
        }
        is_one
    });
    buckets
}

/// Windows with samples in the range whose rollup says all there is to say.
fn covered(
    version: &Version,
    series: &[Arc<Series>],
    resolution: Resolution,
    range_ms: (i64, i64),
) -> Vec<Covered> {
    let Some(tenant) = series.first().map(|series| series.tenant) else { return Vec::new() };
    let (first, last) = (Timestamp::from_ms(range_ms.0).0, Timestamp::from_ms(range_ms.1).0);
    let of = |table: Table| {
        let is_meant = move |segment: &&Arc<Segment>| {
            let facts = segment.facts();
            facts.table == table && facts.tenant == tenant
        };
        version.segments.iter().filter(is_meant)
    };
    let mut windows: BTreeMap<Window, Vec<Arc<Segment>>> = BTreeMap::new();
    for file in of(resolution.table()) {
        let window = file.facts().window;
        if window.start <= last && first < window.end() {
            windows.entry(window).or_default().push(Arc::clone(file));
        }
    }
    let mut covered: Vec<Covered> = Vec::new();
    for (window, files) in windows {
        let orders = |file: &Arc<Segment>| file.commit_order();
        let order = files.iter().map(orders).max();
        let mut raw = of(Table::Samples).filter(|file| overlap(file.facts().window, window));
        // Samples that came after it outlived its own are not what it speaks of, and no merge takes them in.
        let is_raw_gone = !raw.clone().any(|raw| is_source(raw.facts(), files[0].facts()));
        let is_exact =
            raw.all(|file| file.facts().window == window && Some(file.commit_order()) == order);
        // Of a bucket with deleted samples the others cannot be told: where they are, they are read.
        let is_hidden = !is_raw_gone
            && files.iter().any(|file| version.markers.iter().any(|marker| marker.touches(file)));
        let is_apart = covered.last().is_none_or(|before| before.window.end() <= window.start);
        let is_all = is_raw_gone || (is_exact && !has_head_rows(version, tenant, window));
        if is_all && is_apart && !is_hidden {
            covered.push(Covered { window, files, is_raw_gone });
        }
    }
    covered
}

fn overlap(a: Window, b: Window) -> bool {
    a.start < b.end() && b.start < a.end()
}

/// Whether samples of the window are in no segment yet.
fn has_head_rows(version: &Version, tenant: model::id::TenantId, window: Window) -> bool {
    let (first, end) = (window.start / NS_PER_MS, window.end() / NS_PER_MS);
    version
        .heads
        .iter()
        .filter_map(|head| head.tenants.get(&tenant))
        .flat_map(|tenant| &tenant.chunks)
        .any(|chunk| chunk.time_min < end && first <= chunk.time_max)
}

/// What of the range no window covers: times in ms, both ends included.
fn uncovered(covered: &[Covered], range_ms: (i64, i64)) -> Vec<(i64, i64)> {
    let mut from = range_ms.0.saturating_add(1);
    let mut stretches = Vec::new();
    for Covered { window, .. } in covered {
        let (start, end) = (window.start / NS_PER_MS, window.end() / NS_PER_MS);
        if from < start {
            stretches.push((from, (start - 1).min(range_ms.1)));
        }
        from = from.max(end);
    }
    if from <= range_ms.1 {
        stretches.push((from, range_ms.1));
    }
    stretches
}
