//! The store as a source of series for the evaluator. Blocks on disk reads: used on blocking threads only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::Peekable;
use std::sync::Arc;

use model::matcher::Matcher;
use model::metric::{MetricKind, Temporality};
use model::time::{TimeRange, Timestamp};
use store::scan::{
    HistogramScan, SampleScan, ScanLimit, SeriesHistograms, SeriesSamples, TakeBytes,
};
use store::schema::Table;
use store::{Kinds, Series};

use super::Metadata;
use super::cut::{Cut, bound_text, classic, native};
use super::rolled::{self, Rolled};
use super::twins;
use super::virtual_series::{self, Part, Selected, labels};
use crate::catalog::View;
use crate::error::{Error, ErrorKind};
use crate::promql::histogram::Histogram;
use crate::promql::source::{Select, SeriesSlices, SeriesSource, SeriesStream, SourceError};
use crate::promql::{Labels, Stop, TOO_MANY_SAMPLES};
use crate::runtime::QueryMemory;

/// The tables series are read from.
const METRIC_TABLES: [Table; 5] =
    [Table::Samples, Table::HistPoints, Table::HistBuckets, Table::Samples5m, Table::Samples1h];

/// Samples, and series, above which a stream ends and another begins: enough to be worth a thread.
const STREAM_SAMPLES: usize = 65_536;
const STREAM_SERIES: usize = 2_048;
/// Floats a native histogram is as much work as.
const HISTOGRAM_SAMPLES: usize = 32;

/// How much too old the last time of a series may be after a restart.
const LAST_TIME_SLACK_NS: i64 = 86_400 * model::time::NS_PER_S;

/// One version of the store as PromQL sees it.
pub struct StoreSource {
    view: Arc<View>,
    samples_max: usize,
    stop: Arc<Stop>,
}

impl StoreSource {
    pub(crate) fn new(view: Arc<View>, samples_max: usize, memory: &Arc<QueryMemory>) -> Self {
        view.count_as(memory);
        Self { view, samples_max, stop: Arc::default() }
    }

    /// One that ends its scans when `stop` is told.
    pub(crate) fn until(self, stop: &Arc<Stop>) -> Self {
        Self { stop: Arc::clone(stop), ..self }
    }

    /// Which samples there are in a range of times, ms, both ends included.
    pub(super) fn contents(&self, range_ms: (i64, i64)) -> store::Contents {
        self.view.snapshot.contents(self.view.tenant, range_ms)
    }

    /// Time of the newest sample, ms since the epoch.
    pub(super) fn newest_ms(&self) -> Option<i64> {
        self.view.snapshot.newest_ms(self.view.tenant)
    }

    fn limit(&self) -> ScanLimit {
        let samples_max = u64::try_from(self.samples_max).unwrap_or(u64::MAX);
        let (take, stop) = (self.view.limit().take, Arc::clone(&self.stop));
        let take: TakeBytes = Arc::new(move |bytes| match &take {
            _ if stop.is_told() => Err(store::Error::Stopped),
            Some(take) => take(bytes),
            None => Ok(()),
        });
        ScanLimit { samples_max, take: Some(take) }
    }

