//! Which records are taken and why the others are not: reasons, counts, and the sentence the sender gets.
//!
//! The good part of a request is always kept. Whatever is dropped is counted once, under one reason.

use model::time::{NS_PER_MS, Timestamp};

use crate::config::Config;
use crate::duration;
use crate::stats::Signal;

macro_rules! reasons {
    ($($variant:ident $name:literal $rejects:literal $words:literal;)*) => {
        /// Why an item was rejected, or kept only in part.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Reason { $(#[doc = $words] $variant),* }

        impl Reason {
            pub(crate) const ALL: [Self; [$(Self::$variant),*].len()] = [$(Self::$variant),*];

            /// The stable name in counters.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The words in messages.
            pub(crate) const fn words(self) -> &'static str {
                match self { $(Self::$variant => $words),* }
            }

            /// Whether the item is lost; otherwise it was kept, but not whole.
            pub(crate) const fn rejects(self) -> bool {
                match self { $(Self::$variant => $rejects),* }
            }
        }
    };
}

reasons! {
    MetricNameEmpty "metric_name_empty" true "without a usable metric name";
    MetricNameTooLong "metric_name_too_long" true "with a metric name that is too long";
    DataMissing "data_missing" true "metrics without data";
    ValueMissing "value_missing" true "without a value";
    TimeMissing "time_missing" true "without a time";
    TimeInFuture "time_in_future" true "from the future";
    TimeTooOld "time_too_old" true "too old";
    TimeDuplicate "time_duplicate" true "with the series and time of a later one";
    HistogramInconsistent "histogram_inconsistent" true "of inconsistent histograms";
    LabelsTooMany "labels_too_many" true "with too many attributes";
    LabelsInvalid "labels_invalid" true "with invalid labels";
    SamplesMissing "samples_missing" true "TimeSeries must contain at least one sample or histogram";
    LabelTooLong "label_too_long" true "with an attribute that is too long";
    SeriesLimit "series_limit" true "of new series over the series limit";
    RecordTooLarge "record_too_large" true "that are too large";
    TraceIdInvalid "trace_id_invalid" true "with an invalid trace id";
    SpanIdInvalid "span_id_invalid" true "with an invalid span id";
    ParentSpanIdInvalid "parent_span_id_invalid" true "with an invalid parent span id";
    AttributeInvalid "attribute_invalid" false "an attribute without key, with an over-long key or a repeated one was dropped";
    AttributesOverLimit "attributes_over_limit" false "attributes, events or links over the limit were dropped";
    AttributeCut "attribute_cut" false "an attribute value was cut";
    BodyCut "body_cut" false "the body was cut";
    LabelsMerged "labels_merged" false "attributes that share a Prometheus name were joined";
    IdDropped "id_dropped" false "an invalid trace or span id was dropped";
    StartTimeDropped "start_time_dropped" false "a start time after the point's time was dropped";
    DurationClamped "duration_clamped" false "a span that ends before it starts, or in the future, lasts 0";
    ExemplarDropped "exemplar_dropped" false "an exemplar was dropped";
    TextRepaired "text_repaired" false "text that is no UTF-8 was repaired";
    ScopeAttributesDropped "scope_attributes_dropped" false "attributes of a scope were dropped";
}

/// What became of the items of one request.
#[derive(Debug)]
pub(crate) struct Tally {
    signal: Signal,
    received: u64,
    rejected: u64,
    counts: [u64; Reason::ALL.len()],
    firsts: Vec<(Reason, String)>,
}

impl Tally {
    pub(crate) fn new(signal: Signal) -> Self {
        let counts = [0; Reason::ALL.len()];
        Self { signal, received: 0, rejected: 0, counts, firsts: Vec::new() }
    }

    /// Notes that `items` items were decoded.
    pub(crate) fn receive(&mut self, items: usize) {
        self.received += u64::try_from(items).unwrap_or(u64::MAX);
    }

    /// Notes that one item is lost; `offender` describes it and is called only for the first of its reason.
    pub(crate) fn reject(&mut self, reason: Reason, offender: impl FnOnce() -> String) {
        self.reject_many(reason, 1, offender);
    }

    /// Notes a metric without data: no data point is lost, yet the sender should know.
    pub(crate) fn note_missing_data(&mut self, offender: impl FnOnce() -> String) {
        self.reject_many(Reason::DataMissing, 1, offender);
        self.rejected -= 1;
    }

    /// Notes a series without samples likewise.
    pub(crate) fn note_missing_samples(&mut self, offender: impl FnOnce() -> String) {
        self.reject_many(Reason::SamplesMissing, 1, offender);
        self.rejected -= 1;
    }

    /// Notes that `items` items are lost at once.
    pub(crate) fn reject_many(
        &mut self,
        reason: Reason,
        items: usize,
        offender: impl FnOnce() -> String,
    ) {
        debug_assert!(reason.rejects());
        if !self.firsts.iter().any(|(seen, _)| *seen == reason) {
            self.firsts.push((reason, offender()));
        }
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        self.counts[reason as usize] += items;
        self.rejected += items;
    }

