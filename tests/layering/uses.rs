//! Who uses whom.

use super::source::{Path, Source, paths};
use super::table::{Row, Table};
use super::tokens::Token;

/// Uses that the file's row does not name. Test code may use every module of its own layer or
/// below: it may fetch its material anywhere, but what it tests never hangs from above.
pub fn check(file: &Source, table: &Table) -> Vec<String> {
    let Some(row) = file.module().and_then(|m| table.row(m)) else { return Vec::new() };
    let code = find(file, row, table, &file.code, 0, |used| row.may_use.contains(&used.module));
    let inner = usize::from(!file.is_test);
    let tests = find(file, row, table, &file.test_code, inner, |used| used.layer <= row.layer);
    let mut all = [code, tests].concat();
    all.dedup();
    all
}

fn find(
    file: &Source,
    row: &Row,
    table: &Table,
    tokens: &[Token],
    inner: usize,
    allowed: impl Fn(&Row) -> bool,
) -> Vec<String> {
    let mut out = Vec::new();
    for window in tokens.windows(2).filter(|w| w[0].is("crate") && w[1].is("as")) {
        out.push(format!("{}: the crate gets no second name", file.place(window[0].line)));
    }
    for path in paths(tokens) {
        let Some(target) = target(&path, file.depth() + inner) else { continue };
        if target == row.module {
            continue;
        }
        let place = file.place(path.line);
        match table.row(target) {
            Some(used) if allowed(used) => {}
            Some(_) => out.push(format!(
                "{place}: `{}` may not use `{target}`; src/lib.rs says what it may",
                row.module
            )),
            None => out.push(format!(
                "{place}: `crate::{target}` is no module; name things where they are defined"
            )),
        }
    }
    out
}

// The top-level module that a path leads to, if it leaves the file's own by its name.
fn target(path: &Path, depth: usize) -> Option<&str> {
    let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["crate", module, ..] => Some(module),
        ["self", rest @ ..] | rest => {
            let ups = rest.iter().take_while(|s| **s == "super").count();
            (ups >= depth && ups > 0).then(|| rest.get(ups).copied().unwrap_or("super"))
        }
    }
}
