//! Cluster files and keys as users have them: the samples, and what OpenSSL makes and reads.

use quorate::config::Cluster;
use quorate::crypto::{PublicKey, SecretKey};
use quorate::files::init::{InitOptions, write_cluster};
use quorate::files::{create_identity, create_new, load_cluster, read_public_key, read_secret_key};
use quorate::types::{ClockKind, OrderLimits, Quotas, Role, Timing};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A throw-away TEST VECTOR, the output of `openssl genpkey -algorithm ed25519` (OpenSSL 3.0.19):
/// it has never protected anything and must never be used.
const VECTOR_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIBRtrnqb8MJmBf2VESD8eTSDJ9oSNvTy6WMROkVg0QF+
-----END PRIVATE KEY-----
";

/// The output of `openssl pkey -pubout` for [`VECTOR_PRIVATE`].
const VECTOR_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA+wiTXSPGQDsCNUbV0jCflxSfjQoHghW1st22V+4rDvM=
-----END PUBLIC KEY-----
";

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name)
}

fn load(name: &str) -> Cluster {
    load_cluster(&sample(name)).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_loopback_samples_load() {
    for (name, t, first_port) in [("three-loopback.toml", 1, 7101), ("five-loopback.toml", 2, 7301)]
    {
        let c = load(name);
        assert_eq!((c.ensemble.t(), c.replicas.len(), c.clients.len()), (t, 2 * t + 1, 2));
        assert_eq!(c.replicas[0].address, format!("127.0.0.1:{first_port}"));
        assert_eq!(c.replicas[0].admin.to_string(), format!("127.0.0.1:{}", first_port + 100));
        assert_eq!(c.timing, Timing::from_delta(Duration::from_millis(100)));
        assert_eq!((c.limits, c.quotas), (OrderLimits::default(), Quotas::default()));
        assert_eq!((c.clock, &*c.service.name), (ClockKind::Hybrid, "kv"));
    }
}

#[test]
fn the_sample_for_three_hosts_loads() {
    let c = load("three-hosts.toml");
    assert_eq!(c.replicas[2].address, "replica-3.example.org:7100");
    assert_eq!(c.timing.delta, Duration::from_millis(200));
    let roles: Vec<Role> = c.clients.iter().map(|c| c.role).collect();
    assert_eq!(roles, [Role::Write, Role::Read, Role::Admin]);
}

/// The samples are one another's strangers, and every sample in the directory has a test.
#[test]
fn all_samples_are_tested_and_differ() {
    let names = ["five-loopback.toml", "three-hosts.toml", "three-loopback.toml"];
    let mut found: Vec<String> = std::fs::read_dir(sample(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, names);
    let ids: BTreeSet<_> = names.iter().map(|n| load(n).id()).collect();
    assert_eq!(ids.len(), names.len());
}

/// The values that a sample shows in comments are those that it has without them.
#[test]
fn the_comments_of_the_samples_tell_the_truth() {
    for name in ["five-loopback.toml", "three-hosts.toml", "three-loopback.toml"] {
        let text = std::fs::read_to_string(sample(name)).unwrap();
        let shown = |l: &str| {
            let key = l.split(" = ").next().unwrap_or_default();
            l.starts_with("[timers]")
                || l.starts_with("[chains]")
                || l.starts_with("[limits]")
                || l.starts_with("[quotas]")
                || l.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        };
        let uncomment = |l: &str| match l.strip_prefix("# ") {
            Some(rest) if shown(rest) => rest.to_owned(),
            _ => l.to_owned(),
        };
        let lines: Vec<String> = text.lines().map(uncomment).collect();
        let count = lines.iter().filter(|l| shown(l)).count();
        assert!(count > 22, "{name}: only {count} lines");
        let mut none = |_: &str| Err("samples hold their keys".to_owned());
        let c =
            Cluster::parse(&lines.join("\n"), name, &mut none).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(c, load(name));
    }
}

#[test]
fn public_keys_may_stand_in_files_beside_the_cluster_file() {
    let dir = tempfile::tempdir().unwrap();
    let new = write_cluster(&InitOptions::new(dir.path())).unwrap();
    let text = std::fs::read_to_string(&new.config_file).unwrap();
    let first = new.cluster.replicas[0].public_key;
    let text = text.replace(&first.to_inline(), "keys/replica-1.pub.pem");
    let moved = dir.path().join("other.toml");
    std::fs::write(&moved, &text).unwrap();
    assert_eq!(load_cluster(&moved).unwrap(), new.cluster);

    std::fs::write(&moved, text.replace("replica-1.pub.pem", "replica-9.pub.pem")).unwrap();
    let message = load_cluster(&moved).unwrap_err().to_string();
    let line = 1 + text.lines().position(|l| l.contains("replica-1.pub.pem")).unwrap();
    assert!(message.contains(&format!("other.toml:{line}:")), "{message}");
    assert!(message.contains("replica-9.pub.pem") && message.contains("No such file"), "{message}");
}

#[test]
fn files_that_are_no_cluster_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = load_cluster(&dir.path().join("none.toml")).unwrap_err().to_string();
    assert!(missing.contains("none.toml") && missing.contains("No such file"), "{missing}");
    let directory = load_cluster(dir.path()).unwrap_err().to_string();
    assert!(directory.contains("not a regular file"), "{directory}");
    let binary = dir.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe, 0]).unwrap();
    assert!(load_cluster(&binary).unwrap_err().to_string().contains("binary.toml"));
}

