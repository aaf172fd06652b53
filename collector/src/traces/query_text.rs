//! Database query texts without the data in them: literals become `?`, so that no customer's value is stored and equal
//! queries have one fingerprint.

use xxhash_rust::xxh3::xxh3_64;

/// The query with string and number literals replaced by `?` and runs of white space by one space.
pub(super) fn redact(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    let mut rest = query;
    while let Some(c) = rest.chars().next() {
        let before = out.chars().next_back();
        let in_word =
            before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '@' | ':'));
        let len = match c {
            // Double quotes delimit names in standard SQL, but text in MySQL: taken for text, names are the lesser loss.
            '\'' | '"' => push(&mut out, "?", quoted_len(rest, c)),
            c if c.is_ascii_digit() && !in_word => push(&mut out, "?", number_len(rest)),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            c if c.is_whitespace() => {
                let is_needed = before.is_some_and(|before| before != ' ');
                push(&mut out, if is_needed { " " } else { "" }, c.len_utf8())
            }
            c => push(&mut out, &rest[..c.len_utf8()], c.len_utf8()),
        };
        rest = &rest[len..];
    }
    out.truncate(out.trim_end().len());
    out
}

/// Hash of the redacted query, lists folded to one element, regardless of case and white space.
pub(super) fn fingerprint(query: &str) -> u64 {
    let mut text: String = redact(query).to_lowercase();
    text.retain(|c| !c.is_whitespace() || c == ' ');
    // `( ?, ?,? )` and `(?)` are one list; so are several rows of VALUES.
    for (from, to) in [(", ", ","), (" ,", ","), ("( ", "("), (" )", ")")] {
        text = text.replace(from, to);
    }
    for list in ["?,?", "(?),(?)"] {
        let one = &list[..list.len() / 2];
        while text.contains(list) {
            text = text.replace(list, one);
        }
    }
    xxh3_64(text.as_bytes())
}

fn push(out: &mut String, text: &str, len: usize) -> usize {
    out.push_str(text);
    len
}

/// Length of the quoted text at the start; a doubled quote and one after a backslash do not end it.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return at + 1;
            }
        }
    }
    text.len() // Cut off in the middle: all of it is the literal.
}

fn number_len(text: &str) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.';
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_leave_the_text() {
        let cases = [
            ("SELECT * FROM t WHERE a = 'it''s' AND b=42", "SELECT * FROM t WHERE a = ? AND b=?"),
            ("select  x1,\n\ty2 from t1 -- c 5\nlimit 10", "select x1, y2 from t1 limit ?"),
            ("INSERT INTO t VALUES (1, 'a\\'b', 0x1F, 1.5e3)", "INSERT INTO t VALUES (?, ?, ?, ?)"),
            ("SELECT $1, @p2, :3 /* 'secret' */", "SELECT $1, @p2, :3"),
            ("SELECT 'open", "SELECT ?"),
            ("GET user:1234", "GET user:1234"),
            ("größe = 5", "größe = ?"),
        ];
        for (query, expected) in cases {
            assert_eq!(redact(query), expected);
        }
    }

    #[test]
    fn equal_queries_share_a_fingerprint() {
        let a = fingerprint("SELECT * FROM t WHERE id IN (1, 2, 3)");
        assert_eq!(a, fingerprint("select *  from t where id in (7)"));
        assert_ne!(a, fingerprint("select * from u where id in (7)"));
        let rows = fingerprint("insert into t values (1,2),(3,4)");
        assert_eq!(rows, fingerprint("insert into t values ('a', 'b')"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_redacted_without_panic(text in ".{0,200}") {
            let once = redact(&text);
            proptest::prop_assert!(!once.contains('\''));
            fingerprint(&text);
        }
    }
}
