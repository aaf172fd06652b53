//! What SQL sees: the tables of one snapshot. Called once for each query.
//!
//! Fixed tables have a name each; beside them every metric is a table of its own, named as the metric.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    SchemaProvider, TableProvider,
};
use datafusion::error::{DataFusionError, Result};
use model::id::TenantId;
use model::matcher::{MatchOp, Matcher};
use model::time::TimeRange;
use store::scan::{ScanLimit, TakeBytes};
use store::schema::Table;
use store::{Kinds, Series, Snapshot};

use crate::runtime::QueryMemory;

mod column;
mod describe;
mod dimension;
mod fold;
mod needle;
mod promoted;
mod scan;
mod table;
mod translate;

pub(crate) use dimension::text as attribute_text;

/// Name of the only catalog.
pub(crate) const CATALOG: &str = "headrope";
/// Name of the only schema beside `information_schema`.
pub(crate) const SCHEMA: &str = "public";

/// One version of the store as one tenant sees it.
pub(crate) struct View {
    /// The version: the same for every table of a query.
    pub snapshot: Arc<Snapshot>,
    /// Whose data.
    pub tenant: TenantId,
    /// Whose memory selections and copies are.
    memory: OnceLock<Arc<QueryMemory>>,
    /// What answers lack.
    missing: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl View {
    pub(crate) fn new(snapshot: Arc<Snapshot>, tenant: TenantId) -> Self {
        Self { snapshot, tenant, memory: OnceLock::new(), missing: Mutex::default() }
    }

    /// From now on what is selected and copied counts as `memory`; only the first time matters.
    pub(crate) fn count_as(&self, memory: &Arc<QueryMemory>) {
        self.memory.get_or_init(|| Arc::clone(memory));
    }

    /// What a scan may take.
    pub(crate) fn limit(&self) -> ScanLimit {
        let take = self.memory.get().map(|memory| {
            let memory = Arc::clone(memory);
            Arc::new(move |bytes| memory.grow(bytes)) as TakeBytes
        });
        ScanLimit { take, ..ScanLimit::default() }
    }

    /// Notes that rows of `table` in `range` are read, some of which may be in quarantine.
    pub(crate) fn note_missing(&self, table: Table, range: TimeRange) {
        let missing = self.snapshot.missing(self.tenant, table, range);
        if !missing.is_empty() {
            let mut known = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            known.extend(missing.iter().map(ToString::to_string));
        }
    }

    /// A sentence for each stretch of rows that answers lack.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Series of the metric with this native or Prometheus name.
    pub(crate) fn series_of(&self, metric: &str) -> Result<Vec<Arc<Series>>> {
        self.select(&[Matcher::new("__name__", MatchOp::Equal, metric)])
    }

    /// Series that satisfy all `matchers`.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Result<Vec<Arc<Series>>> {
        self.select_in(matchers, TimeRange::ALL)
            .map_err(|error| DataFusionError::External(Box::new(crate::Error::from(error))))
    }

    /// Likewise those that had rows on a day of `range`.
    pub(crate) fn select_in(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> std::result::Result<Vec<Arc<Series>>, store::Error> {
        self.select_kinds(matchers, range, Kinds::All)
    }

    /// Likewise of some kinds alone.
    pub(crate) fn select_kinds(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        kinds: Kinds,
    ) -> std::result::Result<Vec<Arc<Series>>, store::Error> {
        self.snapshot.select_in(self.tenant, matchers, (range, kinds), &self.limit())
    }
}

/// The catalogs of a query over `view`.
pub(crate) fn catalogs(view: Arc<View>) -> Result<Arc<dyn CatalogProviderList>> {
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, Arc::new(Tables { view }))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok(Arc::new(catalogs))
}

/// The tables, made when a query names them.
#[derive(Debug)]
struct Tables {
    view: Arc<View>,
}

impl Tables {
    fn find(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = describe::fixed(name, &self.view) {
            return Ok(Some(table?));
        }
        let series = self.view.series_of(name)?;
        if series.is_empty() {
            return Ok(None);
        }
        Ok(Some(describe::metric(&self.view, series)))
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        let metrics: BTreeSet<String> = self
            .view
            .select(&[])
            .unwrap_or_default()
            .iter()
            .map(|series| series.def.metric.clone())
            .collect();
        let fixed = describe::FIXED.iter().map(|name| (*name).to_owned());
        fixed.chain(metrics).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.find(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|table| table.is_some())
    }
}
