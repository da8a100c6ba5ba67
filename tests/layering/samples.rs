//! Small bad files, each with what must be said about it, and good ones with nothing to say.

use super::docs::{dead_links, missing_tests, unknown_rules};
use super::planted;
use super::source::Source;
use super::table::{Table, differences};
use super::tree::{machine_paths, replaced_flags};
use super::{all_findings, tokens};
use std::collections::BTreeSet;

const TABLE: &str = "
//! | layer | module | what | may use | pure |
//! | --- | --- | --- | --- | --- |
//! | 0 | `types` | words | – | yes |
//! | 2 | `wire` | bytes | types | yes |
//! | 4 | `voter` | votes | types wire | yes |
//! | 4 | `ordering` | order | 0–2 | yes |
//! | 6 | `transport` | quic | all | no |
";

fn findings(path: &str, text: &str) -> Vec<String> {
    all_findings(&Source::new(path, text), &Table::parse(TABLE).expect("a good table"))
}

#[track_caller]
fn refused(path: &str, text: &str, what: &str) {
    let found = findings(path, text);
    assert!(found.len() == 1 && found[0].contains(what), "{text}\n{found:?}");
}

#[track_caller]
fn fine(path: &str, text: &str) {
    assert_eq!(findings(path, text), Vec::<String>::new(), "{text}");
}

#[test]
fn a_use_upwards_is_found_however_it_is_written() {
    refused("src/wire/mod.rs", "use crate::voter::Ballot;", "wire/mod.rs:1: `wire` may not use");
    refused("src/wire/a.rs", "use crate::{types::Digest, voter::{A, B as C}};", "`voter`");
    refused("src/wire/a.rs", "fn f() -> crate::voter::Ballot { x }", "`voter`");
    refused("src/wire/a.rs", "use\n  crate\n  ::\n  voter as v;", "a.rs:2");
    refused("src/wire/mod.rs", "use super::voter::Ballot;", "`voter`");
    refused("src/wire/a/b.rs", "use super::super::super::voter::Ballot;", "`voter`");
    refused("src/voter.rs", "pub(in crate::transport) fn f() {}", "`transport`");
    refused("src/wire.rs", "macro_rules! m { () => { $crate::voter::f() } }", "`voter`");
    refused("src/voter/mod.rs", "use crate::ordering::Uid;", "may not use `ordering`");
}

#[test]
fn the_crate_itself_is_no_way_around() {
    refused("src/wire/a.rs", "use crate::*;", "`crate::*` is no module");
    refused("src/wire/a.rs", "use crate::{self};", "`crate::self` is no module");
    refused("src/wire/a.rs", "use crate as q;", "second name");
    refused("src/wire/a.rs", "use crate::Service;", "is no module");
    refused("src/wire/mod.rs", "use super::*;", "is no module");
}

