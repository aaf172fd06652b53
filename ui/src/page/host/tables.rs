//! The tables of a host's page: top processes, file systems.

use std::collections::BTreeMap;
use std::sync::Arc;

use leptos::prelude::*;
use viz::unit::{Format, significant};

use super::panels::{FS_SIZE, FS_USED, TOP_CPU, TOP_IO, TOP_MEMORY, TOP_THREADS};
use crate::chart::data::last;
use crate::msg::{Msg, t};
use crate::part::meter::Meter;
use crate::refresh::{Answers, Fetched};

/// Processes listed at most.
const ROWS_MAX: usize = 12;

/// The latest value of each series of an instant query, by one label.
fn by_label(answers: &Answers, id: u32, label: &str) -> BTreeMap<String, f64> {
    let Some(answer) = answers.get(&id) else { return BTreeMap::new() };
    let pair = |series: &api::query::Series| {
        Some((series.labels.get(label)?.clone(), last(&series.values)))
    };
    answer.series.iter().filter_map(pair).collect()
}

#[component]
pub(super) fn Processes(answers: Fetched<Answers>) -> impl IntoView {
    let rows = move || {
        let answers: Arc<Answers> = answers.value.get()?;
        let of = |id| by_label(&answers, id, "process_executable_name");
        let (cpu, memory, threads, io) = (of(TOP_CPU), of(TOP_MEMORY), of(TOP_THREADS), of(TOP_IO));
        let mut names: Vec<&String> = memory.keys().chain(cpu.keys()).collect();
        names.sort();
        names.dedup();
        let used = |name: &String| cpu.get(name).copied().unwrap_or(0.0);
        names.sort_by(|a, b| used(b).total_cmp(&used(a)).then_with(|| a.cmp(b)));
        let most = names.first().map_or(0.0, |name| used(name)).max(0.01);
        let text = |map: &BTreeMap<String, f64>, name: &String, unit: &Format| {
            map.get(name).map_or_else(|| "–".to_owned(), |v| unit.text(*v))
        };
        let row = |name: &String| {
            let share = format!("--share:{:.1}%", used(name) / most * 100.0);
            view! {
                <tr data-testid="process-row">
                    <th scope="row" class="ellipsis">{name.clone()}</th>
                    <td class="num bar-cell" style=share>{format!("{}%", significant((used(name) * 1_000.0).round() / 10.0))}</td>
                    <td class="num">{text(&memory, name, &Format::Bytes(String::new()))}</td>
                    <td class="num">{text(&io, name, &Format::Bytes("/s".to_owned()))}</td>
                    <td class="num">{text(&threads, name, &Format::Plain)}</td>
                </tr>
            }
        };
        Some(names.into_iter().take(ROWS_MAX).map(row).collect_view())
    };
    view! {
        <section class="panel" data-testid="top-processes">
            <div class="panel-head"><h2>{t(Msg::TopProcesses)}</h2></div>
            <div class="table-scroll">
                <table class="table">
                    <thead><tr>
                        <th scope="col">{t(Msg::Process)}</th>
                        <th scope="col" class="num">{t(Msg::Cpu)}</th>
                        <th scope="col" class="num">{t(Msg::Memory)}</th>
                        <th scope="col" class="num">{t(Msg::DiskIo)}</th>
                        <th scope="col" class="num">{t(Msg::Threads)}</th>
                    </tr></thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </section>
    }
}

#[component]
pub(super) fn FileSystems(answers: Fetched<Answers>) -> impl IntoView {
    let rows = move || {
        let answers = answers.value.get()?;
        let of = |id| by_label(&answers, id, "system_filesystem_mountpoint");
        let (used, size) = (of(FS_USED), of(FS_SIZE));
        let unit = Format::Bytes(String::new());
        let row = |(mount, used): (&String, &f64)| {
            let size = size.get(mount).copied();
            let share = size.filter(|size| *size > 0.0).map(|size| used / size);
            view! {
                <tr>
                    <th scope="row" class="ellipsis mono">{mount.clone()}</th>
                    <td class="meter-cell"><Meter label="" value=share/></td>
                    <td class="num">{unit.text(*used)}</td>
                    <td class="num">{size.map_or_else(|| "–".to_owned(), |size| unit.text(size))}</td>
                </tr>
            }
        };
        Some(used.iter().map(row).collect_view())
    };
    view! {
        <section class="panel" data-testid="filesystems">
            <div class="panel-head"><h2>{t(Msg::FileSystems)}</h2></div>
            <div class="table-scroll">
                <table class="table">
                    <thead><tr>
                        <th scope="col">{t(Msg::Mount)}</th>
                        <th scope="col">{t(Msg::Use)}</th>
                        <th scope="col" class="num">{t(Msg::Used)}</th>
                        <th scope="col" class="num">{t(Msg::Size)}</th>
                    </tr></thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </section>
    }
}
