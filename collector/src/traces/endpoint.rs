//! Paths with their changing parts taken out, so that requests for different ids are one endpoint.

/// The path with numbers, ids, hashes and UUIDs replaced by `{}`; query and fragment cut off.
pub(super) fn template(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut out = String::with_capacity(path.len());
    for (i, part) in path.split('/').enumerate() {
        if i > 0 {
            out.push('/');
        }
        out.push_str(if changes(part) { "{}" } else { part });
    }
    out
}

/// Whether a part of a path looks like an id: a number, hexadecimal of some length, a UUID, or a long mix of letters
/// and many digits.
fn changes(part: &str) -> bool {
    let bytes = part.as_bytes();
    let n_digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_hex = |bytes: &[u8]| bytes.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    if bytes.is_empty() || n_digits == 0 {
        return false;
    }
    let is_number = n_digits == bytes.len();
    let is_hash = bytes.len() >= 8 && is_hex(bytes);
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
    let is_token = bytes.len() >= 16 && n_digits * 5 >= bytes.len() && bytes.iter().all(is_word);
    is_number || is_hash || is_token
}

/// The path of a URL, `/` when it has none; `None` for what is no URL.
pub(super) fn path_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let start = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let path = rest[start..].split(['?', '#']).next().unwrap_or_default();
    Some(if path.is_empty() { "/" } else { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_leave_the_path_and_words_stay() {
        let cases = [
            ("/users/42/orders", "/users/{}/orders"),
            ("/v1/items/9f86d081884c7d65?x=1", "/v1/items/{}"),
            ("/a/550e8400-e29b-41d4-a716-446655440000", "/a/{}"),
            ("/blob/a1B2c3D4e5F6g7H8", "/blob/{}"),
            ("/facade/deadbeef", "/facade/deadbeef"),
            ("/api/v2/k8s", "/api/v2/k8s"),
            ("/", "/"),
            ("", ""),
        ];
        for (path, expected) in cases {
            assert_eq!(template(path), expected);
        }
    }

    #[test]
    fn urls_give_their_path() {
        assert_eq!(path_of("https://h:1/a/b?c#d"), Some("/a/b"));
        assert_eq!(path_of("http://h?q=/x"), Some("/"));
        assert_eq!(path_of("no url"), None);
    }
}
