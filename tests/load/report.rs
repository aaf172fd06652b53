//! Markdown: tables and figures for people.

/// A Markdown table.
pub struct Table {
    text: String,
}

impl Table {
    /// A table with these columns.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        let mut table = Self { text: String::new() };
        table.row(columns);
        table.row(&vec!["---"; columns.len()]);
        table
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[impl AsRef<str>]) {
        for cell in cells {
            self.text.push_str(&format!("| {} ", cell.as_ref().replace('|', "\\|")));
        }
        self.text.push_str("|\n");
    }

    /// The table, with an empty line after it.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push('\n');
        self.text
    }
}

/// The median; of an even number the lower of the two in the middle. 0 of nothing.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// A count as thousands or millions: `593 k`, `1.52 M`.
#[must_use]
pub fn count(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e4 => format!("{:.0} k", v / 1e3),
        v if v >= 1e3 => format!("{:.1} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

/// Bytes as MB.
#[must_use]
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!([count(593_000.0), count(1_519_000.0)], ["593 k", "1.52 M"]);
        let mut table = Table::new(&["a", "b"]);
        table.row(&["1", "x|y"]);
        assert_eq!(table.finish(), "| a | b |\n| --- | --- |\n| 1 | x\\|y |\n\n");
    }
}
