//! `headrope query`: asks a running server over its public API and prints the answer.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::range::Moment;
use api::sql::SqlAnswer;
use clap::{Args, ValueEnum};
use model::time::Timestamp;
use serde_json::{Value, json};

use super::chart;
use super::files::caret;
use super::say;
use super::table::Table;
use crate::clock;

/// What to ask, of whom, and how to print it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "clap's flags, of which one may be given")]
pub(crate) struct QueryArgs {
    /// The query; with --trace the trace id
    expr: String,
    /// PromQL (the default)
    #[arg(long, group = "language")]
    promql: bool,
    /// SQL
    #[arg(long, group = "language")]
    sql: bool,
    /// Search log records: words, "phrases", field:value
    #[arg(long, group = "language")]
    logs: bool,
    /// Show one trace
    #[arg(long, group = "language")]
    trace: bool,
    /// Start: now-1h, 2026-11-23T10:00:00Z or an epoch number; makes a PromQL query a range query
    #[arg(long)]
    start: Option<String>,
    /// End [default: now]; the evaluation time of an instant query
    #[arg(long)]
    end: Option<String>,
    /// Distance of points of a range query: 15s, 1m or seconds [default: 1/250 of the range]
    #[arg(long)]
    step: Option<String>,
    /// Rows at most (logs)
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Form of the output; arrow (an IPC stream) only with --sql [default: chart for a PromQL range query in a terminal,
    /// else table]
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    /// Columns of a chart
    #[arg(long, default_value_t = 80, env = "COLUMNS")]
    width: usize,
    #[command(flatten)]
    server: ServerArgs,
}

/// Whom to ask.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Address of the server
    #[arg(
        long,
        default_value = "http://127.0.0.1:7300",
        env = "HEADROPE_SERVER",
        value_name = "URL"
    )]
    server: String,
    /// Give up after this many seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

const EXAMPLES: &str = "\
Examples:
  headrope query 'system_cpu_load_average_1m'
  headrope query 'rate(system_network_io_bytes_total[1m])' --start now-15m
  headrope query 'rate(system_network_io_bytes_total[1m])' --start now-15m --step 15s -o csv
  headrope query --sql 'SELECT * FROM spans ORDER BY duration DESC LIMIT 10'
  headrope query --logs 'level:error \"connection refused\"' --start now-1h
  headrope query --trace 4bf92f3577b34da6a3ce929d0e0e4736";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Aligned columns
    Table,
    /// Lines drawn in the terminal: PromQL with --start
    Chart,
    /// The server's JSON
    Json,
    /// Comma-separated values
    Csv,
    /// Arrow IPC stream
    Arrow,
}

/// Asks and prints.
///
/// # Errors
/// When the server cannot be reached or refuses the query.
pub(crate) async fn query(args: &QueryArgs) -> Result<()> {
    let server = Server::new(&args.server)?;
    if args.sql {
        return sql(&server, args).await;
    }
    let is_range = !args.logs && !args.trace && args.start.is_some();
    let is_terminal = std::io::stdout().is_terminal();
    let default = if is_range && is_terminal { Output::Chart } else { Output::Table };
    let output = args.output.unwrap_or(default);
    match output {
        Output::Arrow => bail!("-o arrow goes with --sql only"),
        Output::Chart if !is_range => bail!("-o chart goes with PromQL and --start only"),
        Output::Chart | Output::Table | Output::Json | Output::Csv => {}
    }
    let (answer, table): (Value, fn(&Value) -> Table) = if args.logs {
        (logs(&server, args).await?, log_table)
    } else if args.trace {
        (server.get(&format!("/api/headrope/v1/trace/{}", args.expr), &[]).await?, trace_table)
    } else {
        (promql(&server, args).await?, promql_table)
    };
    match output {
        Output::Json => say(&serde_json::to_string_pretty(&answer)?),
        Output::Csv => say(&table(&answer).csv()),
        Output::Chart => {
            let lines = chart::lines(&answer, series_name);
            match chart::draw(&lines, args.width, is_terminal) {
                // Colours are control characters, which `say` would show; of names the chart shows them as well.
                Some(drawn) => std::io::stdout()
                    .lock()
                    .write_all(drawn.as_bytes())
                    .context("cannot write to standard output"),
                None => say("no samples in this range"),
            }
        }
        Output::Table | Output::Arrow => say(&table(&answer).aligned()),
    }
}

