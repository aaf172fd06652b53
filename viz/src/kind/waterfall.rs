//! The spans of a trace as rows: who called whom, when, and what is folded away.

use std::collections::HashMap;

use crate::scale::float;

/// A span as the waterfall needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// Span id.
    pub id: String,
    /// Id of the parent; `None` for a root.
    pub parent: Option<String>,
    /// Start, ns since the epoch.
    pub start_ns: i64,
    /// Duration, ns, not negative.
    pub duration_ns: i64,
    /// Whether it failed.
    pub error: bool,
}

/// One row, in preorder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Index of the span in what was given.
    pub span_idx: usize,
    /// Levels below a root.
    pub depth: usize,
    /// Rows below it, itself not counted.
    pub descendants: usize,
    /// Failed spans among them.
    pub errors_below: usize,
    /// Its parent is named but was not received.
    pub orphan: bool,
    /// Left edge of the bar, share of the trace.
    pub left: f64,
    /// Width of the bar, share of the trace.
    pub width: f64,
    /// Time not covered by its direct children, ns.
    pub self_ns: i64,
}

/// A trace laid out, with a fold state.
#[derive(Clone, Debug, Default)]
pub struct Waterfall {
    rows: Vec<Row>,
    folded: Vec<bool>,
    visible: Vec<usize>,
    start_ns: i64,
    duration_ns: i64,
}

impl Waterfall {
    /// Lays out spans in any order. Each appears exactly once, even when parents are missing or form a ring.
    #[must_use]
    pub fn new(bars: &[Bar]) -> Self {
        let start_ns = bars.iter().map(|bar| bar.start_ns).min().unwrap_or(0);
        let end = |bar: &Bar| bar.start_ns.saturating_add(bar.duration_ns.max(0));
        let end_ns = bars.iter().map(end).max().unwrap_or(0);
        let duration_ns = end_ns.saturating_sub(start_ns).max(0);
        let mut rows = preorder(bars);
        count_below(&mut rows, bars);
        let total = ns(duration_ns).max(1.0);
        for row in &mut rows {
            let bar = &bars[row.span_idx];
            row.left = ns(bar.start_ns.saturating_sub(start_ns)) / total;
            row.width = ns(bar.duration_ns.max(0)) / total;
        }
        let folded = vec![false; rows.len()];
        let visible = (0..rows.len()).collect();
        Self { rows, folded, visible, start_ns, duration_ns }
    }

    /// All rows in preorder.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Indexes of the rows that no fold hides, top to bottom.
    #[must_use]
    pub fn visible(&self) -> &[usize] {
        &self.visible
    }

    /// Start of the earliest span, ns since the epoch.
    #[must_use]
    pub const fn start_ns(&self) -> i64 {
        self.start_ns
    }

    /// From the earliest start to the latest end, ns.
    #[must_use]
    pub const fn duration_ns(&self) -> i64 {
        self.duration_ns
    }

    /// Whether the rows below `row_idx` are folded away.
    #[must_use]
    pub fn is_folded(&self, row_idx: usize) -> bool {
        self.folded.get(row_idx).copied().unwrap_or(false)
    }

    /// Folds or unfolds one row.
    pub fn toggle(&mut self, row_idx: usize) {
        if let Some(folded) = self.folded.get_mut(row_idx) {
            *folded = !*folded;
            self.refold();
        }
    }

    /// Folds every row that has children.
    pub fn fold_all(&mut self) {
        self.folded = self.rows.iter().map(|row| row.descendants > 0).collect();
        self.refold();
    }

    /// Unfolds every row.
    pub fn unfold_all(&mut self) {
        self.folded.fill(false);
        self.refold();
    }

    /// Unfolds the ancestors of a row, so that it can be seen.
    pub fn reveal(&mut self, row_idx: usize) {
        for above in 0..row_idx.min(self.rows.len()) {
            if above + self.rows[above].descendants >= row_idx {
                self.folded[above] = false;
            }
        }
        self.refold();
    }

    fn refold(&mut self) {
        self.visible.clear();
        let mut row_idx = 0;
        while row_idx < self.rows.len() {
            self.visible.push(row_idx);
            row_idx += if self.folded[row_idx] { self.rows[row_idx].descendants } else { 0 } + 1;
        }
    }
}

const fn ns(value: i64) -> f64 {
    value as f64
}

/// Rows without counts. Iterative: a deep trace must not overflow the stack.
fn preorder(bars: &[Bar]) -> Vec<Row> {
    let by_id: HashMap<&str, usize> =
        bars.iter().enumerate().map(|(i, bar)| (bar.id.as_str(), i)).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); bars.len()];
    let mut roots = Vec::new();
    for (i, bar) in bars.iter().enumerate() {
        match bar.parent.as_deref().and_then(|parent| by_id.get(parent)) {
            Some(parent) if *parent != i => children[*parent].push(i),
            _ => roots.push(i),
        }
    }
    let by_start = |i: &usize| (bars[*i].start_ns, *i);
    roots.sort_by_key(by_start);
    children.iter_mut().for_each(|list| list.sort_by_key(by_start));
    let mut rows = Vec::with_capacity(bars.len());
    let mut seen = vec![false; bars.len()];
    // What no root reaches lies on a ring of parents: its earliest member stands in for the root.
    let mut rest: Vec<usize> = (0..bars.len()).collect();
    rest.sort_by_key(by_start);
    for root in roots.into_iter().chain(rest) {
        let mut stack = vec![(root, 0)];
        while let Some((i, depth)) = stack.pop() {
            if std::mem::replace(&mut seen[i], true) {
                continue;
            }
            let orphan = depth == 0 && bars[i].parent.is_some();
            let self_ns = self_ns(bars, i, &children[i]);
            rows.push(Row { span_idx: i, depth, orphan, self_ns, ..Row::default() });
            stack.extend(children[i].iter().rev().map(|child| (*child, depth + 1)));
        }
    }
    rows
}