    /// Series shown as they are: explicit histograms are shown in parts only.
    fn plain(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Arc<Series>>, Error> {
        Ok(self.view.select_kinds(matchers, range, Kinds::Others)?)
    }

    /// Hands `take` the labels of every series selected, buckets of explicit histograms without their bound.
    pub(super) fn each_identity(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        stop: &Stop,
        take: &mut dyn FnMut(&Labels),
    ) -> Result<(), Error> {
        for (n, series) in self.plain(matchers, range)?.into_iter().enumerate() {
            going_on(stop, n)?;
            if is_alive(&series, range) {
                take(&labels(&series, "", None));
            }
        }
        let selected = virtual_series::select(&self.view, matchers, range)?;
        let alive = selected.histograms.iter().filter(|h| is_alive(&h.series, range));
        for (n, histogram) in alive.enumerate() {
            going_on(stop, n)?;
            for part in &histogram.parts {
                match part {
                    // Any bound will do to say that there is one.
                    Part::Bucket => take(&labels(&histogram.series, part.suffix(), Some("+Inf"))),
                    Part::Count | Part::Sum if !selected.has_bound("") => {}
                    Part::Count | Part::Sum => {
                        take(&labels(&histogram.series, part.suffix(), None))
                    }
                }
            }
        }
        Ok(())
    }

    /// Hands `take` the labels of every series selected, each bucket by itself: reads histograms in `range`.
    pub(super) fn each_series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        stop: &Stop,
        take: &mut dyn FnMut(&Labels),
    ) -> Result<(), Error> {
        for (n, series) in self.plain(matchers, range)?.into_iter().enumerate() {
            going_on(stop, n)?;
            if is_alive(&series, range) {
                take(&labels(&series, "", None));
            }
        }
        let selected = virtual_series::select(&self.view, matchers, range)?;
        let series: Vec<Arc<Series>> =
            selected.histograms.iter().map(|h| h.series.clone()).collect();
        let range_ms = (range.start.ms(), range.end.ms());
        let mut parts = selected.histograms.iter();
        for found in self.view.snapshot.histograms(&series, range_ms, &self.limit())? {
            going_on(stop, 0)?;
            let found = found?;
            let Some(histogram) = parts.by_ref().find(|h| h.series.id == found.series.id) else {
                break;
            };
            let bounds: BTreeSet<String> = found
                .points
                .iter()
                .flat_map(|point| point.bounds.as_deref().unwrap_or_default())
                .map(|bound| bound_text(*bound))
                .chain([bound_text(f64::INFINITY)])
                .collect();
            for part in &histogram.parts {
                match part {
                    Part::Bucket => {
                        for bound in bounds.iter().filter(|bound| selected.has_bound(bound)) {
                            take(&labels(&found.series, part.suffix(), Some(bound)));
                        }
                    }
                    Part::Count | Part::Sum if !selected.has_bound("") => {}
                    Part::Count | Part::Sum => take(&labels(&found.series, part.suffix(), None)),
                }
            }
        }
        Ok(())
    }

    /// What is known of each metric family.
    pub(super) fn metadata(
        &self,
        metric: Option<&str>,
    ) -> Result<BTreeMap<String, BTreeSet<Metadata>>, Error> {
        let name =
            metric.map(|name| Matcher::new("__name__", model::matcher::MatchOp::Equal, name));
        let mut families: BTreeMap<String, BTreeSet<Metadata>> = BTreeMap::new();
        for series in self.view.select_in(name.as_slice(), TimeRange::ALL)? {
            let known = Metadata {
                kind: prometheus_kind(series.def.kind),
                help: series.def.help.clone(),
                unit: series.def.unit.clone(),
            };
            match families.get_mut(&series.def.prom_name) {
                Some(family) if family.contains(&known) => {}
                Some(family) => {
                    family.insert(known);
                }
                None => {
                    families.insert(series.def.prom_name.clone(), BTreeSet::from([known]));
                }
            }
        }
        Ok(families)
    }
}

/// Looks at `stop` every thousandth time.
fn going_on(stop: &Stop, n: usize) -> Result<(), Error> {
    if n.is_multiple_of(1_000) && stop.is_told() { Err(Error::Canceled) } else { Ok(()) }
}

const fn prometheus_kind(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Unknown => "unknown",
        MetricKind::Gauge => "gauge",
        MetricKind::Counter => "counter",
        MetricKind::Histogram | MetricKind::ExponentialHistogram => "histogram",
        MetricKind::Summary => "summary",
    }
}

fn is_alive(series: &Series, range: TimeRange) -> bool {
    series.last_time().is_none_or(|last| last.0.saturating_add(LAST_TIME_SLACK_NS) >= range.start.0)
}

