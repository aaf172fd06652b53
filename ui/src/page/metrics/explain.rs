//! What each part of a query cost: a tree with a bar of the time of each.

use api::query::Explained;
use leptos::prelude::*;
use viz::unit::{Format, time};

use crate::msg::{Msg, t};

/// The tree below `root`, a row a node.
#[component]
pub(super) fn ExplainTree(root: Explained) -> impl IntoView {
    let whole_ms = root.elapsed_ms.max(f64::MIN_POSITIVE);
    let mut rows = Vec::new();
    walk(&root, 0, &mut rows);
    let row = move |(depth, node): (usize, Explained)| {
        // Time in the node itself: what its inputs took is theirs.
        let below: f64 = node.inputs.iter().map(|input| input.elapsed_ms).sum();
        let own_ms = (node.elapsed_ms - below).max(0.0);
        let number = |n: u64| Format::Plain.text(n as f64);
        let steps = if node.steps == 0 { "–".to_owned() } else { number(node.steps) };
        let title = node.node.clone();
        view! {
            <tr data-testid="explain-row">
                <td class="explain-node" style:padding-left=format!("{}px", 12 + depth * 18) title=title>
                    {(depth > 0).then_some("└ ")}<span class="mono">{node.node}</span>
                </td>
                <td class="num">{steps}</td>
                <td class="num">{number(node.series)}</td>
                <td class="num">{number(node.samples)}</td>
                <td class="num">{Format::of("By").text(node.bytes as f64)}</td>
                <td class="num">{time(node.elapsed_ms / 1_000.0)}</td>
                <td class="num">{time(own_ms / 1_000.0)}</td>
                <td class="explain-bar"><span class="meter-track"><i style:width=format!("{:.1}%", own_ms / whole_ms * 100.0)></i></span></td>
            </tr>
        }
    };
    view! {
        <div class="panel table-scroll">
            <table class="explain" data-testid="explain">
                <thead><tr>
                    <th>{t(Msg::ExplainNode)}</th><th class="num">{t(Msg::ExplainSteps)}</th><th class="num">{t(Msg::Series)}</th>
                    <th class="num">{t(Msg::Samples)}</th><th class="num">{t(Msg::Memory)}</th><th class="num">{t(Msg::ExplainTime)}</th>
                    <th class="num">{t(Msg::ExplainOwn)}</th><th></th>
                </tr></thead>
                <tbody>{rows.into_iter().map(row).collect_view()}</tbody>
            </table>
        </div>
    }
}

fn walk(node: &Explained, depth: usize, out: &mut Vec<(usize, Explained)>) {
    out.push((depth, node.clone()));
    for input in &node.inputs {
        walk(input, depth + 1, out);
    }
}