#[test]
fn a_key_made_by_openssl_is_read() {
    let secret = SecretKey::from_pem(VECTOR_PRIVATE).unwrap();
    assert_eq!(secret.public(), PublicKey::from_pem(VECTOR_PUBLIC).unwrap());
    // What we write for the same key is the same file, byte for byte.
    assert_eq!(secret.to_pem().as_str(), VECTOR_PRIVATE);
    assert_eq!(secret.public().to_pem(), VECTOR_PUBLIC);
}

#[test]
fn keys_for_other_algorithms_made_by_openssl_are_named() {
    // TEST VECTORS: the public halves of throw-away keys by `openssl genpkey`, only these.
    let rows = [
        (
            "-----BEGIN PUBLIC KEY-----
MEMwBQYDK2VxAzoAyzB0TCV3RgFPAo6Qsb4EjVyL8BfRb3fFyhubE4VPm83QPWOv
mllEi8xh82v8Or/9AYVDtFxdGXwA
-----END PUBLIC KEY-----",
            "ed448",
        ),
        (
            "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VuAyEAOWxR0aOo6AgjQDV2ndAv8eu4rBB+HVls34BPDnAPfS8=
-----END PUBLIC KEY-----",
            "X25519",
        ),
        (
            "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpJ0mu45NiPgVil6LMMEOdDk8gxsi
QBdNv9BuFdq8bPjm6W+1A8Z3mRY1dgszZ7yXD6pB0hUGnMYdn5Aj2IYhzA==
-----END PUBLIC KEY-----",
            "elliptic curve",
        ),
    ];
    for (pem, name) in rows {
        let e = PublicKey::from_pem(pem).unwrap_err().to_string();
        assert!(e.contains(name) && e.contains("openssl genpkey -algorithm ed25519"), "{e}");
    }
}

/// Skipped where there is no OpenSSL; the fixed vector above is checked everywhere.
#[test]
fn openssl_and_quorate_read_each_others_keys() {
    let Ok(version) = Command::new("openssl").arg("version").output() else { return };
    assert!(version.status.success());
    let dir = tempfile::tempdir().unwrap();
    let openssl = |args: &[&str]| {
        let out = Command::new("openssl").args(args).current_dir(dir.path()).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };

    let ours = create_identity(dir.path(), "ours").unwrap();
    let public = openssl(&["pkey", "-in", "ours.pem", "-pubout"]);
    assert_eq!(public, std::fs::read_to_string(&ours.public_file).unwrap());

    let theirs = openssl(&["genpkey", "-algorithm", "ed25519"]);
    let path = dir.path().join("theirs.pem");
    create_new(&path, theirs.as_bytes(), 0o600).unwrap();
    openssl(&["pkey", "-in", "theirs.pem", "-pubout", "-out", "theirs.pub.pem"]);
    let secret = read_secret_key(&path).unwrap();
    assert_eq!(read_public_key(&dir.path().join("theirs.pub.pem")).unwrap(), secret.public());

    let rsa = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    let refused = SecretKey::from_pem(&rsa).unwrap_err().to_string();
    assert!(refused.contains("a key for RSA"), "{refused}");
    let ec = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let refused = SecretKey::from_pem(&ec).unwrap_err().to_string();
    assert!(refused.contains("elliptic curve"), "{refused}");
    let locked = openssl(&["pkey", "-in", "theirs.pem", "-aes256", "-passout", "pass:x"]);
    assert!(SecretKey::from_pem(&locked).unwrap_err().to_string().contains("encrypted"));
}
