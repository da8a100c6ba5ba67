//! The documentation against the tree: links lead somewhere, rules that code cites exist, and so do
//! the tests that the tables of misbehaviour name.

use super::source::Source;
use std::collections::BTreeSet;

/// Links of a Markdown text to files that are not there. `exists` gets paths from the top.
pub fn dead_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut out = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let elsewhere = file.is_empty() || link.contains("://");
            if !elsewhere && !exists(&resolve(path, file)) {
                out.push(format!("{path}:{number}: `{link}` leads nowhere"));
            }
        }
    }
    out
}

/// Rules that a source file cites and the protocol's page does not have. Citations are
/// `rule O6`, `rules R4 and C1`, `(O2)`, `(R4, O6)`; a bare `R2` is a replica.
pub fn unknown_rules(file: &Source, protocol: &str) -> Vec<String> {
    let known = labels(protocol);
    let mut out = Vec::new();
    for (line, number) in file.text.lines().zip(1..) {
        let Some((_, comment)) = line.split_once("//") else { continue };
        for label in cited(comment).difference(&known) {
            out.push(format!("{}: no rule {label} in docs/protocol.md", file.place(number)));
        }
    }
    out
}

/// Rows of the tables of misbehaviour whose tests do not exist, K labels that have no row, and rows
/// without a test. `text_of` gives the text of a file by its path from the top, if there is one.
pub fn missing_tests(page: &str, text_of: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut out = Vec::new();
    let mut rows = BTreeSet::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [label, .., tests] = cells[..] else { continue };
        if !is_misbehaviour(label) {
            continue;
        }
        if !rows.insert(label.to_owned()) {
            out.push(format!("{label} has two rows"));
        }
        let (mut file, mut count) = (("", None), 0);
        for name in tests.split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                file = (name, text_of(name));
                continue;
            }
            count += 1;
            let function = format!("fn {name}(");
            if !file.1.as_ref().is_some_and(|text| text.contains(&function)) {
                out.push(format!("{label}: there is no test `{name}` in `{}`", file.0));
            }
        }
        if count == 0 {
            out.push(format!("{label} names no test"));
        }
    }
    let all = (1..=20).map(|n| format!("K{n}"));
    out.extend(all.filter(|k| !rows.contains(k)).map(|k| format!("{k} has no row")));
    out
}

fn is_misbehaviour(label: &str) -> bool {
    let number = label.strip_prefix('K').or(label.strip_prefix('B'));
    number.is_some_and(|n| n.parse::<u8>().is_ok())
}

fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/').filter(|p| !p.is_empty() && *p != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

fn cited(comment: &str) -> BTreeSet<String> {
    let after_word = ["rule ", "rules ", "Rule ", "Rules "]
        .iter()
        .flat_map(|word| comment.split(word).skip(1))
        .map(|rest| rest.split(['.', ';', ':', ')']).next().unwrap_or_default());
    let in_brackets = comment
        .split('(')
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(inside, _)| inside))
        .filter(|inside| inside.split([',', ' ']).all(|w| w.is_empty() || is_label(w)));
    let mut out = BTreeSet::new();
    for text in after_word {
        let words = text.split([',', ' ']).filter(|w| !w.is_empty());
        let run = words.take_while(|w| is_label(w) || ["and", "to", "or"].contains(w));
        out.extend(run.filter(|w| is_label(w)).map(str::to_owned));
    }
    for inside in in_brackets {
        out.extend(inside.split([',', ' ']).filter(|w| is_label(w)).map(str::to_owned));
    }
    out
}

fn labels(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let single: BTreeSet<String> = words.filter(|w| is_label(w)).map(str::to_owned).collect();
    let mut all = single.clone();
    // `E1 to E8` names everything between.
    let trim = |w| str::trim_matches(w, |c: char| !c.is_alphanumeric());
    let words: Vec<&str> = text.split_whitespace().map(trim).collect();
    for three in words.windows(3).filter(|w| w[1] == "to" && is_label(w[0])) {
        let last = three[2];
        if is_label(last) && last[..1] == three[0][..1] {
            let number = |label: &str| label[1..].parse::<u32>().unwrap_or_default();
            let between = number(three[0])..=number(last);
            all.extend(between.map(|n| format!("{}{n}", &last[..1])));
        }
    }
    all
}

fn is_label(word: &str) -> bool {
    let mut chars = word.chars();
    let letter = chars.next().is_some_and(|c| "ROECFQM".contains(c));
    let digits = chars.as_str();
    letter && (1..=2).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit())
}
