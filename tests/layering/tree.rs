//! The files of this tree.

use super::source::Source;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directories that may hold Rust files.
const ROOTS: [&str; 5] = ["src", "tests", "benches", "examples", "fuzz"];

/// One Rust file by its path from the top.
pub fn read(path: &str) -> Source {
    Source::new(path, &text(path))
}

/// One file's text by its path from the top.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Whether there is a file or directory of this path from the top.
pub fn exists(path: &str) -> bool {
    top().join(path).exists()
}

/// All Rust files; those that a parent declares under `#[cfg(test)]` count as test code.
pub fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    ROOTS.iter().for_each(|root| walk(&top().join(root), &mut paths));
    let rust = paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs"));
    let files: Vec<Source> = rust.map(|p| read(&relative(&p))).collect();
    let test_files: BTreeSet<String> = files.iter().flat_map(declared_test_files).collect();
    let mark = |f: Source| if test_files.contains(&f.path) { f.into_test() } else { f };
    files.into_iter().map(mark).collect()
}

/// All Rust files that belong to a module of the library.
pub fn modules() -> Vec<Source> {
    let found: Vec<Source> = sources().into_iter().filter(|f| f.module().is_some()).collect();
    assert!(found.len() > 20, "src was not found: {} files", found.len());
    found
}

/// The names directly in `src`, without `lib.rs` and `main.rs`.
pub fn entries_of_src() -> BTreeSet<String> {
    let mut paths = Vec::new();
    walk(&top().join("src"), &mut paths);
    let files = paths.iter().map(|p| Source::new(&relative(p), ""));
    files.filter_map(|f| f.module().map(str::to_owned)).collect()
}

/// Every text that git tracks or would track; without git, every text outside of `target`.
pub fn tracked_texts() -> Vec<(String, String)> {
    let paths = tracked_by_git().unwrap_or_else(|| {
        let mut paths = Vec::new();
        walk(top(), &mut paths);
        paths.iter().map(|p| relative(p)).collect()
    });
    let read = |p: String| std::fs::read_to_string(top().join(&p)).ok().map(|text| (p, text));
    paths.into_iter().filter_map(read).collect()
}

/// Lines that name a path which exists only on somebody's machine.
pub fn machine_paths(path: &str, text: &str) -> Vec<String> {
    // Spelt apart, so that this file passes its own rule.
    let needles = ["home", "root", "tmp", "Users"].map(|name| format!("/{name}/"));
    let starts_here = |line: &str, at: usize| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-~}/".contains(c))
    };
    let mut out = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for needle in &needles {
            if line.match_indices(needle).any(|(at, _)| starts_here(line, at)) {
                out.push(format!("{path}:{number}: names a path below `{needle}`"));
            }
        }
    }
    out
}

/// Lines that set RUSTFLAGS: cargo takes them in place of those in `.cargo/config.toml`.
pub fn replaced_flags(path: &str, text: &str) -> Vec<String> {
    let sets = |line: &str| {
        let words = line.split(|c: char| c.is_whitespace() || "\"';$(".contains(c));
        words.into_iter().any(|word| word.starts_with("RUSTFLAGS="))
    };
    let lines = text.lines().zip(1..).filter(|(line, _)| sets(line));
    let with = "`--config build.rustflags=` joins them";
    lines
        .map(|(_, at)| format!("{path}:{at}: replaces the flags of cargo's file; {with}"))
        .collect()
}

fn tracked_by_git() -> Option<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(top()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().ok().filter(|o| o.status.success())?;
    let names = String::from_utf8(output.stdout).ok()?;
    Some(names.split('\0').filter(|n| !n.is_empty()).map(str::to_owned).collect())
}

fn declared_test_files(parent: &Source) -> Vec<String> {
    let stem = parent.path.trim_end_matches("mod.rs").trim_end_matches(".rs");
    let directory = stem.trim_end_matches('/');
    let files = |m: &String| [format!("{directory}/{m}.rs"), format!("{directory}/{m}/mod.rs")];
    parent.test_modules.iter().flat_map(files).collect()
}

fn walk(directory: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.map(|e| e.expect("the tree can be listed").path()) {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() { walk(&path, out) } else { out.push(path) }
    }
}

fn relative(path: &Path) -> String {
    let inside = path.strip_prefix(top()).expect("walked from the top");
    inside.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
