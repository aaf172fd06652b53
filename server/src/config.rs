//! The configuration file: one TOML document, one section a crate. Checked once at start, fixed from then on.
//!
//! `HEADROPE_<FIELD>` and `HEADROPE_<SECTION>__<FIELD>` override a field by name. Nothing else steers behaviour.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error as ThisError;

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the store, the alert states and the action journal; created when missing.
    pub data_dir: PathBuf,
    /// Address of the dashboard, the APIs and OTLP/HTTP. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Address of OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// Address of OTLP over HTTP, besides the main port.
    pub otlp_http: SocketAddr,
    /// Names under which browsers may reach the dashboard, besides addresses and `localhost`: a proxy's name, say. `*`
    /// allows every name, and with it DNS rebinding.
    pub hosts: Vec<String>,
    /// Whether deletes and backups may be asked for over HTTP. Default: only where `listen` is an address of this host
    /// alone, as there is no login yet.
    pub admin: Option<bool>,
    /// Whether `POST /-/reload` reads rule files and scrape files anew; SIGHUP always does. Default false.
    pub lifecycle: bool,
    /// File that every PromQL query is written to, a line of JSON each, as Prometheus writes them; unset: none.
    pub query_log: Option<PathBuf>,
    /// Memory this process may take: a size as `512MiB`, at least 256 MiB, or `auto`: 60 % of the smaller of the host's
    /// memory and the control group's limit. At the limit requests are refused with 429, queries with an error.
    pub memory_limit: store::MemoryLimit,
    /// Whether this process also watches its own host.
    pub watch_host: bool,
    /// The columns.
    pub store: store::Config,
    /// The write path.
    pub collector: collector::Config,
    /// The read path.
    pub query: query::Config,
    /// Rules.
    pub alert: alert::Config,
    /// Webhooks.
    pub action: action::Config,
    /// The agent inside this process; its endpoint is always this process. What it scrapes stands in `agent.scrape`.
    pub agent: agent::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: data_dir_default(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7300)),
            otlp_grpc: SocketAddr::from(([127, 0, 0, 1], 4317)),
            otlp_http: SocketAddr::from(([127, 0, 0, 1], 4318)),
            hosts: Vec::new(),
            admin: None,
            lifecycle: false,
            query_log: None,
            memory_limit: store::MemoryLimit::Auto,
            watch_host: true,
            store: store::Config::default(),
            collector: collector::Config::default(),
            query: query::Config::default(),
            alert: alert::Config::default(),
            action: action::Config::default(),
            agent: agent::Config::default(),
        }
    }
}

/// `$XDG_DATA_HOME/headrope`, else `~/.local/share/headrope`, else `headrope-data` here.
fn data_dir_default() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map_or_else(|| PathBuf::from("headrope-data"), |dir| dir.join("headrope"))
}

