//! One scrape after the other of one target: which series there are, which are new, which have ended.
//!
//! Pure: body in, points out. A scrape is taken whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use model::metric::Labels;

use super::config::{Job, Validation};
use super::exposition::{self, ExemplarParts, Exposition, Format, Measured, Sample, Wanted};
use super::reduce::reduce;
use super::relabel::{self, LabelSet};
use super::target::is_legacy_name;
use crate::remote_write::{Exemplar, Meta, Point, Value};

/// What is remembered of a target between scrapes.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// By what the target writes: the labels that come of it, or `None` where relabelling drops the sample.
    texts: HashMap<Box<str>, Text>,
    series: HashMap<Labels, Series>,
    metas: BTreeMap<String, Arc<Meta>>,
    /// Number of the present scrape.
    scrape: u64,
    hasher: RandomState,
}

#[derive(Debug)]
struct Text {
    labels: Option<Labels>,
    seen: u64,
}

#[derive(Debug)]
struct Series {
    /// The last scrape it was in.
    seen: u64,
    at_ms: i64,
    /// Whether its end has to be told.
    live: bool,
    native: bool,
    /// Hashes of the exemplars it had, sorted: targets show them again until there are newer ones.
    exemplars: Box<[u64]>,
}

/// What is written down of a sample once its scrape is taken.
struct Touched {
    /// Whether the end of its series has to be told.
    live: bool,
    /// Hashes of its exemplars, in their order.
    exemplars: Vec<u64>,
}

/// One body and what is known of it before its samples are looked at.
struct Reading<'a> {
    job: &'a Job,
    target: &'a Labels,
    exposition: &'a Exposition<'a>,
    metas: &'a [Arc<Meta>],
    now_ms: i64,
}

/// What came of a body.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Samples, then the ends of series that are gone.
    pub points: Vec<Point>,
    /// Samples in the body.
    pub scraped: usize,
    /// Those that relabelling kept.
    pub kept: usize,
    /// Series that were not there before.
    pub added: usize,
    /// Samples left out because their series had one already.
    pub duplicates: usize,
}

/// Why nothing of a body is kept, and what had been read of it by then.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    pub reason: String,
    /// Samples looked at; all of them where there are more than may be.
    pub scraped: usize,
    /// Those that relabelling kept.
    pub kept: usize,
    /// Series that were not there before.
    pub added: usize,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self { reason, ..Self::default() }
    }
}

impl Memory {
    /// Takes in a body of the scrape at `now_ms`. On a fault nothing of it is kept, as if it had not been there.
    pub(crate) fn take(
        &mut self,
        job: &Job,
        target: &Labels,
        (body, format): (&[u8], Format),
        now_ms: i64,
    ) -> Result<Round, Refusal> {
        self.scrape += 1;
        let taken = self.read(job, target, (body, format), now_ms);
        match taken {
            Ok(mut round) => {
                round.points.extend(self.ends(now_ms));
                let scrape = self.scrape;
                self.texts.retain(|_, text| text.seen == scrape);
                Ok(round)
            }
            Err(refusal) => {
                let scrape = self.scrape;
                self.texts.retain(|_, text| text.seen != scrape);
                Err(refusal)
            }
        }
    }

    /// The ends of all series: the scrape at `now_ms` failed, or the target is gone.
    pub(crate) fn end_all(&mut self, now_ms: i64) -> Vec<Point> {
        self.scrape += 1;
        self.ends(now_ms)
    }

    /// What the target says of its metrics.
    pub(crate) fn metas(&self) -> impl Iterator<Item = &Arc<Meta>> {
        self.metas.values()
    }

    /// Takes out what this scrape did not have, and returns the stale markers.
    fn ends(&mut self, now_ms: i64) -> Vec<Point> {
        let mut points = Vec::new();
        let scrape = self.scrape;
        self.series.retain(|labels, series| {
            if series.seen == scrape {
                return true;
            }
            if series.live {
                let float = Value::Float(f64::from_bits(model::metric::STALE_NAN_BITS));
                let value = if series.native { Value::stale_histogram() } else { float };
                points.push(point(labels.clone(), now_ms, value));
            }
            false
        });
        points
    }

