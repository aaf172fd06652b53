//! What emits telemetry: a resource's identity, its canonical texts, and what it adds to every Prometheus series.
//!
//! Made once for each distinct resource and remembered; looked up by the hash of the attributes as sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{ArrayRef, UInt64Array};
use model::id::ResourceId;
use model::metric::{Labels, MetricKind, SeriesDef, Temporality};
use model::semconv;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use store::ResourceDef;
use store::schema::columns;

use crate::admission::{Admission, Refusal};
use crate::any;
use crate::attributes;
use crate::config::Config;
use crate::error::Error;
use crate::prometheus;
use crate::proto::{Message, shape};
use crate::records::Scope;
use crate::sparse::Texts;
use crate::translation::TranslationStrategy;
use crate::value;

/// Keys of `columns::EMITTER_TEXTS`, in that order; the first key present wins.
const TEXT_KEYS: [&[&str]; columns::EMITTER_TEXTS.len()] = [
    &[semconv::SERVICE_NAME],
    &["k8s.namespace.name"],
    &["k8s.pod.name"],
    &["k8s.node.name"],
    &[semconv::HOST_NAME],
    &[semconv::DEPLOYMENT_ENVIRONMENT, "deployment.environment"],
];

const IDENTIFYING: [&str; 3] =
    [semconv::SERVICE_NAME, semconv::SERVICE_NAMESPACE, semconv::SERVICE_INSTANCE_ID];

/// Before the bytes of a resource as sent, to keep their hashes apart from those of its attributes.
const RAW_RESOURCE: &[u8; 16] = b"resource as sent";

/// How many attributes of a resource are looked at for each that may be kept: some are repeated, or have no key.
const PAIRS_PER_KEPT: usize = 4;

/// How often `target_info` is written for a resource that keeps sending: half of PromQL's look-back, in ms.
const TARGET_INFO_INTERVAL_MS: i64 = 150_000;

/// A resource as admission needs it.
#[derive(Debug)]
pub(crate) struct Emitter {
    /// Its identity in the store.
    pub(crate) id: ResourceId,
    /// Hash of its attributes as sent: the first part of its series' keys.
    pub(crate) key: u128,
    /// `job` and `instance`, as far as known.
    pub(crate) identity: Vec<(String, String)>,
    /// Promoted attributes under their Prometheus names.
    pub(crate) promoted: Vec<(String, String)>,
    /// The `target_info` series, if the resource has more to say than `job` and `instance`.
    pub(crate) target_info: Option<SeriesDef>,
    /// Interval in which `target_info` was last written.
    last_interval: AtomicI64,
    texts: [Option<String>; columns::EMITTER_TEXTS.len()],
}

impl Emitter {
    /// Bytes of what each log record and span takes from it.
    pub(crate) fn row_bytes(&self) -> usize {
        self.texts.iter().flatten().map(String::len).sum()
    }

    /// Whether `target_info` has to be written for a sample at `ms`: once for each interval.
    pub(crate) fn is_info_due(&self, ms: i64) -> bool {
        let interval = ms.div_euclid(TARGET_INFO_INTERVAL_MS);
        self.target_info.is_some()
            && self.last_interval.swap(interval, Ordering::Relaxed) != interval
    }

    /// Lets the next sample write `target_info` again: the batch with the last one was not stored.
    pub(crate) fn forget_info(&self) {
        self.last_interval.store(i64::MIN, Ordering::Relaxed);
    }
}

