//! `quorate demo`: it catches every kind of liar, and leaves nothing behind however it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn demo(temporary: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.arg("demo").args(args).env("TMPDIR", temporary);
    command
}

fn run(temporary: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = demo(temporary, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

// One after the other: each starts several processes, and there may be few cores.
#[test]
fn every_kind_of_liar_is_named_and_nobody_is_fooled() {
    let dir = tempfile::tempdir().unwrap();
    for lie in ["wrong-output", "corrupt-digest", "silent-reply", "stale-reply", "random"] {
        let (code, out, err) = run(dir.path(), &["--lie", lie, "--requests", "200"]);
        assert_eq!(code, 0, "{lie}: {out}{err}");
        let verdict = if lie == "silent-reply" { "silent" } else { "DIFFERS" };
        let named = out.lines().filter(|l| l.trim_start().starts_with("R3 (liar)"));
        assert!(named.clone().any(|l| l.contains(verdict)), "{lie}: {out}");
        assert!(out.contains("wrong outputs accepted   0 "), "{lie}: {out}");
        assert!(!out.contains('\x1b') && err.is_empty(), "colours without a terminal: {out}{err}");
        assert!(is_empty(dir.path()), "{lie}: something is left behind");
    }
    let stories: [(&str, &[&str]); 8] = [
        ("equivocate", &["R3 is out: there is a proof that it lied", "R1 keeps a proof"]),
        ("withhold", &["R3 is out: it did not answer in time", "R3 is a member again"]),
        ("crash", &["R3 is killed", "R3 is out: ", "R3 is started again", "R3 is a member again"]),
        ("stop", &["R3 is stopped", "R3 is out: ", "R3 goes on", "R3 is a member again"]),
        ("false-blame", &["R3 (liar)"]),
        ("forge", &["R3 (liar)"]),
        ("selective", &["R3 (liar)"]),
        ("slow-drip", &["R3 (liar)"]),
    ];
    for (lie, parts) in stories {
        let (code, out, err) = run(dir.path(), &["--lie", lie, "--requests", "200"]);
        assert_eq!(code, 0, "{lie}: {out}{err}");
        assert!(parts.iter().all(|part| out.contains(part)), "{lie}: {out}");
        assert!(out.contains("wrong outputs accepted   0 "), "{lie}: {out}");
        assert!(is_empty(dir.path()), "{lie}: something is left behind");
    }
    let (code, out, err) =
        run(dir.path(), &["--t", "2", "--lie", "wrong-output", "--requests", "100", "--keep"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("R4 (liar)") && out.contains("R5 (liar)"), "{out}");
    let kept = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    assert!(out.contains(&*kept.to_string_lossy()) && kept.join("replica-5.log").exists());
    let log = fs::read_to_string(kept.join("replica-5.log")).unwrap();
    assert!(log.contains("THIS REPLICA LIES") && log.contains("stopping"), "{log}");
}

/// How long it takes is for people to read; here only that it is measured.
#[test]
fn a_stop_can_be_measured_many_times() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--lie", "crash", "--requests", "100", "--times", "2"];
    let (code, out, err) = run(dir.path(), &[&args[..], &["--json"]].concat());
    assert_eq!(code, 0, "{out}{err}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let stops: Vec<f64> =
        json["still_ms"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
    assert!(stops.len() == 2 && stops.iter().all(|s| *s > 0.0), "{json:#}");
    let median = json["median_ms"].as_f64().unwrap();
    assert!((median - (stops[0] + stops[1]) / 2.0).abs() < 0.01, "{json:#}");
    assert_eq!((&json["patience_ms"], &json["bound_ms"]), (&510.0.into(), &710.0.into()));
    let (code, out, err) = run(dir.path(), &args);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("The longest time without any answer: median "), "{out}");
    assert!(out.contains("patience 510 ms + delta 100 ms + 100 ms = 710 ms; "), "{out}");
    assert!(is_empty(dir.path()), "something is left behind");
}

#[test]
fn what_cannot_be_shown_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let rows: [(&[&str], &str); 10] = [
        (&["--lie", "white"], "there is no lie called \"white\"; there are: wrong-output"),
        (&["--lie", "white"], "drip-chunks, never-ready, wrong-path"),
        (&["--lie", "white"], "no-whole, stale-read, slow-usual, crash, stop"),
        (&["--all", "--lie", "crash"], "cannot be used with"),
        (&["--t", "0"], "--t 0 is out of range"),
        (&["--requests", "0"], "0 is not in 1.."),
        (&["--clients", "0"], "0 is not in 1.."),
        (&["--all", "--times", "2"], "cannot be used with"),
        (&["--times", "0"], "0 is not in 1.."),
        (&["--json"], "--times"),
    ];
    for (args, part) in rows {
        let (code, _, err) = run(dir.path(), args);
        assert!(code == 2 && err.contains(part), "{args:?}: {code} {err}");
    }
    assert!(is_empty(dir.path()));
}

/// A demonstration in the middle of its work, and the process ids of its replicas.
fn in_the_middle(temporary: &Path) -> (Child, BufReader<ChildStdout>, Vec<String>) {
    let mut command = demo(temporary, &["--requests", "4000000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut pids = Vec::new();
    let mut line = String::new();
    while !line.contains("all linked") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended before all were linked");
        if let Some((_, rest)) = line.split_once(" pid ") {
            pids.push(rest.split_whitespace().next().unwrap().to_owned());
        }
    }
    assert_eq!(pids.len(), 3);
    (child, out, pids)
}

// A process that has ended may stay in the table until somebody asks for its exit code.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn wait_until_all_ended(pids: &[String]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while pids.iter().any(|p| runs(p)) {
        assert!(Instant::now() < deadline, "replicas outlive the demonstration: {pids:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn however_it_ends_its_replicas_end_with_it() {
    let dir = tempfile::tempdir().unwrap();
    for (signal, code) in [("-INT", Some(130)), ("-TERM", Some(143)), ("-KILL", None)] {
        let (mut child, _out, pids) = in_the_middle(dir.path());
        assert!(pids.iter().all(|p| runs(p)));
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), code, "{signal}");
        wait_until_all_ended(&pids);
        // Nobody can tidy up after a SIGKILL.
        assert_eq!(is_empty(dir.path()), signal != "-KILL", "{signal}");
    }
}

#[test]
fn a_replica_that_ends_early_fails_the_demonstration_and_logs_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, _out, pids) = in_the_middle(dir.path());
    assert!(Command::new("kill").args(["-KILL", &pids[1]]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    wait_until_all_ended(&pids);
    let kept = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    assert!(kept.join("replica-2.log").exists());
}