    /// Notes that an item was kept, but not whole.
    pub(crate) fn adjust(&mut self, reason: Reason) {
        debug_assert!(!reason.rejects());
        self.counts[reason as usize] += 1;
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.rejected
    }

    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.counts[reason as usize]
    }

    /// OTLP's `error_message`: how many of how many, each reason with its count and first offender. Empty if all is well.
    pub(crate) fn message(&self) -> String {
        let mut out = String::new();
        for (reason, first) in &self.firsts {
            if out.is_empty() {
                let items = self.signal.items();
                out = format!("{} of {} {items} rejected: ", self.rejected, self.received);
            } else {
                out.push_str("; ");
            }
            let (count, words) = (self.count(*reason), reason.words());
            out.push_str(&format!("{count} {words} (first: {first})"));
        }
        out
    }
}

/// The times that are taken, fixed for one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    now: Timestamp,
    oldest: Timestamp,
    newest: Timestamp,
}

impl Window {
    /// For data points.
    pub(crate) fn of_samples(config: &Config, now: Timestamp) -> Self {
        Self::new(now, config.sample_age_max, config.future_max)
    }

    /// For log records and spans.
    pub(crate) fn of_records(config: &Config, now: Timestamp) -> Self {
        Self::new(now, config.record_age_max, config.future_max)
    }

    fn new(now: Timestamp, age: std::time::Duration, future: std::time::Duration) -> Self {
        let ns = |span: std::time::Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        let oldest = Timestamp(now.0.saturating_sub(ns(age)));
        Self { now, oldest, newest: Timestamp(now.0.saturating_add(ns(future))) }
    }

    /// Our own present.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// The time `unix_nano`, or why it is refused with words for the sender.
    pub(crate) fn check(&self, unix_nano: u64) -> Result<Timestamp, (Reason, String)> {
        if unix_nano == 0 {
            return Err((Reason::TimeMissing, "its time is 0".to_owned()));
        }
        let Ok(ns) = i64::try_from(unix_nano) else {
            let words = format!("time {unix_nano} ns is after the year 2262");
            return Err((Reason::TimeInFuture, words));
        };
        self.judge(Timestamp(ns))
    }

    /// Likewise for a time in ms, which may be 0 and before.
    pub(crate) fn check_ms(&self, ms: i64) -> Result<Timestamp, (Reason, String)> {
        self.judge(Timestamp(ms.saturating_mul(NS_PER_MS)))
    }

    #[inline]
    fn judge(&self, at: Timestamp) -> Result<Timestamp, (Reason, String)> {
        if at > self.newest {
            let words = format!(
                "time {at}, but it is {} and {} ahead is the limit",
                self.now,
                self.ahead()
            );
            return Err((Reason::TimeInFuture, words));
        }
        if at < self.oldest {
            let words =
                format!("time {at}, but it is {} and {} back is the limit", self.now, self.back());
            return Err((Reason::TimeTooOld, words));
        }
        Ok(at)
    }

    fn ahead(&self) -> String {
        print_ns(self.newest.0.saturating_sub(self.now.0))
    }

    fn back(&self) -> String {
        print_ns(self.now.0.saturating_sub(self.oldest.0))
    }
}

fn print_ns(ns: i64) -> String {
    duration::print(std::time::Duration::from_nanos(u64::try_from(ns).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_counts_each_reason_and_names_its_first_offender() {
        let mut tally = Tally::new(Signal::Metrics);
        assert_eq!(tally.message(), "");
        tally.receive(9);
        tally.reject(Reason::TimeMissing, || "metric `a`".to_owned());
        tally.reject(Reason::TimeMissing, || "metric `b`".to_owned());
        tally.reject_many(Reason::MetricNameEmpty, 3, || "the metric at 0.0.1".to_owned());
        let expected = "5 of 9 data points rejected: 2 without a time (first: metric `a`); \
                        3 without a usable metric name (first: the metric at 0.0.1)";
        assert_eq!(tally.message(), expected);
    }

    #[test]
    fn times_are_taken_up_to_both_limits() {
        let now = Timestamp::from_s(1_800_000_000);
        let window = Window::of_samples(&Config::default(), now);
        let at = |s: i64| u64::try_from(Timestamp::from_s(s).0).unwrap();
        assert!(window.check(at(1_800_000_600)).is_ok());
        assert!(window.check(at(1_800_000_000 - 7 * 86_400)).is_ok());
        let refused = |ns: u64| window.check(ns).unwrap_err().0;
        assert_eq!(refused(0), Reason::TimeMissing);
        assert_eq!(refused(u64::MAX), Reason::TimeInFuture);
        assert_eq!(refused(at(1_800_000_601)), Reason::TimeInFuture);
        assert_eq!(refused(at(1_800_000_000 - 7 * 86_400 - 1)), Reason::TimeTooOld);
    }

    #[test]
    fn reasons_have_names_of_their_own() {
        let mut names: Vec<_> = Reason::ALL.map(Reason::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
