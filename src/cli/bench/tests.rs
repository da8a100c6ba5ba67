//! The command line of `bench` against a cluster file.

use super::*;
use crate::files::init::{InitOptions, write_cluster};
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    bench: Bench,
}

fn bench(more: &str) -> Result<Bench, String> {
    let line = format!("bench --config c.toml --key k.pem {more}");
    Line::try_parse_from(line.split_whitespace()).map(|l| l.bench).map_err(|e| e.to_string())
}

fn cluster() -> Cluster {
    let directory = tempfile::tempdir().unwrap();
    write_cluster(&InitOptions::new(directory.path())).unwrap().cluster
}

#[test]
fn defaults_are_one_request_at_a_time_of_puts() {
    let bench = bench("").unwrap();
    let settings = bench.settings(crate::config::FaultModel::Byzantine);
    assert_eq!((settings.clients, settings.outstanding, settings.value_bytes), (1, 1, 128));
    assert_eq!((&*settings.mix, settings.keys, settings.rate), ("put=1", 10_000, None));
    assert_eq!((settings.commands_per_request, bench.timeout), (1, Duration::from_secs(10)));
    assert_eq!(bench.check(&cluster(), None), Ok(()));
}

#[test]
fn numbers_out_of_range_are_refused_with_the_option_named() {
    for (more, option) in [
        ("--clients 0", "--clients"),
        ("--outstanding 0", "--outstanding"),
        ("--seconds 0", "--seconds"),
        ("--rate 0", "--rate"),
        ("--keys 100000001", "--keys"),
        ("--commands-per-request 0", "--commands-per-request"),
        ("--mix put", "--mix"),
        ("--timeout 10", "--timeout"),
    ] {
        let error = bench(more).err().unwrap();
        assert!(error.contains(option), "{more}: {error}");
    }
}

#[test]
fn what_the_cluster_file_does_not_allow_is_refused_with_its_limit() {
    let cluster = cluster();
    for (more, part) in [
        ("--clients 64", ""),
        ("--clients 65", "links_per_client is 64"),
        ("--outstanding 1024", ""),
        ("--outstanding 1025", "window, 1024"),
        ("--clients 64 --outstanding 64", ""),
        ("--clients 64 --outstanding 65", "4160 requests outstanding"),
        ("--size 196608", ""),
        ("--size 196609", "the largest value, 196608"),
        ("--commands-per-request 1025", "max_commands, 1024"),
        ("--size 131072 --commands-per-request 2", "max_request, 262144"),
    ] {
        let result = bench(more).unwrap().check(&cluster, Some(Role::Write));
        let refused = result.err().unwrap_or_default();
        assert_eq!(refused.is_empty(), part.is_empty(), "{more}: {refused}");
        assert!(refused.contains(part), "{more}: {refused}");
    }
    let writes = bench("").unwrap().check(&cluster, Some(Role::Read));
    assert!(writes.unwrap_err().contains("role read"));
    assert_eq!(bench("--mix get=1").unwrap().check(&cluster, Some(Role::Read)), Ok(()));
    let name = "counter".to_owned();
    let other = crate::config::ServiceChoice { name, initial: None };
    let other = Cluster { service: other, ..cluster };
    assert!(bench("").unwrap().check(&other, None).unwrap_err().contains("kv only"));
}
