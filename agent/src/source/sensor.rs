//! Temperatures, as `sysinfo` finds them under hwmon and the thermal zones.

use std::io;
use std::sync::Arc;

use sysinfo::Components;

use super::{Context, Pace, ROWS_MAX, Source};
use crate::kernel::Roots;
use crate::round::{Metric, Round, attr};

static TEMPERATURE: Metric = Metric::gauge("hw.temperature", "Cel", "Temperature of a component.");

/// Reads all sensors there were at start.
pub(crate) struct Sensors {
    components: Option<Components>,
    /// Id and name of each.
    names: Vec<(Arc<str>, Arc<str>)>,
}

impl Sensors {
    pub(crate) fn new(roots: &Roots) -> Self {
        // `sysinfo` knows only `/sys`: a fixture, or another host's tree, has no sensors for it.
        let ours = roots.sys("") == std::path::Path::new("/sys");
        let components = if ours { Components::new_with_refreshed_list().ok() } else { None };
        let names = components.iter().flat_map(|components| components.iter()).map(|component| {
            let label: Arc<str> = component.label().into();
            (component.id().map_or_else(|| Arc::clone(&label), Arc::from), label)
        });
        Self { names: names.take(ROWS_MAX).collect(), components }
    }
}

impl Source for Sensors {
    fn name(&self) -> &'static str {
        "sensors"
    }

    fn pace(&self) -> Pace {
        Pace::Storage
    }

    fn sample(&mut self, _: &mut Context, round: &mut Round) -> io::Result<()> {
        let components = self.components.iter_mut().flat_map(|components| components.iter_mut());
        for (component, (id, name)) in components.zip(&self.names) {
            component.refresh();
            if let Some(celsius) = component.temperature().filter(|t| t.is_finite()) {
                let attributes = [attr("hw.id", id), attr("hw.name", name)];
                round.record(&TEMPERATURE, attributes, f64::from(celsius));
            }
        }
        if self.names.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }
}
