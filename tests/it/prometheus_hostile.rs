//! Hostile questions to the Prometheus API: each is refused, or answered, in bounded time and memory, and in words.

use load::proto::{bytes, integer, message};
use serde_json::Value;

use crate::server::{Home, Server, percent};

/// The memory the server may take.
const MEMORY: &str = "512MiB";
const MEMORY_BYTES: f64 = 512.0 * 1_048_576.0;

/// Status and error type of a POST, or of an answer of plain text its first words.
async fn post(server: &Server, path: &str, form: String) -> (u16, String) {
    let request = server.client.post(server.url(path));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer = match request.send().await {
        Ok(answer) => answer,
        // A server that has read enough hangs up, perhaps before this client has read why.
        Err(error) if error.is_request() => return (413, "longer than it reads".to_owned()),
        Err(error) => panic!("{path}: {error:?}"),
    };
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    let json: Option<Value> = serde_json::from_str(&text).ok();
    let error = json.and_then(|json| json["error"].as_str().map(str::to_owned)).unwrap_or(text);
    assert!(status == 200 || error.len() < 2_000, "{path}: an error of {} bytes", error.len());
    (status, error)
}

fn expressions() -> Vec<(&'static str, String)> {
    let wide = |inner: &str, n: usize| vec![inner; n].join(",");
    vec![
        ("parentheses", "(".repeat(1_000_000)),
        ("nesting", format!("{}1{}", "(".repeat(400_000), ")".repeat(400_000))),
        ("calls", format!("{}x{}", "abs(".repeat(150_000), ")".repeat(150_000))),
        ("a chain", format!("1{}", "+1".repeat(400_000))),
        ("powers", format!("1{}", "^1".repeat(400_000))),
        ("signs", format!("{}1", "-".repeat(900_000))),
        ("brackets", format!("x{}", "[1m:1m]".repeat(100_000))),
        ("durations", format!("x[{}1s{}]", "(".repeat(300_000), ")".repeat(300_000))),
        ("a string without end", format!("\"{}", "a".repeat(900_000))),
        ("broken text", "\u{fffd}".repeat(100_000)),
        ("nul", "up\0".to_owned()),
        ("a huge number", "9".repeat(500_000) + "m"),
        ("a huge range", "rate(up[99999999999999999y])".to_owned()),
        ("a huge regex", format!("{{a=~\"{}\"}}", "(x|y)*".repeat(30_000))),
        ("a regex that explodes", "{a=~\"((a{100}){100}){100}\"}".to_owned()),
        ("nested subqueries", {
            let inner = "max_over_time(vector(1)[100y:1ms])";
            format!("max_over_time({inner}[100y:1ms])")
        }),
        ("an eager subquery", "count_over_time(vector(1)[290y:1ms])".to_owned()),
        ("labels", format!("sum by ({}) (", wide("a", 200_000))),
        ("many arguments", format!("label_join(up, {})", wide("\"a\"", 100_000))),
    ]
}

