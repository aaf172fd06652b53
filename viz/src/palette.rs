//! Colours of the two themes, and which series gets which.

use crate::painter::Ink;

/// Colours a palette has.
pub const SLOTS: usize = 20;

/// Slots at the front that differ in hue; the rest repeats their hues darker.
const HUES: usize = 10;

/// One theme: colours as `0xRRGGBB`. The same values stand in the dashboard's style sheet; a test compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Colours of series; neighbours are of different hue, each at least 3:1 against `surface`.
    pub series: [u32; SLOTS],
    /// Chart background.
    pub surface: u32,
    /// Text.
    pub text: u32,
    /// Axis labels.
    pub muted: u32,
    /// Grid lines.
    pub grid: u32,
    /// Frame and zero line.
    pub axis: u32,
    /// Well.
    pub ok: u32,
    /// Worse than it should be.
    pub warn: u32,
    /// Failed.
    pub error: u32,
    /// Selection and cursor.
    pub accent: u32,
}

/// For light surroundings.
pub const LIGHT: Theme = Theme {
    series: [
        0x0d7dd4, 0xc06408, 0x0e9254, 0xcf3f4c, 0x8254c4, 0x9e8406, 0x029393, 0xbf50a0, 0x649420,
        0x4a51c7, 0x065796, 0x8b4501, 0x086639, 0x952832, 0x5a368b, 0x725f02, 0x016869, 0x8a3672,
        0x466a12, 0x2e318a,
    ],
    surface: 0xffffff,
    text: 0x1b222c,
    muted: 0x5b6675,
    grid: 0xe8ebef,
    axis: 0xc9d0d9,
    ok: 0x0e8a50,
    warn: 0xb06a00,
    error: 0xc9303e,
    accent: 0x2d5fd0,
};

/// For dark surroundings.
pub const DARK: Theme = Theme {
    series: [
        0x56aafb, 0xf99f5d, 0x6fcf94, 0xf26f74, 0xb48cf5, 0xdfc769, 0x5fcbcb, 0xe981c9, 0xa1cf6f,
        0x7d8dfb, 0x4584c2, 0xc57f4e, 0x5ca577, 0xbb565a, 0x8c6ebe, 0xb4a15a, 0x51a2a1, 0xb6679d,
        0x82a65c, 0x5f6cbf,
    ],
    surface: 0x151a21,
    text: 0xe4e9f0,
    muted: 0x96a1b0,
    grid: 0x232a34,
    axis: 0x3a4452,
    ok: 0x4cc38a,
    warn: 0xe6a23c,
    error: 0xf2686f,
    accent: 0x7aa2f7,
};

impl Theme {
    /// The colour of `ink`; a slot beyond the palette wraps around.
    #[must_use]
    pub const fn color(&self, ink: Ink) -> u32 {
        match ink {
            Ink::Series(slot) => self.series[slot % SLOTS],
            Ink::Surface => self.surface,
            Ink::Text => self.text,
            Ink::Muted => self.muted,
            Ink::Grid => self.grid,
            Ink::Axis => self.axis,
            Ink::Ok => self.ok,
            Ink::Warn => self.warn,
            Ink::Error => self.error,
            Ink::Accent => self.accent,
        }
    }
}

/// A slot for each key: the same set of keys has the same colours for everybody, in any order.
///
/// Keys are taken in sorted order; each gets the slot of its hash, or the next free one. Up to ten keys share the first
/// ten slots, which are of ten hues; more use all twenty, and past twenty slots repeat.
#[must_use]
pub fn assign(keys: &[&str]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|i| keys[*i]);
    let n_distinct = order.chunk_by(|a, b| keys[*a] == keys[*b]).count();
    let n_slots = if n_distinct <= HUES { HUES } else { SLOTS };
    let mut slots = vec![0; keys.len()];
    let mut taken = [false; SLOTS];
    let mut last: Option<usize> = None;
    for i in order {
        if let Some(before) = last.filter(|before| keys[*before] == keys[i]) {
            slots[i] = slots[before];
            continue;
        }
        if taken[..n_slots].iter().all(|slot| *slot) {
            taken = [false; SLOTS];
        }
        let wanted = hash(keys[i]) % n_slots;
        let free = (0..n_slots).map(|n| (wanted + n) % n_slots).find(|slot| !taken[*slot]);
        slots[i] = free.unwrap_or(wanted);
        taken[slots[i]] = true;
        last = Some(i);
    }
    slots
}

/// FNV-1a, folded: small, stable for ever, and good enough to spread names.
fn hash(key: &str) -> usize {
    let hash = key
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    usize::try_from((hash ^ (hash >> 16)) & 0xffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(color: u32) -> f64 {
        let channel = |shift: u32| {
            let v = f64::from((color >> shift) & 0xff) / 255.0;
            if v <= 0.03928 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(16) + 0.7152 * channel(8) + 0.0722 * channel(0)
    }

    fn contrast(a: u32, b: u32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_color_stands_out_from_the_surface() {
        for theme in [LIGHT, DARK] {
            for color in theme.series {
                assert!(contrast(color, theme.surface) >= 3.0, "{color:06x}");
            }
            for text in [theme.text, theme.muted, theme.error, theme.ok, theme.accent] {
                assert!(contrast(text, theme.surface) >= 4.3, "{text:06x}");
            }
        }
    }

    #[test]
    fn the_style_sheet_has_the_same_colors() {
        let css = include_str!("../../ui/static/style.css");
        for theme in [LIGHT, DARK] {
            for (i, color) in theme.series.iter().enumerate() {
                let token = format!("--series-{}: #{color:06x};", i + 1);
                assert!(css.contains(&token), "{token}");
            }
            let named = [
                ("surface", theme.surface),
                ("text", theme.text),
                ("muted", theme.muted),
                ("grid", theme.grid),
                ("axis", theme.axis),
                ("ok", theme.ok),
                ("warn", theme.warn),
                ("error", theme.error),
                ("accent", theme.accent),
            ];
            for (name, color) in named {
                let token = format!("--{name}: #{color:06x};");
                assert!(css.contains(&token), "{token}");
            }
        }
    }

    #[test]
    fn colors_do_not_depend_on_order_and_do_not_collide() {
        let names = ["checkout", "cart", "payment", "inventory", "db", "frontend"];
        let slots = assign(&names);
        let mut reversed = names;
        reversed.reverse();
        let mut back = assign(&reversed);
        back.reverse();
        assert_eq!(slots, back);
        let mut distinct = slots;
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn equal_keys_share_a_color_and_many_keys_wrap_around() {
        let slots = assign(&["a", "b", "a"]);
        assert_eq!(slots[0], slots[2]);
        let names: Vec<String> = (0..45).map(|i| format!("s{i}")).collect();
        let keys: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(assign(&keys).iter().all(|slot| *slot < SLOTS));
    }
}
