//! Who and what is refused, and in which words.

use crate::cluster::Cluster;
use quorate::crypto::SecretKey;
use quorate::files::{generate_key, read_secret_key};
use quorate::transport::{Endpoint, Lane, LinkClass, LinkError, Settings};
use quorate::types::GroupId;
use quorate::wire::{Greeting, Message as _, PROTOCOL_VERSION, Pong};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Runs `replica` until it ends, which it must at once.
fn replica(cluster: &Cluster, args: &[&str]) -> (i32, String) {
    let config = cluster.config().to_str().unwrap();
    let (code, out, err) = cluster.quorate(&[&["replica", "--config", config], args].concat());
    assert_eq!(out, "");
    (code, err)
}

#[test]
fn a_replica_that_cannot_be_itself_does_not_start() {
    let cluster = Cluster::make(|_| {});
    let key = |number| cluster.replica_key(number).to_str().unwrap().to_owned();
    let (one, two) = (key(1), key(2));
    let client = cluster.client_key(1).to_str().unwrap().to_owned();
    let rows: [(&[&str], &str); 5] = [
        (&["--id", "9"], "has no replica 9; give --id with a number from 1 to 3"),
        (&["--id", "0"], "has no replica 0"),
        (&["--id", "2", "--key", &one], "give the key file of replica 2"),
        (&["--id", "1", "--key", &client], "give the key file of replica 1"),
        (&["--id", "2", "--key", &two, "--lie", "random"], "set `allow_liars = true`"),
    ];
    for (args, part) in rows {
        let (code, err) = replica(&cluster, args);
        assert!(code == 2 && err.contains(part), "{args:?}: {code} {err}");
    }
    fs::set_permissions(&one, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, err) = replica(&cluster, &["--id", "1"]);
    assert!(code == 2 && err.contains("chmod 600") && err.contains(&one), "{err}");
    let ping = ["client", "--config", cluster.config().to_str().unwrap(), "--key", &one, "ping"];
    let (code, _, err) = cluster.quorate(&ping);
    assert!(code == 2 && err.contains("chmod 600"), "{err}");
    let data = cluster.config().with_file_name("data");
    assert!(!data.exists(), "a replica that does not start leaves no mark");
}

#[test]
fn a_service_that_the_program_has_not_is_named() {
    let cluster = Cluster::make(|options| options.service = "ledger".to_owned());
    let (code, err) = replica(&cluster, &["--id", "1"]);
    assert!(code == 2 && err.contains("names the service `ledger`"), "{err}");
}

#[test]
fn two_replicas_do_not_share_an_address_or_a_directory() {
    let cluster = Cluster::start(1);
    let (code, err) = replica(&cluster, &["--id", "1", "--data", "elsewhere"]);
    let address = &cluster.cluster().replicas[0].address;
    assert!(code == 2 && err.contains(address), "{err}");
    let data = cluster.config().with_file_name("data").join("replica-1");
    let mut other = Cluster::make(|_| {});
    let data = ["--data".to_owned(), data.to_str().unwrap().to_owned()];
    other.launch(1, &data);
    other.wait_until("the refusal of the directory", |c| c.log(1).contains("belongs to R1 of"));
}

/// A copy of the cluster file with one thing changed.
fn other_file(cluster: &Cluster, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(cluster.config()).unwrap();
    let changed = text.replacen(from, to, 1);
    assert_ne!(text, changed);
    let path = cluster.config().with_file_name("other.toml");
    fs::write(&path, changed).unwrap();
    path
}

#[test]
fn a_replica_with_another_configuration_is_refused_and_both_logs_name_the_field() {
    let mut cluster = Cluster::make(|_| {});
    let other = other_file(&cluster, "delta = \"100ms\"", "delta = \"150ms\"");
    // R2 dials R1 and is dialled by R3.
    cluster.launch(1, &[]);
    cluster.launch_with(2, &other, &[]);
    cluster.launch(3, &[]);
    let field = "the configurations differ in `delta`";
    cluster.wait_until("the field in all logs", |c| (1..=3).all(|i| c.log(i).contains(field)));
    let down = |c: &Cluster, at: u8, to: u64| {
        let links = c.status(at).map(|s| s["links"].as_array().unwrap().clone());
        links.is_some_and(|l| l.iter().any(|l| l["replica"] == to && l["up"] == false))
    };
    cluster.wait_until("R1 and R3 to be linked, without R2", |c| {
        !down(c, 1, 3) && down(c, 1, 2) && down(c, 3, 2)
    });
}

