//! Names that resemble what somebody typed: filtered, scored, sorted, cut. Pure; used by the search API.

/// How resemblance is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resemblance {
    /// The term's characters stand in the name in their order; the closer together, the better.
    #[default]
    Subsequence,
    /// Jaro and Winkler's similarity: common characters, transpositions, a common beginning.
    JaroWinkler,
}

/// In which order names are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By name, rising.
    #[default]
    Rising,
    /// By name, falling.
    Falling,
    /// Best first, then by name.
    Score,
}

/// Which names are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// A name must resemble one of these; none at all lets every name pass.
    pub terms: Vec<String>,
    /// Least score of what only resembles, 0 to 1. A name that contains a term passes in any case.
    pub score_min: f64,
    /// How resemblance is measured.
    pub resemblance: Resemblance,
    /// Whether `A` is not `a`.
    pub case_sensitive: bool,
    /// In which order.
    pub order: Order,
    /// Names at most.
    pub limit: usize,
}

/// What is left of the names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// Names with their scores, 0 to 1.
    pub names: Vec<(String, f64)>,
    /// Whether the limit cut some off.
    pub has_more: bool,
}

/// The names that `wish` wants.
#[must_use]
pub fn rank(names: impl IntoIterator<Item = String>, wish: &Wish) -> Ranking {
    let folded = |text: &str| -> Vec<char> {
        if wish.case_sensitive {
            text.chars().collect()
        } else {
            text.chars().flat_map(char::to_lowercase).collect()
        }
    };
    let terms: Vec<Vec<char>> = wish.terms.iter().map(|term| folded(term)).collect();
    let mut found: Vec<(String, f64)> = Vec::new();
    for name in names {
        let text = folded(&name);
        let scores = terms.iter().filter_map(|term| score(term, &text, wish));
        let best =
            scores.fold(None, |best: Option<f64>, score| Some(best.unwrap_or(score).max(score)));
        match best {
            Some(best) => found.push((name, best)),
            None if terms.is_empty() => found.push((name, 1.0)),
            None => {}
        }
    }
    match wish.order {
        Order::Rising => found.sort_by(|a, b| a.0.cmp(&b.0)),
        Order::Falling => found.sort_by(|a, b| b.0.cmp(&a.0)),
        Order::Score => found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0))),
    }
    let has_more = found.len() > wish.limit;
    found.truncate(wish.limit);
    Ranking { names: found, has_more }
}

/// How much `name` resembles `term`; `None` when it does not pass.
fn score(term: &[char], name: &[char], wish: &Wish) -> Option<f64> {
    if term.is_empty() || term == name {
        return Some(1.0);
    }
    let share = part(term.len(), name.len());
    if let Some(at) = name.windows(term.len()).position(|window| window == term) {
        // Above all that only resembles; a beginning above the rest.
        return Some(if at == 0 { 0.9 } else { 0.8 } + share / 10.0);
    }
    let score = match wish.resemblance {
        Resemblance::Subsequence => {
            let span = shortest_span(term, name)?;
            0.8 * part(term.len(), span) * (0.5 + share / 2.0)
        }
        Resemblance::JaroWinkler => jaro_winkler(term, name),
    };
    (score >= wish.score_min).then_some(score)
}

fn part(of: usize, whole: usize) -> f64 {
    of as f64 / whole.max(1) as f64
}

/// Length of the first stretch of `name` that has the characters of `term` in order, pulled together from its end.
fn shortest_span(term: &[char], name: &[char]) -> Option<usize> {
    let mut wanted = term.iter().peekable();
    let end = name.iter().position(|c| {
        wanted.next_if(|next| *next == c);
        wanted.peek().is_none()
    })?;
    let mut wanted = term.iter().rev().peekable();
    let start = (0..=end).rev().find(|at| {
        wanted.next_if(|next| **next == name[*at]);
        wanted.peek().is_none()
    })?;
    Some(end - start + 1)
}

/// Jaro's similarity, raised for a common beginning of up to four characters however small it is, unlike the crate's own.
/// Source: W. E. Winkler, "String comparator metrics and enhanced decision rules", 1990.
fn jaro_winkler(a: &[char], b: &[char]) -> f64 {
    let jaro = strsim::generic_jaro(&Characters(a), &Characters(b));
    let beginning = a.iter().zip(b).take(4).take_while(|(x, y)| x == y).count() as f64;
    jaro + beginning * 0.1 * (1.0 - jaro)
}

/// A text as the crate wants it.
struct Characters<'a>(&'a [char]);

impl<'a> IntoIterator for &Characters<'a> {
    type Item = &'a char;
    type IntoIter = std::slice::Iter<'a, char>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(names: &[&str], wish: &Wish) -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned());
        rank(names, wish).names.into_iter().map(|(name, _)| name).collect()
    }

    fn wish(terms: &[&str]) -> Wish {
        let terms = terms.iter().map(|term| (*term).to_owned()).collect();
        Wish { terms, limit: 10, ..Wish::default() }
    }

    #[test]
    fn what_is_equal_begins_or_contains_comes_first() {
        let names = ["my_http_total", "http_requests", "h_t_t_p", "http", "up"];
        let best = Wish { order: Order::Score, ..wish(&["http"]) };
        assert_eq!(ranked(&names, &best), ["http", "http_requests", "my_http_total", "h_t_t_p"]);
        assert_eq!(ranked(&names, &wish(&["UP", "my"])), ["my_http_total", "up"]);
        let exact = Wish { case_sensitive: true, ..wish(&["UP"]) };
        assert!(ranked(&names, &exact).is_empty());
        let strict = Wish { score_min: 0.7, ..wish(&["http"]) };
        assert_eq!(ranked(&names, &strict), ["http", "http_requests", "my_http_total"]);
        let falling = Wish { order: Order::Falling, limit: 2, ..wish(&[]) };
        assert_eq!(ranked(&names, &falling), ["up", "my_http_total"]);
        assert!(rank(["a".to_owned(), "b".to_owned(), "c".to_owned()], &falling).has_more);
    }

    #[test]
    fn similarity_is_winklers() {
        let of = |a: &str, b: &str| {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            (jaro_winkler(&a, &b) * 1000.0).round() / 1000.0
        };
        assert_eq!(of("MARTHA", "MARHTA"), 0.961);
        assert_eq!(of("DWAYNE", "DUANE"), 0.84);
        assert_eq!(of("DIXON", "DICKSONX"), 0.813);
        assert_eq!(of("abc", "xyz"), 0.0);
    }

    #[test]
    fn a_span_is_pulled_together() {
        let of = |term: &str, name: &str| {
            let (a, b): (Vec<char>, Vec<char>) = (term.chars().collect(), name.chars().collect());
            shortest_span(&a, &b)
        };
        assert_eq!(of("abc", "a_a_bc"), Some(4));
        assert_eq!(of("abc", "cba"), None);
    }
}