#[test]
fn uses_in_comments_and_strings_are_none() {
    fine("src/wire/a.rs", "// crate::voter\n/* /* crate::voter */ */\n//! [`crate::voter`]\n");
    fine("src/wire/a.rs", r####"const A: &str = "\" crate::voter"; "####);
    fine("src/wire/a.rs", r####"const A: &[u8] = br#"" crate::voter"#; "####);
    fine("src/wire/a.rs", "fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' || c == 'x' }");
    let after = "const A: char = '\"'; use crate::voter::B;";
    refused("src/wire/a.rs", after, "`voter`");
    refused("src/wire/a.rs", r##"const A: &str = r"\"; use crate::voter::B;"##, "`voter`");
    refused("src/wire/a.rs", "fn f(r#type: u8) {} use crate::voter::B;", "`voter`");
}

#[test]
fn allowed_uses_are_allowed() {
    fine("src/voter/mod.rs", "use crate::{types::Digest, wire::{self, Reply}, voter::a};");
    fine("src/voter/a.rs", "use super::b; pub(crate) fn f() { self::g() }");
    fine("src/transport/a.rs", "use crate::ordering::Uid; async fn f() { g().await }");
    fine("src/lib.rs", "pub use voter::Ballot;");
    fine("src/ordering/a.rs", "use crate::wire::Reader;");
}

#[test]
fn test_code_uses_its_own_layer_and_below() {
    let test = |code: &str| format!("#[cfg(test)]\nmod tests {{ {code} }}");
    fine("src/voter/a.rs", &test("use super::*; use crate::ordering::Uid;"));
    fine("src/voter/tests.rs", "use crate::ordering::Uid;");
    fine("src/voter/votes_tests.rs", "use crate::ordering::Uid; fn f() { a.unwrap(); }");
    refused("src/voter/a.rs", &test("use crate::transport::Link;"), "`transport`");
    refused("src/voter/tests/a.rs", "use crate::transport::Link;", "`transport`");
    let before = "use crate::ordering::Uid;\n#[cfg(test)] mod tests { use super::*; }";
    refused("src/voter/a.rs", before, "a.rs:1");
    let after = "#[cfg(test)] mod tests { fn f() { [1] } } use crate::ordering::Uid;";
    refused("src/voter/a.rs", after, "`ordering`");
    refused("src/voter/a.rs", "#[cfg(not(test))] use crate::ordering::Uid;", "`ordering`");
}

#[test]
fn a_file_declared_for_tests_is_test_code() {
    let parent = Source::new("src/voter/mod.rs", "#[cfg(test)]\nmod fixtures;\nmod ballots;");
    assert_eq!(parent.test_modules, ["fixtures"]);
    let file = Source::new("src/voter/fixtures.rs", "use crate::ordering::Uid;").into_test();
    assert!(all_findings(&file, &Table::parse(TABLE).expect("a good table")).is_empty());
}

#[test]
fn pure_code_touches_no_world() {
    for bad in [
        "use std::time::Instant;",
        "use std::time::{Duration, SystemTime as S};",
        "use std::time;",
        "use std::time::*;",
        "use std::{fmt, thread};",
        "fn f() { std::fs::read(x); }",
        "fn f() { ::std::env::args(); }",
        "use std::net::{SocketAddr, UdpSocket};",
        "use std::collections::*;",
        "use core::time::Instant;",
        "use tokio::time::sleep;",
        "use quinn::Endpoint;",
        "fn f() { rand::random(); }",
        "fn f() { getrandom::fill(x); }",
        "fn f() { println!(); }",
        "async fn f() {}",
        "fn f(m: &HashMap<u8, u8>) {}",
        "fn f(m: &HashSet<u8>) {}",
    ] {
        let found = findings("src/voter/a.rs", bad);
        assert!(!found.is_empty(), "{bad}");
        assert!(found.iter().all(|f| f.contains("pure code does not touch")), "{found:?}");
    }
    fine("src/voter/a.rs", "use crate::types::Instant; use std::time::Duration; use std::fmt;");
    fine("src/voter/a.rs", "use std::net::SocketAddr; fn f(rand: u8) { rand.max(1); }");
    fine("src/transport/a.rs", "use std::time::Instant; use std::collections::HashMap;");
}

#[test]
fn tests_of_pure_code_may_read_files_but_never_wait() {
    let test = |code: &str| format!("#[cfg(test)]\nmod tests {{ {code} }}");
    fine("src/voter/a.rs", &test("use std::collections::HashSet; fn f() { std::fs::read(x); }"));
    let sleep = test("fn f() { std::thread::sleep(x); }");
    refused("src/voter/a.rs", &sleep, "std::thread::sleep");
}

#[test]
fn long_things_are_found() {
    refused("src/voter/a.rs", &"const A: u8 = 1;\n".repeat(501), "501 lines");
    fine("src/voter/a.rs", &"const A: u8 = 1;\n".repeat(500));
    let code = "const A: u8 = 1;\n".repeat(400);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "const A: u8 = 1;\n".repeat(400));
    fine("src/voter/a.rs", &(code + &tests));
    refused("tests/it/a.rs", &"const A: u8 = 1;\n".repeat(801), "801 lines");
    refused("src/voter/a.rs", &format!("// {}", "x".repeat(98)), "101 columns");
    fine("src/voter/a.rs", &format!("// {}\n//! | {}", "ä".repeat(97), "x".repeat(200)));
}

#[test]
fn long_functions_are_found() {
    let body = |lines: usize| format!("fn f() {{\n{}}}\n", "a();\n".repeat(lines - 2));
    refused("src/voter/a.rs", &body(71), "`f` has 71 lines");
    fine("src/voter/a.rs", &body(70));
    let tricky = "fn g<const N: usize>(a: [u8; N], f: fn(u8) -> u8) -> impl Fn()\nwhere A: B {\n";
    let long = format!("{tricky}{}}}", "let a = '}'; let b = \"}\"; // }\n".repeat(70));
    refused("src/voter/a.rs", &long, "`g` has 73 lines");
    let signature = format!("trait T {{ fn a(x: [u8; 3]); }}\n{}", "const A: u8 = 1;\n".repeat(99));
    fine("src/voter/a.rs", &signature);
}

#[test]
fn unfinished_code_is_found() {
    refused("src/voter/a.rs", "fn f() { todo!() }", "`todo!` is left");
    refused("tests/it/a.rs", "fn f() { unimplemented!() }", "`unimplemented!` is left");
    refused("src/lib.rs", "fn f() { dbg!(x); }", "`dbg!` is left");
    refused("tests/it/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}", "nobody runs");
    refused("src/voter/a.rs", "fn f() { a.unwrap(); }", "`unwrap` outside of tests");
    fine("tests/it/a.rs", "fn f() { a.unwrap(); } // todo!() and #[ignore]");
}

#[test]
fn machine_paths_are_found() {
    for name in ["home", "root", "tmp", "Users"] {
        let bad = format!("see (/{name}/me/notes)");
        assert_eq!(machine_paths("a.md", &bad).len(), 1, "{bad}");
        let good = format!("https://example.org/{name}/page and docs/{name}/page");
        assert_eq!(machine_paths("a.md", &good), Vec::<String>::new());
    }
}

#[test]
fn replaced_flags_are_found() {
    for bad in ["RUSTFLAGS=\"$flags\" cargo build", "\tRUSTFLAGS=-Ca cargo b", "export RUSTFLAGS=a"]
    {
        assert_eq!(replaced_flags("a.sh", bad).len(), 1, "{bad}");
    }
    let good = "# RUSTFLAGS as for cargo\nRUSTDOCFLAGS=a cargo doc\nunset RUSTFLAGS";
    assert_eq!(replaced_flags("a.sh", good), Vec::<String>::new());
}

#[test]
fn dead_links_are_found() {
    let exists = |path: &str| ["README.md", "docs/a.md", "docs/adr"].contains(&path);
    let page = "[a](a.md) [b](../README.md#part) [c](https://a.b/c) [d](#here) [e](adr/)";
    assert_eq!(dead_links("docs/b.md", page, exists), Vec::<String>::new());
    assert_eq!(dead_links("docs/adr/b.md", "x\n[a](a.md)", exists).len(), 1);
    assert!(dead_links("README.md", "[a](b.md)", exists)[0].contains("README.md:1"));
}

#[test]
fn rows_without_their_tests_are_found() {
    let row = |n: u32| format!("| K{n} | does | holds | `tests/a.rs` `it_holds` |\n");
    let page: String = (1..=20).map(row).collect();
    let text_of = |path: &str| (path == "tests/a.rs").then(|| "fn it_holds() {}".to_owned());
    let found = |page: &str| missing_tests(page, text_of);
    assert_eq!(found(&page), Vec::<String>::new());
    assert_eq!(found(&page.replace("| K7 |", "| K70 |")), ["K7 has no row"]);
    assert_eq!(found(&format!("{page}{}", row(3))), ["K3 has two rows"]);
    let bad = [
        ("| B1 | does | holds | nothing yet |", "B1 names no test"),
        ("| B1 | does | holds | `it_holds` |", "B1: there is no test `it_holds` in ``"),
        ("| B1 | does | `x` | `tests/a.rs` `it` |", "B1: there is no test `it` in `tests/a.rs`"),
        ("| B1 | does | holds | `b.rs` `it_holds` |", "B1: there is no test `it_holds` in `b.rs`"),
    ];
    for (row, what) in bad {
        assert_eq!(found(&format!("{page}{row}\n")), [what]);
    }
}

#[test]
fn rules_that_nobody_wrote_down_are_found() {
    let protocol = "- **R4 Validity.** and **O6**, `M1` to `M4`.";
    let found = |comment: &str| unknown_rules(&Source::new("src/voter/a.rs", comment), protocol);
    assert_eq!(found("/// rule O6 and (R4, O6), rules M2 to M4; a bare C9"), Vec::<String>::new());
    assert_eq!(found("let a = b(C9);"), Vec::<String>::new());
    for bad in ["/// rule O9", "// rules R4 and O9.", "f(); // see (O9)", "//! (R4, O9)"] {
        assert!(found(bad).iter().all(|f| f.contains("no rule O9")), "{bad}");
        assert_eq!(found(bad).len(), 1, "{bad}");
    }
}

#[test]
fn a_bad_table_is_refused() {
    let row = |row: &str| Table::parse(&format!("{TABLE}//! | {row} |\n")).err();
    let refused = |text: &str, what: &str| {
        let error = row(text).unwrap_or_default();
        assert!(error.contains(what), "{text}: {error}");
    };
    assert_eq!(row("7 | `daemon` | the process | 0–6 | no"), None);
    refused("7 | `daemon` | the process | cli | no", "`cli` is no row above");
    refused("7 | `daemon` | the process | daemon | no", "is no row above");
    refused("5 | `late` | out of order | – | no", "order of their layers");
    refused("7 | `voter` | again | – | no", "two rows");
    refused("7 | `sim` | pure | transport | yes", "cannot use `transport`");
    refused("7 | `sim` | pure | – | maybe", "yes or no");
    refused("7 | `sim` | pure | –", "4 cells");
    assert!(Table::parse("//! nothing").is_err());
}

#[test]
fn a_table_that_lags_behind_is_found() {
    let table = Table::parse(TABLE).expect("a good table");
    let all = "pub mod types; pub mod wire; pub mod voter; pub mod ordering; pub mod transport;";
    let entries = |names: &str| names.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
    let say = |lib: &str, names: &str| {
        differences(&table, &Source::new("src/lib.rs", lib), &entries(names)).join("\n")
    };
    assert_eq!(say(all, "types wire"), "");
    assert!(say(&format!("{all} mod extra;"), "types").contains("`extra` is a module without"));
    assert!(say(&all.replace("pub mod wire;", ""), "types").contains("`wire` has a row"));
    assert!(say(all, "stray").contains("`stray` lies in src"));
}

#[test]
fn words_know_their_lines() {
    let cut = tokens::tokens("a\n\"b\nc\" d::e /*\n*/ 'f");
    let cut: Vec<(&str, usize)> = cut.iter().map(|t| (t.text.as_str(), t.line)).collect();
    assert_eq!(cut, [("a", 1), ("\"\"", 3), ("d", 3), ("::", 3), ("e", 3), ("'f", 4)]);
}

#[test]
fn a_planted_bug_without_an_entry_is_found_and_an_entry_without_a_bug() {
    let list = "const PLANTS: &[_] = &[(\"a\", \"A: it\"),\n(\n\"b\",\n\"B: (it)\",\n),\n];";
    let found = |text: &str| planted::differences(&[Source::new("src/wire/a.rs", text)], list);
    let all = "if planted(\"a\") && !planted(\"b\") {}";
    assert!(found(all).is_empty());
    assert_eq!(found("if planted(\"a\") {}"), ["`b` is listed, and no code asks for it"]);
    let wrong = found(&format!("{all}\nif planted(\"c\") {{}}"));
    assert_eq!(wrong, ["src/wire/a.rs:2: `c` is not listed"]);
}
