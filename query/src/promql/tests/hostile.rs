//! Input that means harm: too long, too deep, too much.

use std::sync::Arc;

use super::super::duration::QueryTimes;
use super::super::eval::{EvalError, EvalOptions, Query, Stop, instant, range};
use super::super::source::{MemorySample, MemorySource};
use super::super::value::Reading;
use super::super::{Labels, parse};

#[test]
fn deep_nesting_is_an_error_and_not_an_overflow() {
    for text in [
        "(".repeat(1 << 20),
        "-".repeat(1 << 20),
        "x".to_owned() + &"[1m:]".repeat(200_000),
        "x".to_owned() + &"+x".repeat(500_000),
        "x".to_owned() + &"^x".repeat(500_000),
        "sum(".repeat(200_000) + "x",
        "x[".to_owned() + &"(".repeat(500_000),
        "x[1m".to_owned() + &"+1m".repeat(300_000) + "]",
    ] {
        let error = parse(&text).expect_err("it is too deep");
        assert!(error.message.contains("nested too deeply"), "{}", error.message);
    }
    let long = " ".repeat((1 << 20) + 1);
    assert!(parse(&long).expect_err("it is too long").message.contains("longer than"));
}

fn source(n_series: usize) -> MemorySource {
    let mut source = MemorySource::default();
    for i in 0..n_series {
        let labels = Labels::from_texts([("__name__", "x"), ("i", i.to_string().as_str())]);
        let samples = (0..100).map(|t| MemorySample {
            t_ms: t * 1_000,
            start_ms: 0,
            reading: Reading::Float(1.0),
        });
        source.insert(labels, samples);
    }
    source
}

#[test]
fn the_highest_tree_is_evaluated_without_an_overflow() {
    let text = "x".to_owned() + &" + x".repeat(490);
    let query = Query::parse(&text).expect("it is just not too deep");
    let answer = instant(&source(1), &query, 1_000, &EvalOptions::default()).expect("it adds up");
    assert!(format!("{:?}", answer.value).contains("491"));
    let text = "(".repeat(190) + "x" + &")".repeat(190);
    let query = Query::parse(&text).expect("it is just not too deep");
    instant(&source(1), &query, 1_000, &EvalOptions::default()).expect("it is x");
}

#[test]
fn label_values_that_grow_with_every_call_are_refused_before_they_are_made() {
    let mut join = r#"label_replace(vector(1),"a","xxxxxxxxxx","","")"#.to_owned();
    for _ in 0..6 {
        join = format!(r#"label_join({join},"a",""{})"#, r#","a""#.repeat(100));
    }
    let replace = format!(
        r#"label_replace(label_replace(vector(1),"a","{}","",""),"a","{}","a","(.*)")"#,
        "x".repeat(60_000),
        "$1".repeat(60_000)
    );
    for text in [join, replace] {
        let query = Query::parse(&text).expect("parses");
        let error = instant(&source(1), &query, 0, &EvalOptions::default()).unwrap_err();
        assert!(error.to_string().contains("the limit is 65536"), "{error}");
    }
}

#[test]
fn limits_are_errors_with_their_names() {
    let source = source(20);
    let query = Query::parse("sum(x)").expect("parses");
    let times = QueryTimes { start_ms: 0, end_ms: 99_000, step_ms: 1_000 };
    let run = |options: EvalOptions| range(&source, &query, times, &options).map(|_| ());
    let options = EvalOptions { max_samples: 1_000, ..EvalOptions::default() };
    let too_many = "query processing would load too many samples into memory in query execution";
    assert_eq!(run(options), Err(EvalError::Execution(too_many.to_owned())));
    let options = EvalOptions { max_cells: 20 * 100 - 1, ..EvalOptions::default() };
    for text in ["x", "sum(x)", "rate(x[5s])", "x smoothed", "rate(x[5s] anchored)"] {
        let query = Query::parse(text).expect("parses");
        let error = range(&source, &query, times, &options).map(|_| ());
        assert_eq!(error, Err(EvalError::Execution(too_many.to_owned())), "{text}");
    }
    let options = EvalOptions { max_series: 19, ..EvalOptions::default() };
    let text = "selector x matches more than 19 series";
    assert_eq!(run(options), Err(EvalError::Execution(text.to_owned())));
    assert_eq!(run(EvalOptions::default()), Ok(()));
    let endless = Query::parse("sum_over_time(x[100y:1ms])").expect("parses");
    let error = instant(&source, &endless, 0, &EvalOptions::default()).map(|_| ());
    assert_eq!(error, Err(EvalError::Execution(too_many.to_owned())));
    let stop = Arc::new(Stop::default());
    stop.cancel();
    let options = EvalOptions { stop: Arc::clone(&stop), ..EvalOptions::default() };
    assert_eq!(run(options.clone()), Err(EvalError::Canceled));
    stop.time_out();
    assert_eq!(run(options), Err(EvalError::Timeout));
}

#[test]
fn times_that_make_no_sense_are_bad_data() {
    let source = source(1);
    let query = Query::parse("x").expect("parses");
    for (start_ms, end_ms, step_ms, wanted) in [
        (1, 0, 1, "end timestamp must not be before start time"),
        (0, 1, 0, "zero or negative query resolution step widths"),
        (0, 11_001, 1, "exceeded maximum resolution of 11,000 points"),
        (i64::MIN, i64::MAX, 1, "exceeded maximum resolution"),
    ] {
        let times = QueryTimes { start_ms, end_ms, step_ms };
        match range(&source, &query, times, &EvalOptions::default()) {
            Err(EvalError::BadData(text)) => assert!(text.contains(wanted), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    for at in [i64::MIN, i64::MAX] {
        for text in [
            "x",
            "rate(x[1h] offset 5m)",
            "increase(x[1h] smoothed) + range()",
            "x smoothed offset -250y",
            "max_over_time(x[1h:5m] offset 250y)",
            "changes(x[250y] anchored)",
            "x @ 9e15 offset -250y",
            "day_of_year(timestamp(vector(time())))",
        ] {
            let query = Query::parse(text).expect("parses");
            instant(&source, &query, at, &EvalOptions::default()).expect("there is an answer");
        }
    }
}
