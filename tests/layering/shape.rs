//! How long things get, and what unfinished code looks like.

use super::source::Source;
use super::tokens::{Token, closing};

const FILE_LINES: usize = 500;
const TEST_FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;
const COLUMNS: usize = 100;

/// Files, functions and lines that are too long. Rows of tables in documentation may be wide.
pub fn check(file: &Source) -> Vec<String> {
    let mut out = Vec::new();
    let lines = file.text.lines().count();
    let (counted, limit) = match file.is_test {
        true => (lines, TEST_FILE_LINES),
        false => (lines.saturating_sub(file.test_lines), FILE_LINES),
    };
    if counted > limit {
        out.push(format!("{}: {counted} lines, {limit} are enough", file.path));
    }
    for (line, number) in file.text.lines().zip(1..) {
        let columns = line.chars().count();
        let is_table = line.trim_start().starts_with("//! |");
        if columns > COLUMNS && !is_table {
            out.push(format!("{}: {columns} columns, {COLUMNS} fit", file.place(number)));
        }
    }
    for (name, line, length) in functions(&file.code).chain(functions(&file.test_code)) {
        if length > FUNCTION_LINES {
            let place = file.place(line);
            out.push(format!("{place}: `{name}` has {length} lines, {FUNCTION_LINES} are enough"));
        }
    }
    out
}

/// Macros of unfinished code, tests that never run, and `unwrap` where a reason is due.
pub fn check_finished(file: &Source) -> Vec<String> {
    let mut out = Vec::new();
    let both = [&file.code, &file.test_code];
    for pair in both.iter().flat_map(|tokens| tokens.windows(2)) {
        let unfinished = ["todo", "unimplemented", "dbg"].iter().any(|w| pair[0].is(w));
        if unfinished && pair[1].is("!") {
            out.push(format!("{}: `{}!` is left", file.place(pair[0].line), pair[0].text));
        }
    }
    for three in both.iter().flat_map(|tokens| tokens.windows(3)) {
        if three[0].is("#") && three[1].is("[") && three[2].is("ignore") {
            out.push(format!("{}: a test that nobody runs", file.place(three[0].line)));
        }
    }
    for three in file.code.windows(3) {
        if three[0].is(".") && three[1].is("unwrap") && three[2].is("(") {
            let place = file.place(three[1].line);
            out.push(format!("{place}: `unwrap` outside of tests; `expect` says why it is safe"));
        }
    }
    out
}

// (name, first line, number of lines) of every function with a body.
fn functions(tokens: &[Token]) -> impl Iterator<Item = (&str, usize, usize)> {
    tokens.iter().enumerate().filter(|(_, t)| t.is("fn")).filter_map(|(i, keyword)| {
        let name = tokens.get(i + 1).filter(|t| t.is_word())?;
        let open = body(tokens, i)?;
        let last = tokens[closing(tokens, open)].line;
        Some((name.text.as_str(), keyword.line, last + 1 - keyword.line))
    })
}

// The place of the brace that opens the body of the function at `i`; `None` for a mere signature.
fn body(tokens: &[Token], mut i: usize) -> Option<usize> {
    while i < tokens.len() {
        match tokens[i].text.as_str() {
            "{" => return Some(i),
            ";" => return None,
            "(" | "[" => i = closing(tokens, i),
            _ => {}
        }
        i += 1;
    }
    None
}
