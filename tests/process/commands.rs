//! `init`, `keygen` and `check` as a user runs them: what they print and how they end.

use std::path::Path;
use std::process::{Command, Output};

fn quorate(directory: &Path, args: &[&str]) -> (i32, String, String) {
    let run =
        Command::new(env!("CARGO_BIN_EXE_quorate")).args(args).current_dir(directory).output();
    let Output { status, stdout, stderr } = run.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn from_init_to_check() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, err) = quorate(dir.path(), &["init", "--t", "1", "--dir", "my cluster"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("quorate check --config 'my cluster/quorate.toml'"), "{out}");
    let (code, out, _) = quorate(dir.path(), &["check", "--config", "my cluster/quorate.toml"]);
    assert!(code == 0 && out.contains("n = 3"), "{out}");
    let check = ["check", "--json", "--config", "my cluster/quorate.toml"];
    let (code, json, _) = quorate(dir.path(), &check);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(code == 0 && out.contains(json["cluster_id"].as_str().unwrap()));

    let (code, out, err) = quorate(dir.path(), &["init", "--dir", "my cluster"]);
    assert!(code == 2 && out.is_empty() && err.contains("exists already"), "{out}{err}");
}

#[test]
fn keygen_makes_one_identity_and_prints_the_line_for_the_cluster_file() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, _) = quorate(dir.path(), &["keygen", "--name", "alice", "--out", "keys"]);
    assert!(code == 0 && out.contains("public_key = \"MCowBQYDK2Vw"), "{out}");
    let (code, _, err) = quorate(dir.path(), &["keygen", "--name", "alice", "--out", "keys"]);
    assert!(code == 2 && err.contains("exists already"), "{err}");
}

#[test]
fn simulated_clusters_run_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, err) = quorate(dir.path(), &["sim", "--seeds", "3", "--check-determinism"]);
    assert!(code == 0 && err.is_empty() && out.contains("3 seeds, "), "{out}{err}");
    let sim = ["sim", "--mode", "liars", "--liars", "2", "--seed", "7", "--seeds", "2", "--json"];
    let (code, json, _) = quorate(dir.path(), &sim);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["failure"]), (0, &serde_json::Value::Null));
    assert_eq!((&json["seeds"], &json["cells"]["C4 too many liars"]), (&2.into(), &2.into()));
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is left behind");
}

#[test]
fn mistakes_end_with_code_two_and_one_message() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.toml"), "[cluster]\nt = 1\n").unwrap();
    let rows: [(&[&str], &str); 10] = [
        (&[], "Usage"),
        (&["dance"], "unrecognized subcommand"),
        (&["init"], "--dir"),
        (&["init", "--dir", "x", "--t", "99"], "1 to 15"),
        (&["init", "--dir", "x", "--fault-model", "crash"], "write byzantine or fail-stop"),
        (&["sim", "--liars", "4"], "at most 3 liars"),
        (&["sim", "--seeds", "1", "--minutes", "1"], "cannot be used with"),
        (&["sim", "--t", "16"], "1..=15"),
        (&["check", "--config", "none.toml"], "none.toml: No such file or directory (os error 2)"),
        (&["check", "--config", "bad.toml"], "bad.toml:1:1: [cluster] has no `fault_model`; add"),
    ];
    for (args, part) in rows {
        let (code, out, err) = quorate(dir.path(), args);
        assert_eq!((code, &*out), (2, ""), "{args:?}");
        assert!(err.contains(part) && !err.contains("panicked"), "{args:?}: {err}");
        assert!(err.matches("No such file").count() <= 1, "said twice: {err}");
    }
    assert!(!dir.path().join("x").exists());
}

/// `quorate check | head -1` must not end in a panic.
#[test]
fn a_reader_that_stops_early_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    quorate(dir.path(), &["init", "--dir", "c"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let out = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["check", "--config", "c/quorate.toml"])
        .current_dir(dir.path())
        .stdout(writer)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