/// Why there is no configuration. Every message names the file and, where there is one, the place in it.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the configuration {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is no configuration.
    #[error("{place}: {message}")]
    Wrong {
        /// File, line and column, or the variable.
        place: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Config {
    /// Reads `path`, or takes the defaults without one, then lets the environment override.
    ///
    /// # Errors
    /// When the file cannot be read, is no TOML, or has an unknown field or a value of the wrong type.
    pub fn load(
        path: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let (text, name) = match path {
            None => (String::new(), "defaults".to_owned()),
            Some(path) => {
                let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
                (std::fs::read_to_string(path).map_err(unreadable)?, path.display().to_string())
            }
        };
        let mut config = Self::parse(&text, &name, environment)?;
        if let Some(folder) = path.and_then(Path::parent) {
            for rule in &mut config.alert.rules {
                *rule = folder.join(&*rule);
            }
            for file in &mut config.alert.slos {
                *file = folder.join(&*file);
            }
            if let Some(file) = &mut config.alert.alertmanager_config {
                *file = folder.join(&*file);
            }
            for file in &mut config.action.runbooks {
                *file = folder.join(&*file);
            }
            if let Some(file) = &mut config.action.stop_file {
                *file = folder.join(&*file);
            }
            let coordination = config.action.coordination.as_mut();
            if let Some(file) = coordination.and_then(|one| one.password_file.as_mut()) {
                *file = folder.join(&*file);
            }
            for file in &mut config.agent.scrape.config_files {
                *file = folder.join(&*file);
            }
        }
        Ok(config)
    }

    fn parse(
        text: &str,
        name: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let wrong = |error: toml::de::Error| wrong(name, text, &error);
        let mut table: toml::Table = toml::from_str(text).map_err(wrong)?;
        // First without the environment, because only this knows the place in the text.
        let mut config: Self = toml::from_str(text).map_err(wrong)?;
        for (variable, value) in overrides(environment) {
            set(&mut table, &variable, value);
            config = table.clone().try_into().map_err(|error: toml::de::Error| Error::Wrong {
                place: format!("environment variable {variable}"),
                message: error.message().to_owned(),
            })?;
        }
        Ok(config)
    }

    /// Checks what no type can, crate by crate; each names its field.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn check(&self) -> anyhow::Result<()> {
        self.collector.check()?;
        self.query.check()?;
        Ok(())
    }

    /// The configuration in force as TOML, secrets hidden.
    ///
    /// # Errors
    /// When a value has no TOML form, which is a mistake of ours.
    pub fn print(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}

fn overrides(
    environment: impl Iterator<Item = (String, String)>,
) -> impl Iterator<Item = (String, String)> {
    environment.filter(|(name, _)| {
        name.strip_prefix("HEADROPE_").is_some_and(|rest| !rest.is_empty() && rest != "CONFIG")
    })
}

/// Puts `value` where `HEADROPE_SECTION__FIELD` points; its type is what TOML reads it as, else text.
fn set(table: &mut toml::Table, variable: &str, value: String) {
    let path = variable.trim_start_matches("HEADROPE_").to_lowercase();
    let mut steps: Vec<&str> = path.split("__").collect();
    let Some(field) = steps.pop() else { return };
    let mut inner = table;
    for step in steps {
        let section = inner.entry(step).or_insert_with(|| toml::Table::new().into());
        let Some(section) = section.as_table_mut() else { return };
        inner = section;
    }
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
    let value = parsed.ok().and_then(|mut t| t.remove("value")).unwrap_or(value.into());
    inner.insert(field.to_owned(), value);
}

fn wrong(name: &str, text: &str, error: &toml::de::Error) -> Error {
    let (line, column) = place(text, error.span().unwrap_or(Range { start: 0, end: 0 }).start);
    Error::Wrong { place: format!("{name}:{line}:{column}"), message: error.message().to_owned() }
}

/// Line and column of a byte offset, both counted from 1, the column in characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::parse(text, "headrope.toml", environment).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let config = parse("", &[]).unwrap();
        assert_eq!(config.listen, "127.0.0.1:7300".parse().unwrap());
        assert!(config.listen.ip().is_loopback() && config.otlp_grpc.ip().is_loopback());
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let error = parse("listen = \"127.0.0.1:1\"\n[store]\nflushh = 1\n", &[]).unwrap_err();
        assert!(error.starts_with("headrope.toml:3:1: unknown field `flushh`"), "{error}");
        let error = parse("\nlisten = 7300", &[]).unwrap_err();
        assert!(error.starts_with("headrope.toml:2:10: "), "{error}");
    }

    #[test]
    fn the_environment_overrides_by_name() {
        let listen = [("HEADROPE_LISTEN", "127.0.0.1:9"), ("HEADROPE_QUERY__QUERIES_MAX", "3")];
        let config = parse("listen = \"127.0.0.1:1\"", &listen).unwrap();
        assert_eq!(config.listen, "127.0.0.1:9".parse().unwrap());
        assert_eq!(config.query.queries_max, 3);
        let error = parse("", &[("HEADROPE_NO_SUCH", "1")]).unwrap_err();
        assert!(
            error.starts_with("environment variable HEADROPE_NO_SUCH: unknown field"),
            "{error}"
        );
    }

    #[test]
    fn what_is_printed_reads_back() {
        let printed = Config::default().print().unwrap();
        assert_eq!(parse(&printed, &[]).unwrap().print().unwrap(), printed);
    }
}
