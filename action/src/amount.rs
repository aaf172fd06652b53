//! Small quantities of runbooks as people write them: shares such as `25%`, budgets such as `2/1h`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::duration;

/// A share of a whole, from 0 to 1: `25%` or `0.25`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(pub f64);

impl Share {
    fn parse(text: &str) -> Option<f64> {
        match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().ok().map(|n| n / 100.0),
            None => text.trim().parse().ok(),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        let number = value.as_f64().or_else(|| value.as_str().and_then(Self::parse));
        let share = number.filter(|n| (0.0..=1.0).contains(n)).map(Self);
        share.ok_or_else(|| D::Error::custom(format!("{value} is no share: write 25% or 0.25")))
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0)
    }
}

/// So many in so long: `2/1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many.
    pub count: usize,
    /// In how long.
    pub per: Duration,
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let parts = text.split_once('/').and_then(|(count, per)| {
            Some(Self { count: count.trim().parse().ok()?, per: duration::parse(per.trim()).ok()? })
        });
        parts.ok_or_else(|| D::Error::custom(format!("\"{text}\" is no budget: write 2/1h")))
    }
}

impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{}/{}", self.count, duration::text(self.per)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        let share = |text: &str| serde_json::from_str::<Share>(text);
        assert_eq!(share("\"25%\"").unwrap(), Share(0.25));
        assert_eq!(share("0.4").unwrap(), Share(0.4));
        for bad in ["\"x%\"", "1.5", "-0.1", "\"120%\"", "null"] {
            assert!(share(bad).unwrap_err().to_string().contains("no share"), "{bad}");
        }
        let budget: Budget = serde_json::from_str("\"2/1h\"").unwrap();
        assert_eq!(budget, Budget { count: 2, per: Duration::from_secs(3_600) });
        assert_eq!(serde_json::to_string(&budget).unwrap(), "\"2/1h\"");
        assert!(serde_json::from_str::<Budget>("\"2\"").is_err());
    }
}
