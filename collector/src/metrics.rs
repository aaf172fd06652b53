//! Metrics: from OTLP's data points to rows of `samples`, the histogram tables and `exemplars`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use model::metric::{MetricKind, STALE_NAN_BITS, Temporality, is_stale};
use model::time::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    DataPointFlags, Metric, NumberDataPoint, SummaryDataPoint, number_data_point,
};
use store::Samples;
use store::schema::Table;

use crate::admission::{Admission, Refusal};
use crate::admit::Reason;
use crate::error::Error;
use crate::prometheus;
use crate::resource::{Emitter, note_scope};
use crate::series::{MetricContext, Nature, Part};

mod exemplar;
mod histogram;
mod rows;

use rows::{Rows, SampleRow};

const FLAG_STALE: u8 = 1;
const FLAG_NO_RECORDED_VALUE: u8 = 2;

/// The batches of a request, and the emitters whose `target_info` is among them.
pub(crate) struct Decoded {
    pub(crate) samples: Samples,
    pub(crate) tables: Vec<(Table, RecordBatch)>,
    pub(crate) informed: Vec<Arc<Emitter>>,
}

/// Admits every data point of the request.
pub(crate) fn admit(
    admission: &mut Admission<'_>,
    request: &ExportMetricsServiceRequest,
) -> Result<Decoded, Error> {
    let mut metrics = Metrics { admission, rows: Rows::default(), informed: Vec::new() };
    for of_resource in &request.resource_metrics {
        let emitter = metrics.admission.emitter(of_resource.resource.as_ref());
        let mut newest_ms = None;
        for of_scope in &of_resource.scope_metrics {
            note_scope(of_scope.scope.as_ref(), &mut metrics.admission.tally);
            for metric in &of_scope.metrics {
                let ms = metrics.metric(&emitter, metric)?;
                newest_ms = newest_ms.max(ms);
            }
        }
        if let Some(ms) = newest_ms {
            metrics.inform(&emitter, ms)?;
        }
    }
    let Metrics { admission, mut rows, informed } = metrics;
    rows.fold_duplicates(&mut admission.tally);
    let (samples, tables) = rows.finish()?;
    Ok(Decoded { samples, tables, informed })
}

struct Metrics<'r, 'a> {
    admission: &'r mut Admission<'a>,
    rows: Rows,
    informed: Vec<Arc<Emitter>>,
}

/// What every kind of point has: when it was taken, since when it counts, and the bits of `flags`.
#[derive(Clone, Copy)]
struct Stamp {
    time: Timestamp,
    start_ms: Option<i64>,
    flags: u8,
}

impl Metrics<'_, '_> {
    /// Admits the points of a metric. Returns the time of the newest row, in ms.
    fn metric(&mut self, emitter: &Emitter, metric: &Metric) -> Result<Option<i64>, Error> {
        let n_points = metric.data.as_ref().map_or(0, n_points);
        self.admission.tally.receive(n_points);
        let has_name = metric.name.contains(|c: char| c.is_ascii_alphanumeric() || c == ':');
        if !has_name || metric.name.len() > self.admission.shared.config.label_bytes_max {
            self.admission.tally.reject_many(Reason::MetricNameEmpty, n_points, || {
                format!("metric `{}`", crate::series::crop(&metric.name))
            });
            return Ok(None);
        }
        let Some(data) = &metric.data else {
            self.admission.tally.note_missing_data(|| format!("metric `{}`", metric.name));
            return Ok(None);
        };
        self.rows.newest_ms = None;
        let context = MetricContext::new(self.admission, emitter, metric, nature(data));
        match data {
            Data::Gauge(gauge) => self.each(&gauge.data_points, &context, Self::number)?,
            Data::Sum(sum) => self.each(&sum.data_points, &context, Self::number)?,
            Data::Histogram(histogram) => {
                self.each(&histogram.data_points, &context, Self::histogram)?;
            }
            Data::ExponentialHistogram(histogram) => {
                self.each(&histogram.data_points, &context, Self::exponential)?;
            }
            Data::Summary(summary) => self.each(&summary.data_points, &context, Self::summary)?,
        }
        Ok(self.rows.newest_ms)
    }

