//! The numbers behind a chart as rows: for screen readers, for copying, for tests.

/// A table of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Column heads.
    pub head: Vec<String>,
    /// Rows; each has one cell a column.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// RFC 4180 text with a head line and CRLF ends.
    ///
    /// Cells that a spreadsheet would run as a formula get a leading apostrophe.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text = String::new();
        for row in std::iter::once(&self.head).chain(&self.rows) {
            let cells: Vec<String> = row.iter().map(|cell| quoted(cell)).collect();
            text.push_str(&cells.join(","));
            text.push_str("\r\n");
        }
        text
    }
}

fn quoted(cell: &str) -> String {
    let number = cell.parse::<f64>().is_ok();
    let formula = !number && cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guarded = if formula { format!("'{cell}") } else { cell.to_owned() };
    if guarded.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_formulas_are_disarmed() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let table = Table {
            head: row(&["a", "b"]),
            rows: vec![row(&["x,\"y\"", "=1+1"]), row(&["-5", "line\nbreak"])],
        };
        assert_eq!(table.csv(), "a,b\r\n\"x,\"\"y\"\"\",'=1+1\r\n-5,\"line\nbreak\"\r\n");
    }
}