impl SeriesSource for StoreSource {
    fn select<'a>(
        &'a self,
        select: &Select<'_>,
    ) -> Result<Vec<Box<dyn SeriesStream + 'a>>, SourceError> {
        let snapshot = &self.view.snapshot;
        let limit = self.limit();
        let (start, end) = select.range_ms;
        // The end of the range is a whole millisecond: rows inside it count.
        let range =
            TimeRange::new(Timestamp::from_ms(start), Timestamp::from_ms(end.saturating_add(1)));
        for table in METRIC_TABLES {
            self.view.note_missing(table, range);
        }
        let mut series = self.plain(select.matchers, range).map_err(refused)?;
        let rolled = Rolled::take(&self.view, select, &mut series, &limit)?;
        let native: Vec<Arc<Series>> = series
            .iter()
            .filter(|series| series.def.kind == MetricKind::ExponentialHistogram)
            .cloned()
            .collect();
        let mut streams: Vec<Box<dyn SeriesStream + 'a>> = Vec::with_capacity(3);
        let mut remark = None;
        match rolled {
            Some(rolled) => streams.push(Box::new(rolled)),
            None => remark = rolled::remark(&self.view, range),
        }
        if !series.is_empty() {
            let floats = snapshot.samples(&series, select.range_ms, &limit).map_err(store_error)?;
            let histograms =
                snapshot.histograms(&native, select.range_ms, &limit).map_err(store_error)?;
            for stream in plain_streams(series, floats, histograms)? {
                streams.push(Box::new(PlainStream { remark, ..stream }));
            }
        }
        let selected =
            virtual_series::select(&self.view, select.matchers, range).map_err(refused)?;
        if !selected.histograms.is_empty() {
            let series: Vec<Arc<Series>> =
                selected.histograms.iter().map(|h| h.series.clone()).collect();
            let scan =
                snapshot.histograms(&series, select.range_ms, &limit).map_err(store_error)?;
            streams.push(Box::new(ClassicStream {
                scan: scan.peekable(),
                selected,
                next: 0,
                cuts: VecDeque::new(),
                current: None,
            }));
        }
        Ok(streams)
    }
}

fn refused(error: Error) -> SourceError {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Invalid => SourceError::Invalid(text),
        ErrorKind::Exhausted => SourceError::Exhausted(text),
        ErrorKind::Unavailable => SourceError::Unavailable(text),
        ErrorKind::Corrupt => SourceError::Corrupt(text),
    }
}

pub(super) fn store_error(error: store::Error) -> SourceError {
    if matches!(error, store::Error::ScanLimit { .. }) {
        return SourceError::Exhausted(TOO_MANY_SAMPLES.to_owned());
    }
    refused(Error::from(error))
}

/// Streams of about as many samples each; how many follows from the data alone, so that answers do too.
fn plain_streams(
    series: Vec<Arc<Series>>,
    floats: SampleScan,
    histograms: HistogramScan,
) -> Result<Vec<PlainStream>, SourceError> {
    let floats: Vec<_> = floats.collect::<Result<_, _>>().map_err(store_error)?;
    let mut floats = floats.into_iter().peekable();
    let histograms: Vec<_> = histograms.collect::<Result<_, _>>().map_err(store_error)?;
    let mut histograms = histograms.into_iter().peekable();
    let mut streams: Vec<PlainStream> = Vec::new();
    let mut is_full = true;
    let mut n_samples = 0;
    for next in series {
        let before = streams.last().and_then(|stream| stream.order.back());
        if is_full && before.is_none_or(|before| !twins::are(before, &next)) {
            streams.push(PlainStream::default());
            n_samples = 0;
        }
        let Some(stream) = streams.last_mut() else { break };
        if let Some(found) = floats.next_if(|found| found.series.id == next.id) {
            n_samples += found.t.len();
            stream.floats.push_back(found);
        }
        if let Some(found) = histograms.next_if(|found| found.series.id == next.id) {
            n_samples += found.points.len() * HISTOGRAM_SAMPLES;
            stream.histograms.push_back(found);
        }
        stream.order.push_back(next);
        is_full = n_samples > STREAM_SAMPLES || stream.order.len() > STREAM_SERIES;
    }
    Ok(streams)
}

/// Series as the store holds them, floats and native histograms side by side, in the order of their labels.
#[derive(Default)]
struct PlainStream {
    order: VecDeque<Arc<Series>>,
    floats: VecDeque<SeriesSamples>,
    histograms: VecDeque<SeriesHistograms>,
    remark: Option<&'static str>,
    current: Option<Plain>,
}

struct Plain {
    labels: Labels,
    floats: Option<SeriesSamples>,
    h_t: Vec<i64>,
    h: Vec<Arc<Histogram>>,
    h_start_t: Vec<i64>,
    is_delta: bool,
}

impl Plain {
    /// Takes in the samples of a twin.
    fn join(mut self, twin: Self) -> Self {
        self.floats = twins::joined(self.floats, twin.floats, twins::samples);
        let order = twins::order(&self.h_t, &twin.h_t);
        self.h = order.of(&self.h, &twin.h);
        self.h_start_t = order.of(&self.h_start_t, &twin.h_start_t);
        self.h_t = order.of(&self.h_t, &twin.h_t);
        self
    }
}