    fn each<P: Point>(
        &mut self,
        points: &[P],
        context: &MetricContext<'_>,
        admit: fn(&mut Self, &MetricContext<'_>, &P) -> Result<(), Refusal>,
    ) -> Result<(), Error> {
        for point in points {
            let outcome = admit(self, context, point);
            self.admission.settle(outcome, || context.describe(point.attributes()))?;
        }
        Ok(())
    }

    fn number(
        &mut self,
        context: &MetricContext<'_>,
        point: &NumberDataPoint,
    ) -> Result<(), Refusal> {
        let mut stamp =
            self.stamp(point.time_unix_nano, point.start_time_unix_nano, point.flags)?;
        let value = match point.value {
            _ if stamp.flags != 0 => f64::from_bits(STALE_NAN_BITS),
            Some(number_data_point::Value::AsDouble(value)) => value,
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => {
                let words = "it has neither a value nor the no-recorded-value flag".to_owned();
                return Err(Refusal::Reject(Reason::ValueMissing, words));
            }
        };
        if is_stale(value) {
            stamp.flags |= FLAG_STALE;
        }
        let series = self.admission.series(context, &point.attributes, Part::Whole)?;
        self.rows.push_sample(SampleRow::new(series, stamp, value));
        self.exemplars(series.id, stamp.time, &point.exemplars);
        Ok(())
    }

    fn summary(
        &mut self,
        context: &MetricContext<'_>,
        point: &SummaryDataPoint,
    ) -> Result<(), Refusal> {
        let stamp = self.stamp(point.time_unix_nano, point.start_time_unix_nano, point.flags)?;
        let of = |value: f64| if stamp.flags == 0 { value } else { f64::from_bits(STALE_NAN_BITS) };
        let pairs = &point.attributes;
        let mut rows = Vec::with_capacity(point.quantile_values.len() + 2);
        for at in &point.quantile_values {
            if !(0.0..=1.0).contains(&at.quantile) {
                let words = format!("its quantile {} is not within 0 and 1", at.quantile);
                return Err(Refusal::Reject(Reason::HistogramInconsistent, words));
            }
            let series = self.admission.series(context, pairs, Part::Quantile(at.quantile))?;
            rows.push(SampleRow::new(series, stamp, of(at.value)).as_part());
        }
        let sum = self.admission.series(context, pairs, Part::Sum)?;
        rows.push(SampleRow::new(sum, stamp, of(point.sum)).as_part());
        let count = self.admission.series(context, pairs, Part::Count)?;
        rows.push(SampleRow::new(count, stamp, of(point.count as f64)));
        // Only now, so that a series over the limit leaves no half of a summary behind.
        rows.into_iter().for_each(|row| self.rows.push_sample(row));
        Ok(())
    }

    fn stamp(&mut self, unix_nano: u64, start: u64, flags: u32) -> Result<Stamp, Refusal> {
        let time = self.admission.window.check(unix_nano)?;
        let no_value = flags & (DataPointFlags::NoRecordedValueMask as u32) != 0;
        let start_ms = match i64::try_from(start) {
            Ok(0) => None,
            Ok(start) if start <= time.0 => Some(Timestamp(start).ms()),
            Ok(_) | Err(_) => {
                self.admission.tally.adjust(Reason::StartTimeDropped);
                None
            }
        };
        let flags = if no_value { FLAG_STALE | FLAG_NO_RECORDED_VALUE } else { 0 };
        Ok(Stamp { time, start_ms, flags })
    }

    /// Writes the resource's `target_info` if it is due.
    fn inform(&mut self, emitter: &Arc<Emitter>, ms: i64) -> Result<(), Error> {
        let Some(def) = emitter.target_info.as_ref().filter(|_| emitter.is_info_due(ms)) else {
            return Ok(());
        };
        match self.admission.resolve(def) {
            Ok(series) => {
                let stamp = Stamp { time: Timestamp::from_ms(ms), start_ms: None, flags: 0 };
                self.rows.push_sample(SampleRow::new(series, stamp, 1.0).as_part());
                self.informed.push(Arc::clone(emitter));
                Ok(())
            }
            // The sender did not ask for this series: it is no point of theirs that is refused.
            Err(Refusal::Reject(..)) => {
                emitter.forget_info();
                Ok(())
            }
            Err(Refusal::Fail(error)) => Err(error),
        }
    }
}

/// Any of OTLP's data points.
trait Point {
    fn attributes(&self) -> &[KeyValue];
}

macro_rules! points {
    ($($point:path),*) => {
        $(impl Point for $point {
            fn attributes(&self) -> &[KeyValue] {
                &self.attributes
            }
        })*
    };
}

points!(
    NumberDataPoint,
    SummaryDataPoint,
    opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint,
    opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint
);

fn n_points(data: &Data) -> usize {
    match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    }
}

fn nature(data: &Data) -> Nature {
    let (kind, temporality, is_sum) = match data {
        Data::Gauge(_) => (MetricKind::Gauge, Temporality::Unspecified, false),
        Data::Sum(sum) => {
            let kind = if sum.is_monotonic { MetricKind::Counter } else { MetricKind::Gauge };
            (kind, prometheus::temporality(sum.aggregation_temporality), true)
        }
        Data::Histogram(histogram) => {
            let temporality = prometheus::temporality(histogram.aggregation_temporality);
            (MetricKind::Histogram, temporality, false)
        }
        Data::ExponentialHistogram(histogram) => {
            let temporality = prometheus::temporality(histogram.aggregation_temporality);
            (MetricKind::ExponentialHistogram, temporality, false)
        }
        Data::Summary(_) => (MetricKind::Summary, Temporality::Cumulative, false),
    };
    Nature { kind, temporality, is_sum }
}

/// Which bounds a histogram point has, by their id, and the bounds.
type BoundsById = BTreeMap<u64, Vec<f64>>;

#[cfg(test)]
mod tests;
