//! Where in a cluster file something is wrong, and what to write instead.

use std::fmt;
use std::ops::Range;

/// Why a cluster file is refused: the place, what is wrong there, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, problem, remedy } = self;
        write!(f, "{file}:{line}:{column}: {problem}; {remedy}")
    }
}

impl std::error::Error for ConfigError {}

/// The text that errors point into.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// An error at the start of `span`.
    pub(super) fn error(
        &self,
        span: Range<usize>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ConfigError {
        let (line, column) = self.position(span.start);
        ConfigError {
            file: self.file.to_owned(),
            line,
            column,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.position(offset).0
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// What the TOML reader refused: bad syntax, an unknown key, a value where a section belongs.
    pub(super) fn toml_error(&self, e: &toml::de::Error) -> ConfigError {
        let span = e.span().unwrap_or(0..0);
        let first = e.message().lines().next().unwrap_or_default();
        if let Some(rest) = first.strip_prefix("unknown field ") {
            let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
            if let Some((unknown, known)) = names.split_first() {
                return self.unknown_key(span, unknown, known);
            }
        }
        if first.contains("expected a sequence") {
            return self.error(
                span,
                first,
                "write one section [[replica]] for each replica and one [[client]] for each \
                 client, with two brackets; the same for [[chain]], while [chains] has one",
            );
        }
        let remedy = "configs/three-loopback.toml is a complete example";
        self.error(span, first, remedy)
    }

    fn unknown_key(&self, span: Range<usize>, unknown: &str, known: &[&str]) -> ConfigError {
        let near = known.iter().map(|k| (distance(unknown, k), *k)).min();
        let remedy = match near {
            Some((d, k)) if d <= 2 || d * 3 <= unknown.len() => format!("did you mean `{k}`?"),
            _ => format!("here one may write {}", known.join(", ")),
        };
        self.error(span, format!("unknown key `{unknown}`"), remedy)
    }
}

/// How many letters must be changed, added or taken away to come from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source { file: "f", text: "a\näö = 1\n" };
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(2), (2, 1));
        assert_eq!(source.position("a\näö".len()), (2, 3));
        assert_eq!(source.position(3), (2, 1));
        assert_eq!(source.position(999), (3, 1));
    }

    #[test]
    fn distances() {
        for (a, b, d) in [("delta", "delta", 0), ("dleta", "delta", 2), ("", "ab", 2), ("t", "", 1)]
        {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }
}
