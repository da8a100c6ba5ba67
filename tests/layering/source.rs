//! One source file: whose it is, which part of it is test code, which paths it names.

use super::tokens::{Token, closing, tokens};
use std::ops::Range;

/// A Rust file of the tree.
pub struct Source {
    /// Its path from the top of the tree, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its words outside of test items; empty if the whole file is test code.
    pub code: Vec<Token>,
    /// Its words in `#[cfg(test)]` items, or all of them.
    pub test_code: Vec<Token>,
    /// Lines that are test items.
    pub test_lines: usize,
    /// Whether the whole file is test code.
    pub is_test: bool,
    /// The modules that it declares for tests only: their files are test code.
    pub test_modules: Vec<String>,
}

impl Source {
    /// Reads a file's text. Below `src`, a file named `tests.rs` or `*_tests.rs`, or below a
    /// `tests` directory, is test code; outside of `src` everything is.
    pub fn new(path: &str, text: &str) -> Self {
        let below_src = path.starts_with("src/");
        let is_tests = |part: &str| part == "tests" || part == "tests.rs";
        let named_so = path.split('/').any(is_tests) || path.ends_with("_tests.rs");
        let is_test = !below_src || named_so;
        let all = tokens(text);
        let items = test_items(&all);
        let test_lines = items.iter().map(|r| all[r.end - 1].line + 1 - all[r.start].line).sum();
        let test_modules = items.iter().filter_map(|r| declared_module(&all[r.clone()])).collect();
        let (path, text) = (path.to_owned(), text.to_owned());
        let (code, test_code) = if is_test { (Vec::new(), all) } else { split(&all, &items) };
        Self { path, text, code, test_code, test_lines, is_test, test_modules }
    }

    /// Treats the whole file as test code, as its parent declares it.
    pub fn into_test(mut self) -> Self {
        self.code.append(&mut self.test_code);
        self.test_code = std::mem::take(&mut self.code);
        self.is_test = true;
        self
    }

    /// The module that the file belongs to; `None` for `src/lib.rs`, `src/main.rs` and whatever
    /// lies outside of `src`.
    pub fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let top = inside.split('/').next()?;
        let name = top.strip_suffix(".rs").unwrap_or(top);
        (!["lib", "main", "bin"].contains(&name)).then_some(name)
    }

    /// How many `super` lead from the file's own module to the top of the crate.
    pub fn depth(&self) -> usize {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let parts = inside.split('/').count();
        if inside.ends_with("/mod.rs") { parts - 1 } else { parts }
    }

    /// Where a token stands, for people.
    pub fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }
}

/// A path named in code; `use` groups are taken apart, so each leaf is a path of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Its segments; a glob ends in `*`.
    pub segments: Vec<String>,
    /// Its line, from 1.
    pub line: usize,
}

/// All paths of at least one word.
pub fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut out = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i].is_word() {
            i = tree(tokens, i, Vec::new(), &mut out);
        }
        i += 1;
    }
    out
}

// Reads the path or use tree that starts at `i` and returns the place of its last token.
fn tree(tokens: &[Token], mut i: usize, mut segments: Vec<String>, out: &mut Vec<Path>) -> usize {
    let line = tokens[i].line;
    loop {
        segments.push(tokens[i].text.clone());
        if !tokens.get(i + 1).is_some_and(|t| t.is("::")) {
            break;
        }
        match tokens.get(i + 2) {
            Some(t) if t.is_word() => i += 2,
            Some(t) if t.is("*") => {
                segments.push("*".to_owned());
                i += 2;
                break;
            }
            Some(t) if t.is("{") => return group(tokens, i + 2, &segments, out),
            _ => break,
        }
    }
    out.push(Path { segments, line });
    i
}

fn group(tokens: &[Token], open: usize, prefix: &[String], out: &mut Vec<Path>) -> usize {
    let close = closing(tokens, open);
    let mut i = open + 1;
    while i < close {
        if tokens[i].is("*") {
            let segments = [prefix, &["*".to_owned()]].concat();
            out.push(Path { segments, line: tokens[i].line });
        } else if tokens[i].is("as") {
            i += 1;
        } else if tokens[i].is_word() {
            i = tree(tokens, i, prefix.to_vec(), out);
        }
        i += 1;
    }
    close
}

fn split(all: &[Token], items: &[Range<usize>]) -> (Vec<Token>, Vec<Token>) {
    let (mut code, mut tests) = (Vec::new(), Vec::new());
    for (i, token) in all.iter().enumerate() {
        let to = if items.iter().any(|r| r.contains(&i)) { &mut tests } else { &mut code };
        to.push(token.clone());
    }
    (code, tests)
}

// The token ranges of items under `#[cfg(test)]`, attribute and all.
fn test_items(all: &[Token]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut i = 0;
    while i < all.len() {
        let starts_attribute = all[i].is("#") && all.get(i + 1).is_some_and(|t| t.is("["));
        if !starts_attribute {
            i += 1;
            continue;
        }
        let close = closing(all, i + 1);
        if is_test_gate(&all[i + 2..close]) {
            let end = item_end(all, close + 1);
            out.push(i..end + 1);
            i = end;
        } else {
            i = close;
        }
        i += 1;
    }
    out
}

fn is_test_gate(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|t| t.is(word));
    attribute.first().is_some_and(|t| t.is("cfg")) && has("test") && !has("not") && !has("any")
}

// The place of the last token of the item that starts at `i`, after further attributes.
fn item_end(all: &[Token], mut i: usize) -> usize {
    while i < all.len() {
        match all[i].text.as_str() {
            "{" => return closing(all, i),
            ";" => return i,
            "(" | "[" => i = closing(all, i),
            _ => {}
        }
        i += 1;
    }
    all.len() - 1
}

fn declared_module(item: &[Token]) -> Option<String> {
    let at = item.iter().position(|t| t.is("mod"))?;
    item.last()?.is(";").then(|| item[at + 1].text.clone())
}
