//! Serde shapes for numbers that JSON cannot carry: 64-bit nanoseconds, and doubles that are not finite.

/// `i64` nanoseconds as decimal text, because a browser's numbers are exact only up to 2^53.
pub mod ns {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes decimal digits.
    ///
    /// # Errors
    /// When the serializer fails.
    pub fn serialize<S: Serializer>(ns: &i64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(ns)
    }

    /// Reads decimal digits.
    ///
    /// # Errors
    /// When the text is not an `i64`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom(format!("not nanoseconds: {text:?}")))
    }
}

/// A list of doubles: numbers, `"NaN"`, `"+Inf"`, `"-Inf"`, and `null` where there is no sample.
///
/// In memory the absent sample is the staleness marker ([`model::metric::STALE_NAN_BITS`]).
pub mod values {
    use std::fmt;

    use model::metric::{STALE_NAN_BITS, is_stale};
    use serde::de::{Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::{SerializeSeq, Serializer};
    use serde::{Deserialize, Serialize};

    struct Value(f64);

    impl Serialize for Value {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                v if is_stale(v) => to.serialize_none(),
                v if v.is_finite() => to.serialize_f64(v),
                v if v.is_nan() => to.serialize_str("NaN"),
                v if v > 0.0 => to.serialize_str("+Inf"),
                _ => to.serialize_str("-Inf"),
            }
        }
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Wire {
        Number(f64),
        Text(String),
        Absent,
    }

    impl<'de> Deserialize<'de> for Value {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            Ok(Self(match Wire::deserialize(from)? {
                Wire::Number(v) => v,
                Wire::Absent => f64::from_bits(STALE_NAN_BITS),
                Wire::Text(text) => match text.as_str() {
                    "NaN" => f64::NAN,
                    "+Inf" => f64::INFINITY,
                    "-Inf" => f64::NEG_INFINITY,
                    _ => return Err(D::Error::custom(format!("not a number: {text:?}"))),
                },
            }))
        }
    }

    /// Writes the list.
    ///
    /// # Errors
    /// When the serializer fails.
    pub fn serialize<S: Serializer>(values: &[f64], to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(values.len()))?;
        values.iter().try_for_each(|v| list.serialize_element(&Value(*v)))?;
        list.end()
    }

    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Vec<f64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of numbers, null, \"NaN\", \"+Inf\" or \"-Inf\"")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<f64>, A::Error> {
            let mut values = Vec::new();
            while let Some(Value(v)) = list.next_element()? {
                values.push(v);
            }
            Ok(values)
        }
    }

    /// Reads the list.
    ///
    /// # Errors
    /// When an element is none of the forms above.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
        from.deserialize_seq(List)
    }
}