#[test]
fn a_replica_of_another_cluster_is_refused() {
    let mut cluster = Cluster::make(|_| {});
    let other = other_file(&cluster, "nonce = \"", "nonce = \"00");
    let text = fs::read_to_string(&other).unwrap();
    let start = text.find("nonce = \"").unwrap() + 9;
    // Still 64 digits.
    let text = [&text[..start + 64], &text[start + 66..]].concat();
    fs::write(&other, text).unwrap();
    cluster.launch(1, &[]);
    cluster.launch_with(2, &other, &[]);
    let field = "the configurations differ in `nonce`";
    cluster.wait_until("the field in both logs", |c| (1..=2).all(|i| c.log(i).contains(field)));
}

/// ALPN names the class of a link before the key is judged: a key of one roster opens nothing
/// of the other class, and a stranger's key opens nothing at all.
#[test]
fn keys_open_links_of_their_own_class_only() {
    let cluster = Cluster::start(1);
    let entry = &cluster.cluster().replicas[0];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = || read_secret_key(&cluster.client_key(1)).unwrap();
    let peer = || read_secret_key(&cluster.replica_key(2)).unwrap();
    let dial = |key: SecretKey, class| {
        runtime.block_on(async {
            let any = "127.0.0.1:0".parse().unwrap();
            let endpoint = Endpoint::bind(any, &key, None, Settings::default()).unwrap();
            let address = entry.address.parse().unwrap();
            let dialled = endpoint.dial(address, &entry.public_key, class).await?;
            dialled.wait().await.map(drop)
        })
    };
    let stranger = || generate_key().unwrap();
    let refused = [
        (client(), LinkClass::Replica),
        (peer(), LinkClass::Client),
        (stranger(), LinkClass::Replica),
        (stranger(), LinkClass::Client),
    ];
    for (key, asked) in refused {
        match dial(key, asked) {
            Err(LinkError::NotAdmitted { class, .. }) => assert_eq!(class, asked),
            other => panic!("{asked}: {other:?}"),
        }
    }
    dial(client(), LinkClass::Client).unwrap();
    dial(peer(), LinkClass::Replica).unwrap();

    // Whoever runs the replica sees which key it was.
    let unknown = stranger();
    let fingerprint = unknown.public().fingerprint();
    dial(unknown, LinkClass::Client).unwrap_err();
    cluster.wait_until("the log to name the key", |c| {
        let named = |l: &str| l.contains(&fingerprint) && l.contains("class=client");
        c.log(1).lines().any(|l| named(l) && l.contains(" INFO ") && l.contains("not admitted"))
    });
    cluster.wait_until("all to be counted", |c| {
        c.status(1).is_some_and(|s| s["counters"]["handshakes_failed"] == 5)
    });
}

/// What one frame closes a link for, a thousand more on it do not fill the log with.
#[test]
fn a_client_that_breaks_the_rules_gets_one_line_in_the_log() {
    let cluster = Cluster::start(1);
    let entry = &cluster.cluster().replicas[0];
    let key = read_secret_key(&cluster.client_key(1)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let any = "127.0.0.1:0".parse().unwrap();
        let endpoint = Endpoint::bind(any, &key, None, Settings::default()).unwrap();
        let address = entry.address.parse().unwrap();
        let dialled = endpoint.dial(address, &entry.public_key, LinkClass::Client).await.unwrap();
        let (link, _) = dialled.wait().await.unwrap();
        let greeting = Greeting { version: PROTOCOL_VERSION, cluster: cluster.cluster().id() };
        link.send(Lane::Protocol, &greeting.to_frame(GroupId::MAIN));
        let unasked = Pong { sent: 1, clock: 1, answered: 1 }.to_frame(GroupId::MAIN);
        for _ in 0..2000 {
            // An answer that nobody waits for.
            link.send(Lane::Protocol, &unasked);
        }
        link.flush();
        endpoint.close("done").await;
    });
    let lines = |c: &Cluster| c.log(1).matches("closing the link").count();
    cluster.wait_until("the link to be closed", |c| lines(c) > 0);
    // Another client's answer shows that the loop has been round again.
    let (code, _, err) = cluster.quorate(&[
        "client",
        "--config",
        cluster.config().to_str().unwrap(),
        "--key",
        cluster.client_key(2).to_str().unwrap(),
        "--timeout",
        "60s",
        "ping",
    ]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(lines(&cluster), 1, "{}", cluster.log(1));
}
