//! Replacements: `$1`, `${1}`, `$name`, `${name}` and `$$`.

use std::fmt::{self, Write};

use super::Regexp;

impl Regexp {
    /// Writes `template` with its references replaced by what `group` says of the group of a number, 0 being the whole
    /// match; a group that is absent or took no part is empty.
    ///
    /// A name is as long as possible: `$1x` is `${1x}`. A `$` that begins no reference is itself.
    ///
    /// # Errors
    /// `out`'s.
    pub fn expand<'t>(
        &self,
        template: &str,
        group: impl Fn(usize) -> Option<&'t str>,
        out: &mut impl Write,
    ) -> fmt::Result {
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            out.write_str(before)?;
            if let Some(after) = after.strip_prefix('$') {
                out.write_char('$')?;
                rest = after;
            } else if let Some((name, after)) = reference(after) {
                out.write_str(self.found(name, &group).unwrap_or_default())?;
                rest = after;
            } else {
                out.write_char('$')?;
                rest = after;
            }
        }
        out.write_str(rest)
    }

    fn found<'t>(&self, name: &str, group: impl Fn(usize) -> Option<&'t str>) -> Option<&'t str> {
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && (name.len() == 1 || !name.starts_with('0')) {
            return group(name.parse().ok()?);
        }
        // Several groups may have one name; the first that took part counts.
        let named = self.names.iter().enumerate().filter(|(_, known)| *known == name);
        named.map(|(i, _)| group(i + 1)).find(Option::is_some).flatten()
    }
}

/// The name behind a `$`, in braces or not, and what follows.
fn reference(after: &str) -> Option<(&str, &str)> {
    let (text, braced) = after.strip_prefix('{').map_or((after, false), |text| (text, true));
    let is_letter = |c: char| c.is_alphanumeric() || c == '_';
    let len = text.find(|c| !is_letter(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(len);
    let rest = if braced { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}