    fn read(
        &mut self,
        job: &Job,
        target: &Labels,
        (body, format): (&[u8], Format),
        now_ms: i64,
    ) -> Result<Round, Refusal> {
        let wanted = Wanted {
            native: job.scrape_native_histograms.unwrap_or(false),
            classic_too: job.always_scrape_classic_histograms.unwrap_or(false),
            fold_classic: job.convert_classic_histograms_to_nhcb.unwrap_or(false),
            parsed_bytes_max: usize::try_from(job.body_size_limit.map_or(0, |size| size.0))
                .unwrap_or(usize::MAX),
        };
        let exposition =
            exposition::parse(body, format, wanted).map_err(|fault| fault.to_string())?;
        let metas = self.share_metas(&exposition);
        let reading = Reading { job, target, exposition: &exposition, metas: &metas, now_ms };
        let mut round = Round::default();
        let touched = match self.gather(&reading, &mut round) {
            Ok(touched) => touched,
            Err(reason) => {
                let is_new = |point: &&Point| !self.series.contains_key(&point.labels);
                let added = round.points.iter().filter(is_new).count();
                return Err(Refusal { reason, scraped: round.scraped, kept: round.kept, added });
            }
        };
        self.metas = metas.into_iter().map(|meta| (meta.family.clone(), meta)).collect();
        self.keep(&mut round, touched);
        Ok(round)
    }

    /// Puts the samples of a body into `round` and counts them there; stops at the first fault.
    fn gather(&mut self, reading: &Reading<'_>, round: &mut Round) -> Result<Vec<Touched>, String> {
        let Reading { job, target, exposition, metas, now_ms } = *reading;
        let limit = job.sample_limit.filter(|limit| *limit > 0).unwrap_or(u64::MAX);
        let mut touched = Vec::with_capacity(exposition.samples.len());
        for sample in &exposition.samples {
            round.scraped += 1;
            let Some(labels) = self.labels(job, target, exposition, sample)? else { continue };
            round.kept += 1;
            if round.kept as u64 > limit {
                continue; // Counted to the end: the report says how many there are.
            }
            let honored = sample.at_ms.filter(|_| job.honor_timestamps.unwrap_or(true));
            let at_ms = honored.unwrap_or(now_ms);
            let value = measured(job, &sample.value)?;
            let mut point = point(labels, at_ms, value);
            point.start_ms = sample.start_ms;
            point.meta = sample.family.map(|family| Arc::clone(&metas[family]));
            let exemplars = exposition.exemplars(sample);
            point.exemplars = exemplars.iter().map(|parts| exemplar(parts, at_ms)).collect();
            let live = honored.is_none() || job.track_timestamps_staleness;
            let exemplars = exemplars.iter().map(|exemplar| self.hash(exemplar)).collect();
            touched.push(Touched { live, exemplars });
            round.points.push(point);
        }
        match round.kept {
            kept if kept as u64 > limit => Err(format!(
                "sample limit exceeded: {kept} samples after relabelling, the limit is {limit}"
            )),
            _ => Ok(touched),
        }
    }

    /// Writes down which series the scrape had, and takes out what would be there twice and exemplars told before.
    fn keep(&mut self, round: &mut Round, touched: Vec<Touched>) {
        let (scrape, mut added, mut duplicates) = (self.scrape, 0, 0);
        let mut touched = touched.into_iter();
        round.points.retain_mut(|point| {
            let Some(Touched { live, mut exemplars }) = touched.next() else { return false };
            let native = matches!(point.value, Value::Histogram(_));
            let known = self.series.get_mut(&point.labels);
            if let Some(series) = &known {
                if series.seen == scrape && series.at_ms == point.at_ms {
                    duplicates += 1;
                    return false;
                }
                let mut hashes = exemplars.iter();
                let is_told = |hash: &u64| series.exemplars.binary_search(hash).is_ok();
                point.exemplars.retain(|_| !hashes.next().is_some_and(is_told));
            }
            exemplars.sort_unstable();
            let exemplars = exemplars.into_boxed_slice();
            let fresh = Series { seen: scrape, at_ms: point.at_ms, live, native, exemplars };
            match known {
                Some(series) => *series = fresh,
                None => {
                    added += 1;
                    self.series.insert(point.labels.clone(), fresh);
                }
            }
            true
        });
        (round.added, round.duplicates) = (added, duplicates);
    }

    /// What tells an exemplar from others.
    fn hash(&self, exemplar: &ExemplarParts<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        exemplar.labels.hash(&mut hasher);
        (exemplar.value.to_bits(), exemplar.at_ms).hash(&mut hasher);
        hasher.finish()
    }

    /// The families of this scrape; what was said before is not held twice.
    fn share_metas(&self, exposition: &Exposition<'_>) -> Vec<Arc<Meta>> {
        let share = |meta: &Arc<Meta>| match self.metas.get(&meta.family) {
            Some(known) if known == meta => Arc::clone(known),
            _ => Arc::clone(meta),
        };
        exposition.families.iter().map(share).collect()
    }

