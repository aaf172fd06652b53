//! Answers of Prometheus' API, read to be compared.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

/// Values may differ by this share: servers add in different orders.
const TOLERANCE: f64 = 1e-9;

/// Series by their labels: times in ms and values.
pub(super) type Answer = BTreeMap<String, Vec<(i64, f64)>>;

/// The `data` of an instant or range query.
pub(super) fn read(data: &Value) -> Result<Answer> {
    let mut answer = Answer::new();
    for series in data["result"].as_array().context("no result")? {
        // `serde_json` keeps its objects sorted by key.
        let labels = series["metric"].to_string();
        let values = match series["values"].as_array() {
            Some(values) => values.iter().map(pair).collect::<Option<Vec<_>>>(),
            None => pair(&series["value"]).map(|value| vec![value]),
        };
        answer.insert(labels, values.context("no values")?);
    }
    Ok(answer)
}

fn pair(value: &Value) -> Option<(i64, f64)> {
    #[expect(clippy::cast_possible_truncation, reason = "a time of this century in ms")]
    let time_ms = (value[0].as_f64()? * 1e3).round() as i64;
    Some((time_ms, value[1].as_str()?.parse().ok()?))
}

/// How `ours` differs from `theirs`; `None` when it does not.
pub(super) fn difference(ours: &Answer, theirs: &Answer) -> Option<String> {
    if ours.len() != theirs.len() {
        return Some(format!("{} series against {}", ours.len(), theirs.len()));
    }
    for (labels, values) in ours {
        let Some(others) = theirs.get(labels) else { return Some(format!("no {labels}")) };
        if values.len() != others.len() {
            return Some(format!("{} values against {} of {labels}", values.len(), others.len()));
        }
        for (a, b) in values.iter().zip(others) {
            let is_near = (a.1 - b.1).abs() <= TOLERANCE * a.1.abs().max(b.1.abs());
            if a.0 != b.0 || !(is_near || a.1.to_bits() == b.1.to_bits()) {
                return Some(format!("{} at {} against {} at {}", a.1, a.0, b.1, b.0));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_compared_by_labels_times_and_values() {
        let data = |value: &str| json!({"result": [{"metric": {"b": "1", "a": "2"}, "value": [7.5, value]}]});
        let (one, near, far) = (
            read(&data("1")).unwrap(),
            read(&data("1.0000000000001")).unwrap(),
            read(&data("2")).unwrap(),
        );
        assert_eq!(one[r#"{"a":"2","b":"1"}"#], [(7_500, 1.0)]);
        assert_eq!(difference(&one, &near), None);
        assert!(difference(&one, &far).is_some());
        assert!(difference(&one, &Answer::new()).is_some());
    }
}