#[tokio::test]
async fn hostile_questions_end_soon_in_words() {
    let home = Home::new();
    let config = format!("memory_limit = \"{MEMORY}\"\n[query]\ntimeout = \"5s\"\n");
    let server = home.start(&config).await;
    for (what, expr) in expressions() {
        let form =
            format!("query={}", if expr.len() > 300_000 { expr.clone() } else { percent(&expr) });
        for path in ["/api/v1/query", "/api/v1/parse_query", "/api/v1/query_exemplars"] {
            let (status, error) = post(&server, path, form.clone()).await;
            // Long, but nothing is wrong with it; or wrong only once it is evaluated.
            let is_sound = what == "many arguments" || path != "/api/v1/query";
            assert!(
                (is_sound && status == 200) || matches!(status, 400 | 413 | 422 | 503),
                "{what}: {path}: {status} {error}"
            );
        }
    }
    let many = |name: &str, n: usize| {
        (0..n).map(|i| format!("{name}={{a%3D\"{i}\"}}")).collect::<Vec<_>>().join("&")
    };
    let regexes = |n: usize| {
        let each = |i| format!("l{i}=~\"[a-z]{{50}}\"");
        percent(&format!("{{{}}}", (0..n).map(each).collect::<Vec<_>>().join(",")))
    };
    let broken = "query=%FF%FE&time=%80";
    let steps = |more: &str| format!("query=up&{more}");
    for (path, form, wanted) in [
        ("/api/v1/series", many("match[]", 40_000), "the limit is 1000"),
        ("/api/v1/labels", many("match[]", 40_000), "the limit is 1000"),
        ("/api/v1/series", many("match[]", 1_000_000), "longer than"),
        ("/api/v1/series", format!("match[]={}", regexes(101)), "the limit is 100"),
        ("/api/v1/labels", format!("match[]={}", regexes(101)), "the limit is 100"),
        (
            "/api/v1/parse_query",
            format!("query={}", [&*regexes(60); 20].join("%2B")),
            "the limit is 1000",
        ),
        ("/api/v1/search/metric_names", many("search[]", 40_000), "the limit is 20"),
        (
            "/api/v1/search/label_names",
            format!("fuzz_alg=jarowinkler&search[]={}", "x".repeat(900_000)),
            "a term of 900000 bytes, the limit is 256",
        ),
        ("/api/v1/query", broken.to_owned(), "invalid parameter \"time\""),
        ("/api/v1/query_range", steps("start=0&end=1e9&step=1"), "11,000 points"),
        ("/api/v1/query_range", steps("start=0&end=31536000&step=1ms"), "11,000 points"),
        ("/api/v1/query_range", steps("start=-9e15&end=9e15&step=0.001"), "11,000 points"),
        ("/api/v1/query_range", steps("start=0&end=1&step=NaN"), "to a valid duration"),
        ("/api/v1/query_range", steps("start=0&end=1&step=-1"), "zero or negative"),
        ("/api/v1/query_range", steps("start=1e300&end=1&step=1"), "to a valid timestamp"),
        (
            "/api/v1/query_range",
            steps("start=1970-01-01T00:00:00.éé&end=1&step=1"),
            "to a valid timestamp",
        ),
        ("/api/v1/query", steps("limit=99999999999999999999"), "cannot parse"),
        ("/api/v1/query", "x".repeat(2_000_000), "longer than"),
    ] {
        let (status, error) = post(&server, path, form).await;
        let is_refused = status == 400 || status == 413;
        assert!(is_refused && error.contains(wanted), "{path}: {status} {error}");
    }
    filters(&server, many("match[]", 101)).await;
    read(&server).await;
    // Nothing of it is left: neither work nor memory.
    assert_eq!(server.get("/api/headrope/v1/queries").await["queries"], serde_json::json!([]));
    assert_eq!(server.promql("vector(1)").await, [1.0]);
    let metrics = server.client.get(server.url("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let resident = metrics.lines().find_map(|l| l.strip_prefix("process_resident_memory_bytes "));
    let resident: f64 = resident.unwrap().parse().unwrap();
    assert!(resident < MEMORY_BYTES, "{resident} bytes");
    server.stop().await;
}

/// More conditions than are kept compiled.
async fn filters(server: &Server, selectors: String) {
    let filters = vec!["filter=a%3D0"; 101].join("&");
    for (path, asked) in [("/api/v1/rules", selectors), ("/api/v2/alerts", filters)] {
        let url = server.url(&format!("{path}?{asked}"));
        let answer = server.client.get(url).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        let is_refused = status == 400 && text.contains("101 matchers, the limit is 100");
        assert!(is_refused, "{path}: {status} {text}");
    }
}

/// A remote read of so many regular expressions that are short and large once compiled.
fn expressions_of_a_read(n: usize) -> Vec<u8> {
    let matcher = |out: &mut Vec<u8>| {
        integer(out, 1, 2);
        bytes(out, 2, b"a");
        bytes(out, 3, br"\pL{150}");
    };
    let mut out = Vec::new();
    message(&mut out, 1, |query| (0..n).for_each(|_| message(query, 3, matcher)));
    out
}

/// Bodies of remote read that are no snappy, promise too much, or are no message.
async fn read(server: &Server) {
    let snappy = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    let promise = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    for (body, wanted) in [
        (b"no snappy".to_vec(), "snappy"),
        (promise.to_vec(), "unpacked"),
        (snappy(&[0xff; 64]), "no ReadRequest"),
        (snappy(&[0x0a, 0x00].repeat(1_000)), "1000 queries in one request, the limit is 10"),
        (snappy(&expressions_of_a_read(2_000)), "2000 matchers, the limit is 100"),
        (snappy(&expressions_of_a_read(1)), "exceeds size limit"),
        (snappy(&vec![0x0a; 9 << 20]), "unpacked"),
    ] {
        let answer =
            server.client.post(server.url("/api/v1/read")).body(body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        let is_refused = status == 400 || status == 422;
        assert!(is_refused && text.contains(wanted), "{status} {text}, not {wanted}");
    }
}
