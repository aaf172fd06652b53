//! Rows for people and for programs: an aligned table, CSV or JSON lines.

/// Columns and rows of text, ready to print.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(columns: [&str; N]) -> Self {
        Self { columns: columns.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Columns padded to their widest cell, a rule below the header. Line breaks inside a cell are shown as `⏎`.
    pub(crate) fn aligned(&self) -> String {
        let cells = |row: &[String]| -> Vec<String> {
            let one_line = |cell: &String| cell.replace('\n', "⏎").replace('\t', " ");
            row.iter().map(|cell| super::harmless(&one_line(cell)).into_owned()).collect()
        };
        let header = cells(&self.columns);
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| cells(row)).collect();
        let width = |idx: usize| {
            let lines = rows.iter().chain(std::iter::once(&header));
            lines.filter_map(|row| row.get(idx)).map(|cell| columns_wide(cell)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        let mut text = String::new();
        for row in [&header, &rule].into_iter().chain(&rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let padding = width.saturating_sub(columns_wide(cell)) + 2;
                line.push_str(cell);
                line.push_str(&" ".repeat(padding));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// RFC 4180, lines end in `\n`.
    pub(crate) fn csv(&self) -> String {
        let quote = |cell: &String| {
            let needs = cell.contains([',', '"', '\n', '\r']);
            if needs { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() }
        };
        let line = |row: &Vec<String>| row.iter().map(quote).collect::<Vec<_>>().join(",") + "\n";
        std::iter::once(&self.columns).chain(&self.rows).map(line).collect()
    }
}

/// Terminal columns of `text`: CJK and emoji take two.
fn columns_wide(text: &str) -> usize {
    let is_wide = |c: char| {
        matches!(u32::from(c), 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd)
    };
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn tables_align_and_csv_quotes() {
        let mut table = Table::new(["name", "value"]);
        table.rows.push(vec!["指标".to_owned(), "1".to_owned()]);
        table.rows.push(vec!["a,b".to_owned(), "22".to_owned()]);
        expect![[r"
            name  value
            ────  ─────
            指标  1
            a,b   22
        "]]
        .assert_eq(&table.aligned());
        expect![[r#"
            name,value
            指标,1
            "a,b",22
        "#]]
        .assert_eq(&table.csv());
    }
}
