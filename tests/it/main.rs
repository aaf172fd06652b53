//! The whole system under test: the real `headrope` binary as a child process, spoken to as users speak to it.
//!
//! Every test starts its own server with its own folder on free ports, and ends only what it started.

#[cfg(test)]
mod actors;
#[cfg(test)]
mod alert_loop;
#[cfg(test)]
mod amtool;
#[cfg(test)]
mod backtest;
#[cfg(test)]
mod baseline;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod browser_incident;
#[cfg(test)]
mod browser_slo;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod duckdb;
#[cfg(test)]
mod exactly_once;
#[cfg(test)]
mod flags;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod haproxy;
#[cfg(test)]
mod haproxy_map;
#[cfg(test)]
mod kubernetes;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod memory_bound;
#[cfg(test)]
mod notify;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod operate;
#[cfg(test)]
mod otlp;
mod own_rules;
#[cfg(test)]
mod patroni;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod prometheus_api;
#[cfg(test)]
mod prometheus_doors;
#[cfg(test)]
mod prometheus_hostile;
#[cfg(test)]
mod python;
#[cfg(test)]
mod python_sdk;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod remote_write;
#[cfg(test)]
mod scrape;
#[cfg(test)]
mod server;
#[cfg(test)]
mod shop;
#[cfg(test)]
mod supervisor;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod translation;
#[cfg(test)]
mod webdriver;
#[cfg(test)]
mod webhook_target;