/// Duration less the union of the children's intervals; `children` ascend by start.
fn self_ns(bars: &[Bar], i: usize, children: &[usize]) -> i64 {
    let end_ns = bars[i].start_ns.saturating_add(bars[i].duration_ns);
    let mut covered_to = bars[i].start_ns;
    let mut own = 0;
    for child in children {
        let child = &bars[*child];
        own += (child.start_ns.min(end_ns) - covered_to).max(0);
        covered_to = covered_to.max(child.start_ns.saturating_add(child.duration_ns).min(end_ns));
    }
    own + (end_ns - covered_to).max(0)
}

/// Sizes of subtrees, from the last row up.
fn count_below(rows: &mut [Row], bars: &[Bar]) {
    let mut open: Vec<(usize, usize, usize)> = Vec::new(); // depth, rows, failed: of subtrees not yet claimed
    for row in rows.iter_mut().rev() {
        while let Some((depth, n_rows, n_errors)) =
            open.last().copied().filter(|top| top.0 > row.depth)
        {
            debug_assert!(depth == row.depth + 1);
            row.descendants += n_rows;
            row.errors_below += n_errors;
            open.pop();
        }
        let failed = usize::from(bars[row.span_idx].error);
        open.push((row.depth, row.descendants + 1, row.errors_below + failed));
    }
}

/// Round instants for the ruler above the bars: at most `n_max`, as (share of the trace, ns since its start).
#[must_use]
pub fn ruler(duration_ns: i64, n_max: usize) -> Vec<(f64, f64)> {
    let total = ns(duration_ns).max(1.0);
    let ticks = crate::tick::decimal(0.0, total, n_max);
    ticks
        .values
        .into_iter()
        .map(|value| (value / total, value))
        .filter(|(at, _)| *at <= 1.0 + 1e-9)
        .collect()
}

/// The share of a trace that a row count stands for; guards a division by nothing.
#[must_use]
pub fn share(part: usize, whole: usize) -> f64 {
    float(part) / float(whole.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(id: &str, parent: Option<&str>, start_ns: i64, duration_ns: i64) -> Bar {
        Bar {
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
            start_ns,
            duration_ns,
            error: id.ends_with('!'),
        }
    }

    fn tree(bars: &[Bar]) -> Vec<String> {
        let rows = Waterfall::new(bars).rows;
        rows.iter()
            .map(|row| format!("{}{}", "-".repeat(row.depth), bars[row.span_idx].id))
            .collect()
    }

    #[test]
    fn children_follow_their_parent_by_start() {
        let bars = [
            bar("late", Some("root"), 60, 10),
            bar("root", None, 0, 100),
            bar("early", Some("root"), 10, 30),
            bar("leaf!", Some("early"), 20, 5),
        ];
        assert_eq!(tree(&bars), ["root", "-early", "--leaf!", "-late"]);
        let waterfall = Waterfall::new(&bars);
        let root = &waterfall.rows()[0];
        assert_eq!((root.descendants, root.errors_below, root.self_ns), (3, 1, 60));
        assert_eq!((waterfall.rows()[3].left, waterfall.rows()[3].width), (0.6, 0.1));
    }

    #[test]
    fn missing_parents_and_rings_lose_no_span() {
        let bars = [
            bar("orphan", Some("gone"), 5, 1),
            bar("a", Some("b"), 1, 1),
            bar("b", Some("a"), 2, 1),
            bar("self", Some("self"), 9, 1),
        ];
        let waterfall = Waterfall::new(&bars);
        assert_eq!(waterfall.rows().len(), 4);
        assert!(waterfall.rows()[0].orphan);
        assert_eq!(tree(&bars), ["orphan", "self", "a", "-b"]);
    }

    #[test]
    fn folding_hides_the_subtree_only() {
        let bars = [
            bar("r", None, 0, 9),
            bar("a", Some("r"), 1, 3),
            bar("b", Some("a"), 2, 1),
            bar("c", Some("r"), 5, 1),
        ];
        let mut waterfall = Waterfall::new(&bars);
        waterfall.toggle(1);
        assert_eq!(waterfall.visible(), [0, 1, 3]);
        waterfall.fold_all();
        assert_eq!(waterfall.visible(), [0]);
        waterfall.reveal(2);
        assert_eq!(waterfall.visible(), [0, 1, 2, 3]);
        waterfall.toggle(99);
        waterfall.unfold_all();
        assert_eq!(waterfall.visible().len(), 4);
    }

    #[test]
    fn a_chain_of_many_levels_needs_no_stack() {
        let bars: Vec<Bar> = (0..50_000)
            .map(|i| bar(&i.to_string(), (i > 0).then(|| (i - 1).to_string()).as_deref(), i, 1))
            .collect();
        let waterfall = Waterfall::new(&bars);
        assert_eq!(waterfall.rows()[0].descendants, 49_999);
        assert_eq!(waterfall.rows()[49_999].depth, 49_999);
    }

    #[test]
    fn the_ruler_is_round() {
        let marks: Vec<f64> = ruler(100, 4).into_iter().map(|(_, at)| at).collect();
        assert_eq!(marks, [0.0, 50.0, 100.0]);
        assert_eq!(ruler(0, 4).len(), ruler(1, 4).len());
        assert_eq!(share(1, 0), 1.0);
    }
}
