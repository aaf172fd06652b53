//! Where a piece of a rule file stands, also inside a YAML scalar whose text is not the file's text.

/// Line and column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Default for Position {
    fn default() -> Self {
        Self { line: 1, column: 1 }
    }
}

impl Position {
    /// The position of byte `at` of `text`.
    pub(crate) fn of(text: &str, at: usize) -> Self {
        let before = &text[..text.floor_char_boundary(at)];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Where byte `offset` of a scalar's `value` stands in `file`, when the scalar begins at byte `start`.
///
/// Quotes, escapes, indentation and folded lines make the two texts differ: they are walked side by side, white
/// space matching any white space. Falls back to the beginning of the scalar.
pub(crate) fn inside(file: &str, start: usize, value: &str, offset: usize) -> Position {
    aligned(file, start, value, offset)
        .map_or_else(|| Position::of(file, start), |at| Position::of(file, at))
}

fn aligned(file: &str, start: usize, value: &str, offset: usize) -> Option<usize> {
    let mut at = start;
    let quote = file.get(at..)?.chars().next()?;
    match quote {
        '"' | '\'' => at += 1,
        // A block scalar begins with its header line.
        '|' | '>' => at += file[at..].find('\n')? + 1,
        _ => {}
    }
    for c in value[..value.floor_char_boundary(offset)].chars().filter(|c| !c.is_whitespace()) {
        at = skip_blank(file, at, quote);
        at += width_of(&file[at..], quote, c)?;
    }
    let at = skip_blank(file, at, quote);
    (at < file.len()).then_some(at)
}

fn skip_blank(file: &str, mut at: usize, quote: char) -> usize {
    loop {
        let rest = &file[at..];
        let blank = rest.len() - rest.trim_start().len();
        // Escaped white space of a double-quoted scalar.
        let escape = quote == '"'
            && ["\\n", "\\t", "\\r", "\\ ", "\\\n"].iter().any(|e| rest[blank..].starts_with(e));
        at += blank + if escape { 2 } else { 0 };
        if blank == 0 && !escape {
            return at;
        }
    }
}

/// Bytes of the file that stand for `c`; `None` when they do not.
fn width_of(rest: &str, quote: char, c: char) -> Option<usize> {
    let mut chars = rest.chars();
    let first = chars.next()?;
    match (quote, first) {
        ('"', '\\') => {
            let width = match chars.next()? {
                'x' => 4,
                'u' => 6,
                'U' => 10,
                escaped => 1 + escaped.len_utf8(),
            };
            Some(width)
        }
        ('\'', '\'') => Some(2),
        _ => (first == c).then(|| first.len_utf8()),
    }
}