impl Admission<'_> {
    /// The emitter of a resource; no resource is one without attributes.
    pub(crate) fn emitter(&mut self, resource: Option<&Resource>) -> Arc<Emitter> {
        let pairs = resource.map_or(&[][..], |resource| &resource.attributes);
        self.scratch.clear();
        self.scratch.extend(self.shared.tenant.0.to_le_bytes());
        value::write_key(&mut self.scratch, pairs);
        let key = self.shared.memory.hasher.hash(&self.scratch);
        if let Some(emitter) = self.shared.memory.emitters.find(key) {
            return emitter;
        }
        let emitter = Arc::new(self.make_emitter(key, pairs));
        self.shared.memory.emitters.insert(key, Arc::clone(&emitter));
        emitter
    }

    /// Likewise of a resource as it came over the wire. One that comes with the same bytes again is not decoded.
    pub(crate) fn emitter_of(
        &mut self,
        resource: Option<Message<'_>>,
    ) -> Result<Arc<Emitter>, Error> {
        let Some(resource) = resource else { return Ok(self.emitter(None)) };
        self.check_size(resource.bytes().len())?;
        self.scratch.clear();
        // Apart from the keys of decoded resources, which begin with a number of pairs.
        self.scratch.extend(u64::MAX.to_le_bytes());
        self.scratch.extend(self.shared.tenant.0.to_le_bytes());
        self.scratch.extend_from_slice(resource.bytes());
        let key = self.shared.memory.hasher.hash(&self.scratch);
        if let Some(emitter) = self.shared.memory.emitters.find(key) {
            return Ok(emitter);
        }
        let max = self.shared.config.attributes_max.saturating_mul(PAIRS_PER_KEPT);
        let attributes = any::owned_pairs(resource, max, &mut self.tally)?;
        let emitter = self.emitter(Some(&Resource { attributes, ..Resource::default() }));
        self.shared.memory.emitters.insert(key, Arc::clone(&emitter));
        Ok(emitter)
    }

    /// A resource is looked at whole and goes with every record, so it may be no larger than one.
    fn check_size(&self, bytes: usize) -> Result<(), Error> {
        let bytes_max = self.shared.config.record_bytes_max;
        if bytes > bytes_max {
            return Err(Error::TooLarge(format!(
                "a resource has {bytes} bytes, the limit is {bytes_max}; send less of it, or raise `record_bytes_max`"
            )));
        }
        Ok(())
    }

    /// The emitter of a `ResourceMetrics`, recognised by the bytes of its resource.
    pub(crate) fn emitter_of_metrics(
        &mut self,
        of_resource: Message<'_>,
    ) -> Result<Arc<Emitter>, Refusal> {
        self.scratch.clear();
        self.scratch.extend(RAW_RESOURCE);
        self.scratch.extend(self.shared.tenant.0.to_le_bytes());
        let start = self.scratch.len();
        for field in of_resource.fields() {
            let field = field?;
            if field.number == 1 {
                // Messages one after the other are one message: what a field that repeats means.
                self.check_size(self.scratch.len() + field.bytes()?.len())?;
                self.scratch.extend_from_slice(field.bytes()?);
            }
        }
        let key = self.shared.memory.hasher.hash(&self.scratch);
        if let Some(emitter) = self.shared.memory.emitters.find(key) {
            return Ok(emitter);
        }
        for field in of_resource.fields() {
            let field = field?;
            if field.number == 1 {
                shape::check(field.message()?, &shape::RESOURCE, shape::DEPTH_MAX - 2)?;
            }
        }
        let resource = Message::of_body(&self.scratch[start..]);
        let max = self.shared.config.attributes_max.saturating_mul(PAIRS_PER_KEPT);
        let attributes = any::owned_pairs(resource, max, &mut self.tally)?;
        let emitter = self.emitter(Some(&Resource { attributes, ..Resource::default() }));
        self.shared.memory.emitters.insert(key, Arc::clone(&emitter));
        Ok(emitter)
    }

    fn make_emitter(&mut self, key: u128, pairs: &[KeyValue]) -> Emitter {
        let config = self.shared.config;
        let kept = attributes::within_limits(pairs, config, &mut self.tally);
        let def = ResourceDef {
            attributes: kept.iter().filter_map(|pair| value::attribute(pair)).collect(),
        };
        let id = self.shared.registry.put_resource(self.shared.tenant, &def);
        let texts: Vec<(&str, String)> = kept
            .iter()
            .map(|pair| {
                (pair.key.as_str(), attributes::text(pair, config, &mut self.tally).into_owned())
            })
            .collect();
        let text = |key: &str| {
            let found = texts.iter().find(|(name, value)| *name == key && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        let identity = identity(&text);
        let promoted = promoted(config, &text);
        Emitter {
            id,
            key,
            target_info: target_info(config.translation_strategy, id, &texts, &identity),
            identity,
            promoted,
            last_interval: AtomicI64::new(i64::MIN),
            texts: TEXT_KEYS.map(|keys| keys.iter().find_map(|key| text(key))),
        }
    }
}

fn identity(text: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let mut out = Vec::new();
    if let Some(name) = text(semconv::SERVICE_NAME) {
        let job = match text(semconv::SERVICE_NAMESPACE) {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name,
        };
        out.push(("job".to_owned(), job));
    }
    if let Some(instance) = text(semconv::SERVICE_INSTANCE_ID) {
        out.push(("instance".to_owned(), instance));
    }
    out
}

fn promoted(config: &Config, text: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let keys = config.promote_resource_attributes.iter();
    let named = |key: &String| prometheus::label_name(config.translation_strategy, key);
    keys.filter_map(|key| text(key).map(|value| (named(key), value))).collect()
}

fn target_info(
    strategy: TranslationStrategy,
    resource_id: ResourceId,
    texts: &[(&str, String)],
    identity: &[(String, String)],
) -> Option<SeriesDef> {
    let others = texts.iter().filter(|(key, _)| !IDENTIFYING.contains(key));
    let others: Labels = others.map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    if others.is_empty() || identity.is_empty() {
        return None;
    }
    let (mut labels, _) = prometheus::translate(strategy, &others);
    labels.extend_from_slice(identity);
    Some(SeriesDef {
        metric: "target_info".to_owned(),
        labels: Labels::default(),
        resource_id,
        prom_name: "target_info".to_owned(),
        prom_labels: Labels::new(labels),
        kind: MetricKind::Gauge,
        temporality: Temporality::Unspecified,
        unit: String::new(),
        help: "Attributes of the resource, joined by job and instance".to_owned(),
    })
}

/// Builds the columns of logs and spans that come from the resource and the scope.
pub(crate) struct EmitterColumns {
    resource_id: Vec<u64>,
    texts: [Texts; columns::EMITTER_TEXTS.len()],
    scope_name: Texts,
    scope_version: Texts,
}

impl EmitterColumns {
    pub(crate) fn new() -> Self {
        Self {
            resource_id: Vec::new(),
            texts: std::array::from_fn(|_| Texts::new()),
            scope_name: Texts::new(),
            scope_version: Texts::new(),
        }
    }

    /// Adds `n` rows from row `first` on.
    pub(crate) fn push(
        &mut self,
        first: usize,
        n: usize,
        (emitter, scope): (&Emitter, &Scope<'_>),
    ) {
        if n == 0 {
            return;
        }
        self.resource_id.resize(first + n, emitter.id.0);
        let own = [(&mut self.scope_name, &scope.name), (&mut self.scope_version, &scope.version)];
        let own = own.into_iter().filter(|(_, text)| !text.is_empty());
        let texts = self.texts.iter_mut().zip(&emitter.texts);
        let texts = texts.filter_map(|(column, text)| Some((column, text.as_ref()?)));
        for (column, text) in texts.chain(own) {
            column.set_run(first, n, text);
        }
    }

    /// The columns of `rows` rows under their names.
    pub(crate) fn finish(self, rows: usize) -> Vec<(&'static str, ArrayRef)> {
        let mut out: Vec<(&'static str, ArrayRef)> = vec![
            (columns::RESOURCE_ID, Arc::new(UInt64Array::from(self.resource_id))),
            (columns::SCOPE_NAME, self.scope_name.finish(rows)),
            (columns::SCOPE_VERSION, self.scope_version.finish(rows)),
        ];
        for (name, column) in columns::EMITTER_TEXTS.into_iter().zip(self.texts) {
            out.push((name, column.finish(rows)));
        }
        out
    }
}
