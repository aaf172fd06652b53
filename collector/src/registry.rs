//! What admission needs of the store: identities for series and resources. Two implementations: the store, and in
//! tests a table that remembers what it was asked.

use model::id::{ResourceId, TenantId};
use model::metric::SeriesDef;
use store::{Resolved, ResourceDef, Store};

/// Gives series and resources their identity.
pub(crate) trait Registry {
    /// The series; `Exhausted` when there are too many.
    fn resolve(&self, tenant: TenantId, def: &SeriesDef) -> Result<Resolved, store::Error>;

    /// The id of the resource, remembered with its attributes.
    fn put_resource(&self, tenant: TenantId, resource: &ResourceDef) -> ResourceId;
}

impl Registry for Store {
    fn resolve(&self, tenant: TenantId, def: &SeriesDef) -> Result<Resolved, store::Error> {
        Self::resolve(self, tenant, def)
    }

    fn put_resource(&self, tenant: TenantId, resource: &ResourceDef) -> ResourceId {
        Self::put_resource(self, tenant, resource)
    }
}