impl PlainStream {
    fn advance(&mut self) -> Result<Option<Plain>, SourceError> {
        while let Some(series) = self.order.pop_front() {
            let mut found = self.samples_of(&series)?;
            while let Some(twin) = pop_if(&mut self.order, |next| twins::are(next, &series)) {
                found = twins::joined(found, self.samples_of(&twin)?, Plain::join);
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Both scans gave series in the order they were asked for, without the empty ones.
    fn samples_of(&mut self, series: &Series) -> Result<Option<Plain>, SourceError> {
        let floats = pop_if(&mut self.floats, |found| found.series.id == series.id);
        let histograms = pop_if(&mut self.histograms, |found| found.series.id == series.id);
        if floats.is_none() && histograms.is_none() {
            return Ok(None);
        }
        plain(series, floats, histograms).map(Some)
    }
}

/// Whether each sample or histogram is what came since the one before.
pub(super) fn is_delta(series: &Series) -> bool {
    series.def.temporality == Temporality::Delta && series.def.kind != MetricKind::Gauge
}

fn pop_if<T>(queue: &mut VecDeque<T>, is_wanted: impl FnOnce(&T) -> bool) -> Option<T> {
    if queue.front().is_some_and(is_wanted) { queue.pop_front() } else { None }
}

fn taken<T>(found: Option<Result<T, store::Error>>) -> Result<Option<T>, SourceError> {
    found.transpose().map_err(store_error)
}

fn plain(
    series: &Series,
    mut floats: Option<SeriesSamples>,
    histograms: Option<SeriesHistograms>,
) -> Result<Plain, SourceError> {
    let starts = floats.as_mut().and_then(|floats| floats.start_t.as_mut());
    for start in starts.into_iter().flatten().filter(|start| **start == i64::MIN) {
        *start = 0;
    }
    let points = histograms.map(|found| found.points).unwrap_or_default();
    let h = points.iter().map(|point| native(point).map(Arc::new)).collect::<Result<_, _>>()?;
    Ok(Plain {
        labels: labels(series, "", None),
        floats,
        h_t: points.iter().map(|point| point.t).collect(),
        h,
        h_start_t: points.iter().map(|point| point.start_t.unwrap_or(0)).collect(),
        is_delta: is_delta(series),
    })
}

impl SeriesStream for PlainStream {
    fn next(&mut self) -> Result<Option<SeriesSlices<'_>>, SourceError> {
        self.current = self.advance()?;
        Ok(self.current.as_ref().map(|plain| SeriesSlices {
            labels: &plain.labels,
            t: plain.floats.as_ref().map_or(&[], |floats| &floats.t),
            v: plain.floats.as_ref().map_or(&[], |floats| &floats.v),
            start_t: plain.floats.as_ref().and_then(|floats| floats.start_t.as_deref()),
            h_t: &plain.h_t,
            h: &plain.h,
            h_start_t: Some(&plain.h_start_t),
            is_delta: plain.is_delta,
            buckets: &[],
        }))
    }

    fn remark(&self) -> Option<&'static str> {
        self.remark
    }
}

/// The classic series of explicit histograms, one histogram at a time in memory.
struct ClassicStream {
    scan: Peekable<HistogramScan>,
    selected: Selected,
    /// Where in `selected.histograms` the next one of the scan may stand.
    next: usize,
    cuts: VecDeque<Cut>,
    current: Option<Cut>,
}

impl SeriesStream for ClassicStream {
    fn next(&mut self) -> Result<Option<SeriesSlices<'_>>, SourceError> {
        while self.cuts.is_empty() {
            let Some(mut found) = taken(self.scan.next())? else {
                return Ok(None);
            };
            let is_twin = |next: &Result<SeriesHistograms, store::Error>| {
                next.as_ref().is_ok_and(|next| twins::are(&next.series, &found.series))
            };
            while let Some(twin) = taken(self.scan.next_if(is_twin))? {
                found.points = twins::points(found.points, twin.points);
            }
            let rest = &self.selected.histograms[self.next..];
            let Some(at) = rest.iter().position(|h| h.series.id == found.series.id) else {
                return Ok(None);
            };
            let parts = &rest[at].parts;
            self.cuts = classic(&found.series, parts, &found.points, &self.selected).into();
            self.next += at + 1;
        }
        self.current = self.cuts.pop_front();
        Ok(self.current.as_ref().map(|cut| SeriesSlices {
            labels: &cut.labels,
            t: &cut.t,
            v: &cut.v,
            start_t: Some(&cut.start_t),
            h_t: &[],
            h: &[],
            h_start_t: None,
            is_delta: cut.is_delta,
            buckets: &[],
        }))
    }
}
