//! URLs as they may be shown: without the user and the password they hold.

use std::borrow::Cow;

/// `http://user:password@host/path` as `http://***@host/path`; what has neither user nor password as it is. The scheme
/// may be left out. Of what is no URL nothing before its last `@` is shown.
pub(crate) fn redacted(url: &str) -> Cow<'_, str> {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(begin);
    let authority = match reqwest::Url::parse(url) {
        Ok(_) => rest.find(['/', '?', '#']).unwrap_or(rest.len()),
        Err(_) => rest.len(),
    };
    match rest[..authority].rfind('@') {
        Some(at) => Cow::Owned(format!("{scheme}***{}", &rest[at..])),
        None => Cow::Borrowed(url),
    }
}

/// For fields of a configuration that is shown.
pub(crate) fn shown<S: serde::Serializer>(url: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&redacted(url))
}

/// As [`shown`], for a field that may be missing.
#[expect(clippy::ref_option, reason = "serde hands over the field as it is")]
pub(crate) fn shown_option<S: serde::Serializer>(
    url: &Option<String>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match url {
        Some(url) => to.serialize_some(&redacted(url)),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_hidden_and_nothing_else() {
        for (url, wanted) in [
            ("http://h:1/a@b?c=d@e", "http://h:1/a@b?c=d@e"),
            ("http://user:secret@h:1/a@b", "http://***@h:1/a@b"),
            ("https://token@h", "https://***@h"),
            ("http://user:sec@ret@h/x", "http://***@h/x"),
            ("http://user:sec/ret@h/x", "http://***@h/x"),
            ("user:secret@consul:8500", "***@consul:8500"),
            ("consul:8500", "consul:8500"),
            ("", ""),
        ] {
            assert_eq!(redacted(url), wanted, "{url}");
        }
    }
}
