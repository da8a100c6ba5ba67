//! The rules of the house, read off the source text: who may use whom, what pure code must not
//! touch, how long things get, and what the tree must not contain. Every rule has a small bad
//! sample in `layering/samples.rs`, so that each is known to be able to fail.
//!
//! This reads text, not types: it finds honest mistakes and habits, not somebody who hides.

#[path = "layering/docs.rs"]
mod docs;
#[path = "layering/planted.rs"]
mod planted;
#[path = "layering/purity.rs"]
mod purity;
#[path = "layering/samples.rs"]
mod samples;
#[path = "layering/shape.rs"]
mod shape;
#[path = "layering/source.rs"]
mod source;
#[path = "layering/table.rs"]
mod table;
#[path = "layering/tokens.rs"]
mod tokens;
#[path = "layering/tree.rs"]
mod tree;
#[path = "layering/uses.rs"]
mod uses;

use source::Source;
use table::Table;

/// The table in `src/lib.rs` is well formed: unknown names and cycles cannot be written.
#[test]
fn the_module_table_reads() {
    let table = Table::of_this_crate();
    assert!(table.rows().len() > 5, "the table in src/lib.rs lists the modules");
}

/// Every module has a row and every row a module; nothing lies in `src` beside them.
#[test]
fn modules_and_table_agree() {
    let lib = tree::read("src/lib.rs");
    report(&table::differences(&Table::of_this_crate(), &lib, &tree::entries_of_src()));
}

#[test]
fn modules_use_only_what_their_rows_name() {
    let table = Table::of_this_crate();
    report(&tree::modules().iter().flat_map(|f| uses::check(f, &table)).collect::<Vec<_>>());
}

#[test]
fn pure_modules_touch_no_world() {
    let table = Table::of_this_crate();
    report(&tree::modules().iter().flat_map(|f| purity::check(f, &table)).collect::<Vec<_>>());
}

#[test]
fn files_functions_and_lines_are_short() {
    report(&tree::sources().iter().flat_map(shape::check).collect::<Vec<_>>());
}

#[test]
fn no_code_is_unfinished() {
    report(&tree::sources().iter().flat_map(shape::check_finished).collect::<Vec<_>>());
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let texts = tree::tracked_texts();
    assert!(texts.len() > 20, "the tree was not found: {} files", texts.len());
    report(&texts.iter().flat_map(|(p, t)| tree::machine_paths(p, t)).collect::<Vec<_>>());
}

/// What is built to be used or measured has the flags of `.cargo/config.toml`.
#[test]
fn no_script_takes_the_place_of_the_compilers_flags() {
    let texts = tree::tracked_texts();
    let builds = |path: &str| ["Makefile", ".ci/", "benches/"].iter().any(|p| path.starts_with(p));
    let scripts: Vec<_> = texts.iter().filter(|(path, _)| builds(path)).collect();
    assert!(scripts.iter().any(|(path, _)| path == "benches/profiled.sh"));
    report(&scripts.iter().flat_map(|(p, t)| tree::replaced_flags(p, t)).collect::<Vec<_>>());
}

#[test]
fn links_in_the_documentation_lead_somewhere() {
    let texts = tree::tracked_texts();
    let pages = texts.iter().filter(|(path, _)| path.ends_with(".md"));
    report(&pages.flat_map(|(p, t)| docs::dead_links(p, t, tree::exists)).collect::<Vec<_>>());
}

/// Rules are cited by number all over the code; the page that says what they mean has them all.
#[test]
fn rules_that_the_code_cites_are_on_the_protocols_page() {
    let protocol = tree::text("docs/protocol.md");
    // The samples here cite rules that do not exist.
    let found = tree::sources().into_iter().filter(|f| !f.path.starts_with("tests/layering/"));
    let found: Vec<Source> = found.collect();
    report(&found.iter().flat_map(|f| docs::unknown_rules(f, &protocol)).collect::<Vec<_>>());
}

/// Every kind of misbehaviour has its tests, under the names that the page gives.
#[test]
fn tests_that_the_page_on_testing_names_exist() {
    let text_of = |path: &str| tree::exists(path).then(|| tree::text(path));
    report(&docs::missing_tests(&tree::text("docs/testing.md"), text_of));
}

/// What code asks for by name is in the list of planted bugs, and the reverse.
#[test]
fn planted_bugs_are_those_of_the_list() {
    report(&planted::differences(&tree::sources(), &tree::text("src/types/plant.rs")));
}

/// Fails with all findings, one a line.
fn report(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Every finding of every rule about one file.
fn all_findings(file: &Source, table: &Table) -> Vec<String> {
    let mut all = uses::check(file, table);
    all.extend(purity::check(file, table));
    all.extend(shape::check(file));
    all.extend(shape::check_finished(file));
    all
}