    /// The labels a sample ends up with, or `None` if it is dropped.
    fn labels(
        &mut self,
        job: &Job,
        target: &Labels,
        exposition: &Exposition<'_>,
        sample: &Sample<'_>,
    ) -> Result<Option<Labels>, String> {
        if let Some(text) = self.texts.get_mut(&*sample.series) {
            text.seen = self.scrape;
            return Ok(text.labels.clone());
        }
        let mut set = LabelSet::new();
        for (name, value) in exposition.labels(sample) {
            if set.insert(name.to_string(), value.to_string()).is_some() {
                return Err(format!("label {name:?} is there twice in {}", sample.series));
            }
        }
        // Until here an empty label counts: what is federated says with one that it has none of the target's.
        join(&mut set, target, job.honor_labels);
        set.retain(|_, value| !value.is_empty());
        let labels = match relabel::apply(&job.metric_relabel_configs, &mut set) {
            false => None,
            true => {
                check(job, &set)?;
                let labels: Labels = set.into_iter().collect();
                // One text for each label set: series that other scrapes know share it.
                Some(self.series.get_key_value(&labels).map_or(labels, |(known, _)| known.clone()))
            }
        };
        let text = Text { labels: labels.clone(), seen: self.scrape };
        self.texts.insert(sample.series.as_ref().into(), text);
        Ok(labels)
    }
}

fn point(labels: Labels, at_ms: i64, value: Value) -> Point {
    Point { labels, meta: None, at_ms, start_ms: 0, value, exemplars: Vec::new() }
}

/// Adds the labels of the target. Where both have one, the target's wins and the other is kept as `exported_…`; with
/// `honor` it is the other way about.
fn join(set: &mut LabelSet, target: &Labels, honor: bool) {
    let mut moved = Vec::new();
    for (name, value) in target.iter() {
        if honor {
            set.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        } else if let Some(own) = set.insert(name.to_owned(), value.to_owned())
            && !own.is_empty()
        {
            moved.push((name, own));
        }
    }
    for (name, own) in moved {
        let mut name = format!("exported_{name}");
        while set.contains_key(&name) {
            name.insert_str(0, "exported_");
        }
        set.insert(name, own);
    }
}

/// Names and limits.
fn check(job: &Job, set: &LabelSet) -> Result<(), String> {
    let Some(metric) = set.get("__name__") else {
        return Err("a sample has no metric name after relabelling".to_owned());
    };
    if job.metric_name_validation_scheme == Some(Validation::Legacy) {
        let is_name = is_legacy_name(&metric.replace(':', "_"))
            && set.keys().all(|name| is_legacy_name(name));
        if !is_name {
            return Err(format!(
                "invalid metric name or label names of {metric:?}: legacy names are asked for"
            ));
        }
    }
    let over = |limit: Option<usize>, n: usize| limit.filter(|limit| *limit > 0 && n > *limit);
    if let Some(limit) = over(job.label_limit, set.len()) {
        return Err(format!(
            "label_limit exceeded: metric {metric:?} has {} labels, the limit is {limit}",
            set.len()
        ));
    }
    for (name, value) in set {
        if let Some(limit) = over(job.label_name_length_limit, name.len()) {
            return Err(format!(
                "label_name_length_limit exceeded: label {name:?} of metric {metric:?} has {} bytes, the limit is {limit}",
                name.len()
            ));
        }
        if let Some(limit) = over(job.label_value_length_limit, value.len()) {
            return Err(format!(
                "label_value_length_limit exceeded: the value of label {name:?} of metric {metric:?} has {} bytes, the limit is {limit}",
                value.len()
            ));
        }
    }
    Ok(())
}

fn measured(job: &Job, value: &Measured) -> Result<Value, String> {
    Ok(match value {
        Measured::Float(value) => Value::Float(*value),
        Measured::Histogram(histogram) => {
            let mut histogram = (**histogram).clone();
            let limits =
                (job.native_histogram_bucket_limit, job.native_histogram_min_bucket_factor);
            reduce(&mut histogram, limits.0, limits.1)?;
            Value::Histogram(Arc::new(histogram))
        }
    })
}

fn exemplar(parts: &ExemplarParts<'_>, at_ms: i64) -> Exemplar {
    let labels = parts.labels.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Exemplar { labels: labels.collect(), value: parts.value, at_ms: parts.at_ms.unwrap_or(at_ms) }
}

#[cfg(test)]
mod tests;