/// A running server.
pub(super) struct Server {
    client: reqwest::Client,
    url: String,
}

impl Server {
    pub(super) fn new(args: &ServerArgs) -> Result<Self> {
        super::super::wire::crypto();
        let client =
            reqwest::Client::builder().timeout(Duration::from_secs(args.timeout)).build()?;
        Ok(Self { client, url: args.server.trim_end_matches('/').to_owned() })
    }

    pub(super) async fn get(&self, path: &str, params: &[(&str, String)]) -> Result<Value> {
        let url = format!("{}{path}?{}", self.url, encode(params));
        let body = self.send(self.client.get(url)).await?;
        serde_json::from_slice(&body).context("the server's answer is no JSON")
    }

    pub(super) async fn post(
        &self,
        path: &str,
        body: &Value,
        accept: &'static str,
    ) -> Result<Vec<u8>> {
        let request = self.client.post(format!("{}{path}", self.url)).json(body);
        self.send(request.header("accept", accept)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        self.send(self.client.delete(format!("{}{path}", self.url))).await.map(drop)
    }

    /// The body of a 2xx answer; the server's own words otherwise.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>> {
        let unreachable =
            || format!("cannot ask {}; is `headrope` running? --server names another", self.url);
        let answer = request.send().await.with_context(unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.with_context(unreachable)?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        let own = told["error"]["message"].as_str().or(told["error"].as_str());
        let words = own.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
        let place = match (&told["error"]["position"]["line"], &told["error"]["position"]["column"])
        {
            (Value::Number(line), Value::Number(column)) => format!("{line}:{column}: "),
            _ => String::new(),
        };
        let hint = told["error"]["hint"].as_str().map_or(String::new(), |hint| format!("; {hint}"));
        bail!("{place}{words}{hint} (HTTP {})", status.as_u16())
    }
}

fn encode(params: &[(&str, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish()
}

/// The instant a word of the command line means, in ms since the epoch, in UTC.
pub(super) fn moment(text: Option<&str>, default: &str) -> Result<i64> {
    let text = text.unwrap_or(default);
    let moment: Moment = text.parse().map_err(|error| anyhow::anyhow!("`{text}`: {error}"))?;
    Ok(moment.resolve(clock::system().now().ms(), 0))
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

async fn promql(server: &Server, args: &QueryArgs) -> Result<Value> {
    // Told here, where there is room to point at the place.
    if let Err(error) = query::promql::parse(&args.expr) {
        bail!("{error}\n{}", caret(&args.expr, error.place.start));
    }
    let end = moment(args.end.as_deref(), "now")?;
    let Some(start) = &args.start else {
        let params = [("query", args.expr.clone()), ("time", seconds(end))];
        return server.get("/api/v1/query", &params).await;
    };
    let start = moment(Some(start), "now")?;
    let step = args.step.clone().unwrap_or_else(|| ((end - start) / 250_000).max(1).to_string());
    let params = [
        ("query", args.expr.clone()),
        ("start", seconds(start)),
        ("end", seconds(end)),
        ("step", step),
    ];
    server.get("/api/v1/query_range", &params).await
}

fn promql_table(answer: &Value) -> Table {
    let mut table = Table::new(["series", "time", "value"]);
    let data = &answer["data"];
    let time = |point: &Value| {
        #[expect(clippy::cast_possible_truncation, reason = "Prometheus' times are whole ms")]
        let ms = (point[0].as_f64().unwrap_or(0.0) * 1e3).round() as i64;
        Timestamp::from_ms(ms).to_string().replace("000000Z", "Z")
    };
    if let Some("scalar" | "string") = data["resultType"].as_str() {
        let value = data["result"][1].as_str().unwrap_or_default();
        table.rows.push(vec![String::new(), time(&data["result"]), value.to_owned()]);
    }
    for series in data["result"].as_array().into_iter().flatten().filter(|s| s.is_object()) {
        let name = series_name(&series["metric"]);
        let one = [&series["value"], &series["histogram"]].into_iter().filter(|v| v.is_array());
        let many =
            [&series["values"], &series["histograms"]].into_iter().filter_map(Value::as_array);
        for point in one.chain(many.flatten()) {
            let value = point[1].as_str().map_or_else(|| point[1].to_string(), str::to_owned);
            table.rows.push(vec![name.clone(), time(point), value]);
        }
    }
    table
}

fn series_name(labels: &Value) -> String {
    let labels = labels.as_object().cloned().unwrap_or_default();
    let name = labels.get("__name__").and_then(Value::as_str).unwrap_or_default();
    let rest = labels.iter().filter(|(key, _)| *key != "__name__");
    let rest: Vec<String> = rest.map(|(key, value)| format!("{key}={value}")).collect();
    if rest.is_empty() && !name.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", rest.join(", "))
    }
}

async fn sql(server: &Server, args: &QueryArgs) -> Result<()> {
    let output = args.output.unwrap_or(Output::Table);
    let accept = match output {
        Output::Arrow => "application/vnd.apache.arrow.stream",
        Output::Csv => "text/csv",
        Output::Table | Output::Json | Output::Chart => "application/json",
    };
    let body = server.post("/api/headrope/v1/sql", &json!({"query": args.expr}), accept).await?;
    match output {
        Output::Arrow => {
            std::io::stdout().lock().write_all(&body).context("cannot write to standard output")
        }
        Output::Csv | Output::Json => say(&String::from_utf8_lossy(&body)),
        Output::Table | Output::Chart => {
            let answer: SqlAnswer = serde_json::from_slice(&body).context("unexpected answer")?;
            let cell = |value: &Value| match value {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            let table = Table {
                columns: answer.columns.iter().map(|column| column.name.clone()).collect(),
                rows: answer.rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
            };
            say(&table.aligned())?;
            let more = if answer.truncated { ", more were cut" } else { "" };
            let n_rows = answer.rows.len();
            super::warn(&format!("{n_rows} rows{more}, {:.1} ms", answer.stats.elapsed_ms));
            Ok(())
        }
    }
}

async fn logs(server: &Server, args: &QueryArgs) -> Result<Value> {
    let body = json!({
        "query": args.expr,
        "from_ms": moment(args.start.as_deref(), "now-1h")?,
        "to_ms": moment(args.end.as_deref(), "now")?,
        "limit": args.limit,
    });
    let answer = server.post("/api/headrope/v1/logs", &body, "application/json").await?;
    serde_json::from_slice(&answer).context("the server's answer is no JSON")
}

fn time_of(ns: &Value) -> String {
    let ns = ns.as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    Timestamp(ns).to_string()
}

fn log_table(answer: &Value) -> Table {
    let mut table = Table::new(["time", "severity", "service", "body"]);
    for row in answer["rows"].as_array().into_iter().flatten() {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        table.rows.push(vec![
            time_of(&row["time_ns"]),
            text("severity_text"),
            text("service"),
            text("body"),
        ]);
    }
    table
}

fn trace_table(answer: &Value) -> Table {
    let mut table =
        Table::new(["start", "duration_ms", "service", "span", "status", "span_id", "parent"]);
    for span in answer["spans"].as_array().into_iter().flatten() {
        let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
        let ns: i64 = span["duration_ns"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        let duration = format!("{}.{:03}", ns / 1_000_000, ns / 1_000 % 1_000);
        table.rows.push(vec![
            time_of(&span["start_ns"]),
            duration,
            text("service"),
            text("name"),
            text("status"),
            text("span_id"),
            text("parent_span_id"),
        ]);
    }
    table
}
