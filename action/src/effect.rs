//! Whether what was changed got better by more than what was left alone: difference in differences, with a permutation
//! test over blocks of time (Card and Krueger 1994 for the former, Good 2005, chapter 3, for the latter). Pure.

use serde::{Deserialize, Serialize};

use crate::runbook::Better;

/// Blocks of time that each window is cut into, and how many of them must have data.
const BLOCKS: usize = 6;
const BLOCKS_MIN: usize = 3;
/// Most of the rearrangements that may look as good as what happened: one in twenty is what three blocks beside three can show.
const P_MAX: f64 = 0.1;
/// Share of rearrangements that the interval holds.
const INTERVAL: f64 = 0.9;

/// By how much it got better, beyond what was left alone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Effect {
    /// As a share of the value before; above 0 is better.
    pub change: f64,
    /// Where the change lies, nine times of ten: from.
    pub low: f64,
    /// To.
    pub high: f64,
    /// Share of rearrangements of the same blocks that look as good.
    pub p: f64,
    /// Means before and after, of what was changed.
    pub treated: (f64, f64),
    /// The same of what was left alone.
    pub control: (f64, f64),
    /// Blocks before and after.
    pub blocks: (usize, usize),
}

impl Effect {
    /// Whether it is at least `min` and not likely by chance.
    pub(crate) fn is_shown(&self, min: f64) -> bool {
        self.change >= min && self.p <= P_MAX
    }

    /// In one line for people.
    pub(crate) fn words(&self) -> String {
        let percent = |share: f64| share * 100.0;
        format!(
            "better by {:.0} % than what was left alone ({:.0} to {:.0} %, p {:.3}): {} -> {}, left alone {} -> {}",
            percent(self.change),
            percent(self.low),
            percent(self.high),
            self.p,
            short(self.treated.0),
            short(self.treated.1),
            short(self.control.0),
            short(self.control.1),
        )
    }
}

fn short(value: f64) -> String {
    format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Values over time: ms since the epoch, value.
pub(crate) type Values = Vec<(i64, f64)>;

/// A window, ms since the epoch: from, to.
pub(crate) type Window = (i64, i64);

/// Measures the effect on `treated` beside `control` between two windows. What was left alone is put to scale by what both
/// were before.
///
/// # Errors
/// Why that cannot be told: too little data, or nothing there that could get better.
pub(crate) fn measure(
    better: Better,
    (treated, control): (&Values, &Values),
    (before, after): (Window, Window),
) -> Result<Effect, String> {
    let means = |of: &Values| -> Result<(f64, f64), String> {
        let (old, new) = (mean(within(of, before)), mean(within(of, after)));
        old.zip(new).ok_or_else(|| "there is no data on both sides of the change".to_owned())
    };
    let (was, left) = (means(treated)?, means(control)?);
    if was.0 == 0.0 || !was.0.is_finite() {
        return Err("it was 0 before: there is nothing to be a share of".to_owned());
    }
    let scale = if left.0 == 0.0 { 1.0 } else { was.0 / left.0 };
    let differences: Values = treated
        .iter()
        .filter_map(|(at, value)| {
            let other = control.iter().find(|(t, _)| t == at)?.1;
            Some((*at, value - other * scale)).filter(|(_, d)| d.is_finite())
        })
        .collect();
    let (old, new) = (blocks(&differences, before), blocks(&differences, after));
    if old.len() < BLOCKS_MIN || new.len() < BLOCKS_MIN {
        let (a, b) = (old.len(), new.len());
        return Err(format!(
            "{a} stretches with data before and {b} after are too few, {BLOCKS_MIN} are needed"
        ));
    }
    let sign = match better {
        Better::Lower => -1.0,
        Better::Higher => 1.0,
    };
    let size = was.0.abs();
    let change = sign * (average(&new) - average(&old)) / size;
    let all: Vec<f64> = old.iter().chain(&new).copied().collect();
    let as_good = splits(&all, new.len()).map(|d| sign * d / size);
    let (n, n_good) = as_good.fold((0_u32, 0_u32), |(n, n_good), d| {
        (n + 1, n_good + u32::from(d >= change - 1e-9 * change.abs()))
    });
    let half = half_width(&old, &new) / size;
    Ok(Effect {
        change,
        low: change - half,
        high: change + half,
        p: f64::from(n_good) / f64::from(n.max(1)),
        treated: was,
        control: left,
        blocks: (old.len(), new.len()),
    })
}

/// Half the width of the interval: what rearranging the rest around both means makes of nothing.
fn half_width(old: &[f64], new: &[f64]) -> f64 {
    let rest = |of: &[f64]| -> Vec<f64> {
        let middle = average(of);
        of.iter().map(|value| value - middle).collect()
    };
    let noise: Vec<f64> = rest(old).into_iter().chain(rest(new)).collect();
    let mut sizes: Vec<f64> = splits(&noise, new.len()).map(f64::abs).collect();
    sizes.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 924 of them"
    )]
    let at = ((sizes.len() as f64 * INTERVAL) as usize).min(sizes.len().saturating_sub(1));
    sizes.get(at).copied().unwrap_or_default()
}

