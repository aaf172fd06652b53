//! `memory_limit` holds under everything at once: many new series, bursts of logs and spans, PromQL and SQL without a pause.
//! The half hour of it is `cargo xtask bench soak`.

use std::time::Duration;

use load::step::Setting;
use load::step::soak::{Soak, soak};

use crate::server::program;

const LIMIT_MIB: u64 = 512;

#[test]
fn a_server_stays_below_its_memory_limit_and_refuses_with_a_pause() {
    let dir = tempfile::tempdir().unwrap();
    let setting =
        Setting { headrope: program(), dir: dir.path().to_owned(), is_quick: true, is_alone: true };
    let what = Soak { series: 50_000, time: Duration::from_secs(15), limit_mib: LIMIT_MIB };
    // A refusal without `Retry-After`, or an answer that is neither one nor a refusal, is an error.
    let outcome = soak(&setting, what).unwrap();
    println!("{outcome:?}");
    let limit = LIMIT_MIB << 20;
    assert!(outcome.peak < limit, "{} bytes resident of {limit}", outcome.peak);
    let [samples, records, spans] = outcome.items;
    assert!(samples >= 50_000 && records > 0 && spans > 0 && outcome.answered > 0, "{outcome:?}");
}
