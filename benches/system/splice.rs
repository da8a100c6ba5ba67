//! Sections of a document between markers.

use anyhow::{Context, bail};

/// The document with what stands between the markers of this name replaced.
///
/// # Errors
/// If a marker is missing, is there twice, or the second stands before the first.
pub fn splice(document: &str, name: &str, section: &str) -> anyhow::Result<String> {
    let (begin, end) = markers(name);
    let find = |marker: &str| -> anyhow::Result<usize> {
        let mut found = document.match_indices(marker).map(|(at, _)| at);
        let at = found.next().with_context(|| {
            format!("there is no line `{marker}`; add it where the section `{name}` belongs")
        })?;
        if found.next().is_some() {
            bail!("`{marker}` is there twice; remove one");
        }
        Ok(at)
    };
    let (from, to) = (find(&begin)? + begin.len(), find(&end)?);
    if to < from {
        bail!("`{end}` stands before `{begin}`");
    }
    Ok(format!("{}\n{}\n{}", &document[..from], section.trim(), &document[to..]))
}

/// What encloses a section.
pub fn markers(name: &str) -> (String, String) {
    (format!("<!-- bench:{name}:begin -->"), format!("<!-- bench:{name}:end -->"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# Title\n\n<!-- bench:one:begin -->\nold\n<!-- bench:one:end -->\n\n\
                            <!-- bench:two:begin -->\nkept\n<!-- bench:two:end -->\nend\n";

    #[test]
    fn only_the_section_of_that_name_is_replaced() {
        let new = splice(DOCUMENT, "one", "\nnew\nlines\n").unwrap();
        assert_eq!(new, DOCUMENT.replace("old", "new\nlines"));
        assert_eq!(splice(&new, "one", "old").unwrap(), DOCUMENT, "and back");
        assert_eq!(splice(DOCUMENT, "two", "kept").unwrap(), DOCUMENT, "nothing else changes");
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        assert!(splice(DOCUMENT, "three", "x").unwrap_err().to_string().contains("three"));
        assert!(splice(&DOCUMENT.repeat(2), "one", "x").is_err(), "twice");
        let turned = "<!-- bench:one:end -->\n<!-- bench:one:begin -->\n";
        assert!(splice(turned, "one", "x").is_err(), "the wrong way round");
        assert!(splice("<!-- bench:one:begin -->\n", "one", "x").is_err(), "without an end");
    }
}
