//! Which request of which agent this is. A collector that keeps count of them takes a repeat in only once
//! (`docs/format/otlp.md`); others ignore the header.

use std::sync::atomic::{AtomicU64, Ordering};

use ::http::HeaderValue;
use model::time::Timestamp;

/// Header and metadata key.
pub(super) const HEADER: &str = "headrope-delivery";

/// Lives begun in this process: a clock that stands still must not give two the same epoch.
static LIVES: AtomicU64 = AtomicU64::new(0);

/// One life of an agent, and how many requests it has made.
#[derive(Clone, Debug)]
pub(crate) struct Deliveries {
    agent: u128,
    epoch: u64,
    seq: u64,
}

impl Deliveries {
    /// A new life of the agent on the host `host_id`. `boot_id` differs from boot to boot where the clock may not.
    pub(crate) fn begin(host_id: &str, boot_id: &str, now: Timestamp) -> Self {
        let life = LIVES.fetch_add(1, Ordering::Relaxed);
        let moment = format!("{boot_id} {} {life} {}", std::process::id(), now.0);
        // The lower half of the hash is as good as any.
        let epoch = u64::try_from(hash(moment.as_bytes()) & u128::from(u64::MAX)).unwrap_or(0);
        Self { agent: hash(host_id.as_bytes()), epoch, seq: 0 }
    }

    /// A number that differs between lives.
    pub(crate) fn seed(&self) -> u64 {
        self.epoch
    }

    /// The name of the next request, which every repeat of it carries too.
    pub(super) fn next(&mut self) -> HeaderValue {
        self.seq += 1;
        let name = format!("{:032x}-{:016x}-{}", self.agent, self.epoch, self.seq);
        HeaderValue::from_str(&name).expect("hexadecimal digits, dashes and a number")
    }
}

/// FNV-1a with 128 bits.
fn hash(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_counts_its_requests_and_shares_its_epoch_with_no_other() {
        let begin = || Deliveries::begin("host", "boot", Timestamp(7));
        let (mut first, mut second) = (begin(), begin());
        let names = [first.next(), first.next(), second.next()];
        let parts = |name: &HeaderValue| {
            let text = name.to_str().expect("text").to_owned();
            let parts: Vec<String> = text.split('-').map(str::to_owned).collect();
            assert_eq!((parts[0].len(), parts[1].len()), (32, 16), "{text}");
            (parts[0].clone(), parts[1].clone(), parts[2].clone())
        };
        let [one, two, other] = names.each_ref().map(parts);
        assert_eq!((&one.0, &one.1), (&two.0, &two.1));
        assert_eq!((&*one.2, &*two.2, &*other.2), ("1", "2", "1"));
        assert_eq!(one.0, other.0, "the same host");
        assert_ne!(one.1, other.1, "another life");
    }
}