/// For every way to choose `n_new` of `all`: mean of the chosen less mean of the rest.
fn splits(all: &[f64], n_new: usize) -> impl Iterator<Item = f64> + '_ {
    let masks = 0..1_u32 << all.len().min(2 * BLOCKS);
    let fits = move |mask: &u32| mask.count_ones() as usize == n_new;
    masks.filter(fits).map(move |mask| {
        let side = |chosen: bool| {
            let some = all.iter().enumerate();
            let of: Vec<f64> =
                some.filter(|(i, _)| (mask >> i & 1 == 1) == chosen).map(|(_, v)| *v).collect();
            average(&of)
        };
        side(true) - side(false)
    })
}

/// Means of equal stretches of a window, without those that have no data.
fn blocks(values: &Values, (from, to): Window) -> Vec<f64> {
    let edge = |i: usize| {
        let (i, n) = (i64::try_from(i).unwrap_or(0), i64::try_from(BLOCKS).unwrap_or(1));
        from + (to - from) * i / n
    };
    let block = |i: usize| mean(within(values, (edge(i), edge(i + 1))));
    (0..BLOCKS).filter_map(block).collect()
}

/// Values from the beginning of a window up to its end, which is not of it.
fn within(values: &Values, (from, to): Window) -> impl Iterator<Item = f64> + '_ {
    values.iter().filter(move |(at, v)| (from..to).contains(at) && v.is_finite()).map(|(_, v)| *v)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| average(&values))
}

#[expect(clippy::cast_precision_loss, reason = "a count of samples")]
fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEFORE: Window = (0, 60_000);
    const AFTER: Window = (60_000, 120_000);

    /// One value a second; `of` knows the second.
    fn series(of: impl Fn(i64) -> f64) -> Values {
        (0..120).map(|s| (s * 1_000, of(s))).collect()
    }

    /// Small and never the same: sines of three periods.
    fn noise(s: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "two digits")]
        let s = s as f64;
        0.01 * ((s / 1.7).sin() + (s / 4.1).sin() + (s / 9.3).sin())
    }

    fn measured(treated: &Values, control: &Values) -> Result<Effect, String> {
        measure(Better::Lower, (treated, control), (BEFORE, AFTER))
    }

    #[test]
    fn what_only_the_changed_one_gained_is_its_effect() {
        let treated = series(|s| if s < 60 { 1.0 } else { 0.2 } + noise(s));
        let control = series(|s| 0.1 + noise(s + 31) / 10.0);
        let effect = measured(&treated, &control).unwrap();
        assert!((effect.change - 0.8).abs() < 0.05, "{effect:?}");
        assert!(effect.low < effect.change && effect.change < effect.high, "{effect:?}");
        assert!(effect.low > 0.7 && effect.p < 0.01 && effect.is_shown(0.2), "{effect:?}");
        assert!(effect.words().starts_with("better by 80 % than what was left alone"));
        // The other way round it is a loss of the same size.
        let worse = measure(Better::Higher, (&treated, &control), (BEFORE, AFTER)).unwrap();
        assert!((worse.change + effect.change).abs() < 1e-9 && !worse.is_shown(0.0), "{worse:?}");
    }

    #[test]
    fn what_got_better_everywhere_is_nobodys_effect() {
        // The load fell by four fifths, at another level beside it.
        let load = |s: i64| if s < 60 { 1.0 } else { 0.2 };
        let treated = series(|s| load(s) * (1.0 + noise(s)));
        let control = series(|s| 0.03 * load(s) * (1.0 + noise(s + 31)));
        let effect = measured(&treated, &control).unwrap();
        assert!(effect.change.abs() < 0.05 && !effect.is_shown(0.1), "{effect:?}");
    }

    #[test]
    fn too_little_data_tells_nothing() {
        let whole = series(|s| 1.0 + noise(s));
        let few: Values =
            whole.iter().filter(|(t, _)| *t < 60_000 || *t > 100_000).copied().collect();
        assert!(measured(&few, &whole).unwrap_err().contains("too few"));
        assert!(measured(&Values::new(), &whole).unwrap_err().contains("no data"));
        let gone = series(|s| if s < 60 { 0.0 } else { 1.0 });
        assert!(measured(&gone, &whole).unwrap_err().contains("0 before"));
        let nan = series(|_| f64::NAN);
        assert!(measured(&whole, &nan).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Chance is found to be an effect about as seldom as it says.
        #[test]
        fn chance_is_seldom_an_effect(seed in any::<u64>()) {
            let mut shown = 0;
            for round in 0..100_u64 {
                let mut x = seed ^ (round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let mut draw = || {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    #[expect(clippy::cast_precision_loss, reason = "a draw of 53 bits")]
                    let share = (x >> 11) as f64 / (1_u64 << 53) as f64;
                    1.0 + 0.2 * share
                };
                let (mut treated, mut control) = (Values::new(), Values::new());
                for s in 0..120 {
                    treated.push((s * 1_000, draw()));
                    control.push((s * 1_000, draw()));
                }
                let effect = measured(&treated, &control).unwrap();
                prop_assert!((0.0..=1.0).contains(&effect.p) && effect.low <= effect.high);
                shown += u32::from(effect.p <= P_MAX);
            }
            // 10 of 100 are to be expected; 30 are six standard deviations above.
            prop_assert!(shown < 30, "{shown}");
        }
    }
}
