//! A replica gets another key while clients work (docs/protocol.md §5, M3).

use crate::changes::{Load, admin, is_member, start, status};
use crate::cluster::Cluster;
use std::fs;
use std::path::PathBuf;

/// Makes a key pair of this name: its private and its public file.
fn keygen(cluster: &Cluster, name: &str) -> (PathBuf, PathBuf) {
    let keys = cluster.config().with_file_name("keys");
    let out = keys.to_str().unwrap();
    let (code, _, err) = cluster.quorate(&["keygen", "--name", name, "--out", out]);
    assert_eq!(code, 0, "{err}");
    (keys.join(format!("{name}.pem")), keys.join(format!("{name}.pub.pem")))
}

fn has_link(cluster: &Cluster, of: u8, to: u8) -> bool {
    let links = cluster.status(of).map(|s| s["links"].clone()).unwrap_or_default();
    let links = links.as_array().cloned().unwrap_or_default();
    links.iter().any(|l| l["replica"] == to && l["up"] == true)
}

/// How it is started with its new key.
fn renewed(cluster: &Cluster, key: &std::path::Path) -> Vec<String> {
    let data = cluster.config().with_file_name("data").join("replica-3-new");
    let words = ["--key", key.to_str().unwrap(), "--data", data.to_str().unwrap()];
    words.map(str::to_owned).to_vec()
}

#[test]
fn a_replica_gets_another_key_under_load_and_joins_with_it() {
    let mut cluster = start();
    let before = cluster.directory().join("cluster").join("before.toml");
    fs::copy(cluster.config(), &before).unwrap();
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "the first answers");

    let (private, public) = keygen(&cluster, "replica-3-new");
    let public = public.to_str().unwrap();
    let (code, out, err) = admin(&cluster, "replace-key", 3, &["--new-key", public, "--write"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("R3 has the key ") && out.contains("former_keys = [{ key = "), "{out}");
    load.gets_on(&cluster, "the others to go on without R3");
    // The old process runs on, and nobody speaks with it any more.
    cluster.wait_until("the old key to be refused", |c| {
        !has_link(c, 1, 3) && !has_link(c, 2, 3) && c.log(3).contains("does not admit our key")
    });
    let (_, text) = status(&cluster);
    assert!(text.contains("R1 runs with a cluster file that is out of date"), "{text}");
    let config = cluster.config().to_str().unwrap().to_owned();
    let (code, text, err) = cluster.quorate(&["check", "--config", &config]);
    assert!(code == 0 && text.contains("former key "), "{text}{err}");
    let (code, out, err) = admin(&cluster, "replace-key", 3, &["--new-key", public]);
    assert!(code == 0 && out.contains(", already: "), "{out}{err}");

    cluster.kill(3);
    let arguments = renewed(&cluster, &private);
    cluster.launch(3, &arguments);
    cluster.wait_until("R3 to be a member with its new key", |c| is_member(c, 3));
    assert_eq!(cluster.status(3).unwrap()["incarnation"], 1);
    load.gets_on(&cluster, "all three to go on");

    // What the others know of keys is on their disks; a file that is out of date is not enough to
    // stop them.
    assert!(cluster.stop(1));
    cluster.launch_with(1, &before, &[]);
    cluster.wait_until("R1 to be a member again", |c| is_member(c, 1));
    cluster.wait_until("R1 to be linked with R3", |c| has_link(c, 1, 3));
    let log = cluster.log(1);
    assert!(log.contains("the cluster file is out of date: the key of R3 was replaced"), "{log}");
    load.gets_on(&cluster, "answers with R1");
    assert!(cluster.stop(2));
    cluster.launch(2, &[]);
    cluster.wait_until("R2 to be a member again", |c| is_member(c, 2));
    load.end(&cluster);
    cluster.wait_until("all to be well", |c| status(c).0 == 0);
}

#[test]
fn keys_that_somebody_has_and_old_keys_are_refused() {
    let mut cluster = Cluster::start(1);
    let refused = |cluster: &Cluster, key: &str, code: i32, part: &str| {
        let ran = admin(cluster, "replace-key", 3, &["--new-key", key]);
        assert!(ran.0 == code && ran.2.contains(part), "{ran:?}");
    };
    let keys = cluster.config().with_file_name("keys");
    let of = |name: &str| keys.join(name).to_str().unwrap().to_owned();
    let inline = |place: usize| cluster.cluster().replicas[place].public_key.to_inline();
    let (own, other) = (inline(2), inline(1));
    let client = cluster.cluster().clients[0].public_key.to_inline();
    refused(&cluster, &other, 2, "is the key of R2; give everyone a key of their own");
    refused(&cluster, &client, 2, "is the key of the client client-1");
    refused(&cluster, &of("none.pem"), 2, "none.pem");
    refused(&cluster, &"0".repeat(64), 2, "make one with `quorate keygen`");
    let (code, out, _) = admin(&cluster, "replace-key", 3, &["--new-key", &own]);
    assert!(code == 0 && out.contains("already"), "{out}");

    let (_, public) = keygen(&cluster, "replica-3-new");
    let public = public.to_str().unwrap();
    let ran = admin(&cluster, "replace-key", 3, &["--new-key", public, "--write"]);
    assert_eq!(ran.0, 0, "{ran:?}");
    refused(&cluster, &own, 2, "is the key of R3, formerly");
    // Its old key starts it no more, by the new file or the old one.
    cluster.kill(3);
    let config = cluster.config().to_str().unwrap().to_owned();
    let key = of("replica-3.pem");
    let (code, _, err) =
        cluster.quorate(&["replica", "--config", &config, "--id", "3", "--key", &key]);
    assert!(code == 2 && err.contains("give the key file of replica 3"), "{err}");
}
