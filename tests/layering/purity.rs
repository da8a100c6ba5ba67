//! What pure modules must not touch.

use super::source::{Path, Source, paths};
use super::table::Table;

/// Forbidden in tests of pure modules too: a test that waits or listens is slow and flaky.
const NEVER: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "std::thread",
    "std::process",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::os",
    "std::sync::mpsc",
    "tokio",
    "quinn",
    "quinn_proto",
    "rustls",
    "socket2",
    "hyper",
    "hyper_util",
    "getrandom",
    "rand",
    "rand_core::OsRng",
];

/// Forbidden in the code itself; its tests may read a file or build a set.
const NOT_IN_CODE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::collections::hash_map",
    "std::collections::hash_set",
    "std::hash::RandomState",
    "tracing",
    "clap",
    "indicatif",
];

/// Words that mean the same wherever they come from.
const WORDS_NEVER: &[&str] = &["async", "await", "SystemTime", "OsRng"];
const WORDS_NOT_IN_CODE: &[&str] = &["HashMap", "HashSet"];
const MACROS_NOT_IN_CODE: &[&str] = &["println", "print", "eprintln", "eprint"];

/// What the file touches although its module is pure.
pub fn check(file: &Source, table: &Table) -> Vec<String> {
    if !file.module().and_then(|m| table.row(m)).is_some_and(|row| row.pure) {
        return Vec::new();
    }
    let mut out = Vec::new();
    let mut say = |line: usize, what: &str| {
        out.push(format!("{}: pure code does not touch `{what}`", file.place(line)));
    };
    let code_list: Vec<&str> = NEVER.iter().chain(NOT_IN_CODE).copied().collect();
    for (tokens, list) in [(&file.code, &code_list[..]), (&file.test_code, NEVER)] {
        for path in paths(tokens) {
            if list.iter().any(|banned| reaches(&path, banned)) {
                say(path.line, &path.segments.join("::"));
            }
        }
    }
    for token in &file.code {
        if WORDS_NEVER.iter().chain(WORDS_NOT_IN_CODE).any(|w| token.is(w)) {
            say(token.line, &token.text);
        }
    }
    for token in file.test_code.iter().filter(|t| WORDS_NEVER.iter().any(|w| t.is(w))) {
        say(token.line, &token.text);
    }
    for pair in file.code.windows(2).filter(|w| w[1].is("!")) {
        if MACROS_NOT_IN_CODE.iter().any(|w| pair[0].is(w)) {
            say(pair[0].line, &pair[0].text);
        }
    }
    out
}

// Whether the path names the banned thing, something in it, or a module that would lead to it
// under a shorter name (`use std::time;`, `use std::collections::*;`).
fn reaches(path: &Path, banned: &str) -> bool {
    let banned: Vec<&str> = banned.split("::").collect();
    let mut segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
    let is_glob = segments.last() == Some(&"*");
    if is_glob || segments.last() == Some(&"self") {
        segments.pop();
    }
    if segments.first() == Some(&"core") || segments.first() == Some(&"alloc") {
        segments[0] = "std";
    }
    // A single word is as often a variable as a crate: only what follows `::` is judged then.
    if path.segments.len() == 1 {
        return false;
    }
    let shared = segments.len().min(banned.len());
    segments[..shared] == banned[..shared]
}
