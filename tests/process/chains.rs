//! A cluster in the fail-stop model: members of its chain die, stand still and lose their disks
//! while clients work whose whole history is checked (docs/chain.md). Several chains under one
//! master are in `several.rs`.

use crate::cluster::Cluster;
use crate::faults::{had_doubts, started};
use crate::load::{CLIENTS, Load, block_on};
use quorate::Client;
use quorate::client::ClientOptions;
use quorate::config::FaultModel;
use quorate::files::read_secret_key;
use quorate::service::kv;
use serde_json::Value;
use std::time::Duration;

/// A lease is twenty of these: busy machines keep it, and stops are not too long.
const DELTA: Duration = Duration::from_millis(150);

fn start(t: u8) -> Cluster {
    start_with(t, "")
}

/// The same with more in the cluster file.
fn start_with(t: u8, more: &str) -> Cluster {
    let make = || {
        let mut cluster = Cluster::make(|options| {
            (options.t, options.fault_model) = (t, FaultModel::FailStop);
            (options.delta, options.clients) = (DELTA, CLIENTS);
        });
        cluster.add(more);
        cluster
    };
    let launch = |cluster: &mut Cluster| (1..=cluster.n()).for_each(|n| cluster.launch(n, &[]));
    let cluster = started(make, launch);
    cluster.wait_until("the chain to begin", |c| is_whole(c, None));
    cluster
}

/// What a replica says of the chain.
pub fn says(cluster: &Cluster, number: u8) -> Option<Value> {
    let chain = cluster.status(number)?["chain"].clone();
    (!chain.is_null()).then_some(chain)
}

/// The members from head to tail, as the tail says that answers.
pub fn members(cluster: &Cluster) -> Option<Vec<u8>> {
    let open = (1..=cluster.n()).filter_map(|number| says(cluster, number));
    let newest = open.filter(|c| c["open"] == true).max_by_key(|c| c["config"].as_u64());
    let members = newest?["members"].as_array()?.clone();
    members.iter().map(|m| u8::try_from(m.as_u64()?).ok()).collect()
}

/// Whether the chain has its length, without one replica, and answers.
pub fn is_whole(cluster: &Cluster, without: Option<u8>) -> bool {
    let length = usize::from(cluster.cluster().chains.length);
    members(cluster).is_some_and(|m| m.len() == length && without.is_none_or(|w| !m.contains(&w)))
}

pub fn operator(cluster: &Cluster, args: &[&str]) -> (i32, String, String) {
    let (config, key) = (cluster.config().to_str().unwrap(), cluster.operator_key());
    let rest = ["--config", config, "--key", key.to_str().unwrap()];
    cluster.quorate(&[&["admin", "chain"], args, &rest].concat())
}

/// Who is in these places dies under load, one after the other, and comes back as a spare.
pub fn kill_in_turn(cluster: &mut Cluster, load: &Load, places: &[usize]) {
    for place in places {
        let killed = members(cluster).unwrap()[*place];
        cluster.kill(killed);
        cluster.wait_until("the chain to have its length again", |c| is_whole(c, Some(killed)));
        load.gets_on(cluster, "the clients to go on without it");
        cluster.launch(killed, &[]);
        cluster.wait_until("it to be a spare", |c| {
            says(c, killed).is_some_and(|s| s["role"] == "spare" && s["lease_ms"] != 0)
        });
    }
}

/// One key with a value that is to be there later.
pub fn put_blue(cluster: &Cluster) {
    let ran = cluster.run("client", &["--timeout", "60s", "put", "colour", "blue"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

pub fn is_blue(cluster: &Cluster) {
    let ran = cluster.run("client", &["--timeout", "60s", "get", "colour"]);
    assert_eq!((ran.code, &*ran.out), (0, "blue"), "{}", ran.err);
}

/// The operator strikes a lost disk out of a chain that waits for it, and the chain goes on with
/// what others have.
pub fn strike_out(cluster: &Cluster, lost: u8) {
    assert_eq!(members(cluster), None, "nobody serves");
    for order in ["remove", "add"] {
        let (code, _, err) = operator(cluster, &[order, "--replica", &lost.to_string()]);
        assert_eq!(code, 0, "{err}");
    }
    cluster.wait_until("the chain to be whole again", |c| is_whole(c, None));
    is_blue(cluster);
}

/// CH-F1 to CH-F4: each place in turn dies and comes back as a spare.
#[test]
fn head_middle_and_tail_are_killed_under_load_and_nothing_is_lost() {
    let mut cluster = start(2);
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "the clients to begin");
    kill_in_turn(&mut cluster, &load, &[0, 1, 2]);
    had_doubts(load.finish(&cluster));
    let (code, text, err) = operator(&cluster, &["show"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(text.lines().filter(|l| l.contains(" spare ")).count(), 2, "{text}");
}

/// CH-Q2: queries are answered by all members, while one of them dies, stands still beyond its
/// lease and goes on; writes and reads of all clients have one order.
#[test]
fn what_any_member_answers_fits_into_one_history_while_members_die() {
    let mut cluster = start_with(2, "\n[chains]\nreads = \"any\"\n");
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "the clients to begin");
    kill_in_turn(&mut cluster, &load, &[2, 1, 0]);
    let middle = members(&cluster).unwrap()[1];
    cluster.tell(middle, "-STOP");
    cluster.wait_until("another to take its place", |c| is_whole(c, Some(middle)));
    load.gets_on(&cluster, "the clients to go on without it");
    cluster.tell(middle, "-CONT");
    cluster
        .wait_until("it to be a spare", |c| says(c, middle).is_some_and(|s| s["role"] == "spare"));
    load.gets_on(&cluster, "the clients to go on beside it");
    cluster.wait_until("all members to answer", |c| {
        let answered = |n: &u8| c.status(*n).and_then(|s| s["counters"]["chain_answered"].as_u64());
        members(c).is_some_and(|m| m.len() == 3 && m.iter().all(|n| answered(n) > Some(0)))
    });
    had_doubts(load.finish(&cluster));
}

/// CH-F6 and D17: all that was acknowledged is on every member's disk.
#[test]
fn a_chain_whose_replicas_are_all_killed_goes_on_with_what_was_acknowledged() {
    let mut cluster = start(1);
    let load = Load::on(&cluster);
    for turn in 0..3 {
        load.gets_on(&cluster, "the clients to get on");
        (1..=3).for_each(|number| cluster.kill(number));
        (0..3).for_each(|i| cluster.launch(1 + (turn + i) % 3, &[]));
        cluster.wait_until("the chain to be whole again", |c| is_whole(c, None));
    }
    load.gets_on(&cluster, "the clients to go on");
    had_doubts(load.finish(&cluster));
}

/// CH-L1: who stands still beyond its lease answers nobody when it goes on, though it was the tail
/// and knows of no other.
#[test]
fn a_tail_that_stood_still_beyond_its_lease_answers_nothing_old() {
    let cluster = start(1);
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "the clients to begin");
    let tail = *members(&cluster).unwrap().last().unwrap();
    cluster.tell(tail, "-STOP");
    cluster.wait_until("another to take its place", |c| is_whole(c, Some(tail)));
    load.gets_on(&cluster, "the clients to go on without it");
    cluster.tell(tail, "-CONT");
    cluster.wait_until("it to be a spare", |c| says(c, tail).is_some_and(|s| s["role"] == "spare"));
    load.gets_on(&cluster, "the clients to go on beside it");
    had_doubts(load.finish(&cluster));
}

/// An operator changes the order under load; who may not is told so.
#[test]
fn an_operator_reorders_removes_and_adds_under_load() {
    let cluster = start(1);
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "the clients to begin");
    let chain = members(&cluster).unwrap();
    let order = format!("{},{}", chain[1], chain[0]);
    let (code, _, err) = operator(&cluster, &["reorder", "--order", &order]);
    assert_eq!(code, 0, "{err}");
    cluster.wait_until("the other order", |c| members(c) == Some(vec![chain[1], chain[0]]));
    load.gets_on(&cluster, "the clients to go on in it");
    let removed = chain[0].to_string();
    let (code, text, err) = operator(&cluster, &["remove", "--replica", &removed]);
    assert_eq!((code, text.contains("removed")), (0, true), "{err}");
    cluster.wait_until("it to be out", |c| is_whole(c, Some(chain[0])));
    let (code, _, err) = operator(&cluster, &["add", "--replica", &removed]);
    assert_eq!(code, 0, "{err}");
    load.gets_on(&cluster, "the clients to go on");
    had_doubts(load.finish(&cluster));
    let (config, key) = (cluster.config().to_str().unwrap(), cluster.client_key(1));
    let key = key.to_str().unwrap();
    let asked = ["admin", "chain", "remove", "--replica", "1", "--config", config, "--key", key];
    let (code, _, err) = cluster.quorate(&asked);
    assert!(code == 2 && err.contains("is not admin"), "{code} {err}");
}

/// CH-F6: what a lost disk had may be on no other one, so the chain waits for the operator's word.
#[test]
fn a_chain_that_is_down_waits_for_a_lost_disk_until_the_operator_strikes_it_out() {
    let mut cluster = start(1);
    put_blue(&cluster);
    let lost = members(&cluster).unwrap()[1];
    (1..=3).for_each(|number| cluster.kill(number));
    let data = cluster.config().with_file_name(format!("data/replica-{lost}"));
    std::fs::remove_dir_all(data).unwrap();
    for number in 1..=3 {
        let replaces = (number == lost).then(|| "--replace-disk".to_owned());
        cluster.launch(number, &replaces.into_iter().collect::<Vec<_>>());
    }
    cluster.wait_until("the operator to be told", |c| {
        let (code, text, _) = operator(c, &["show"]);
        code == 0 && text.contains("no member lives") && text.contains("its disk was replaced")
    });
    strike_out(&cluster, lost);
}

/// A reply goes to the client that has asked, and to no other with the same key, though the tail
/// that answers has heard of no update of either before the head passed it on.
#[test]
fn clients_with_one_key_get_their_own_replies_and_no_others() {
    let cluster = start(1);
    let client = || {
        let key = read_secret_key(&cluster.client_key(1)).unwrap();
        let timeout = Duration::from_secs(60);
        let options = ClientOptions { timeout, ..ClientOptions::default() };
        Client::connect(cluster.cluster(), key, options).unwrap()
    };
    let strays = block_on(async {
        let clients = [client(), client(), client()];
        for client in &clients {
            client.ready(Duration::from_secs(60)).await.unwrap();
        }
        let mut before = 0;
        for turn in 0..20 {
            if turn == 1 {
                // Until all have a session one that has said none may have sent what is answered.
                before = strays(&clients).await;
            }
            for (number, client) in clients.iter().enumerate() {
                let command = kv::Command::incr(&format!("count-{number}"), 1).encode();
                let output = kv::Output::parse(&client.execute(command).await.unwrap());
                assert_eq!(output, Ok(kv::Output::Number(turn + 1)));
            }
        }
        strays(&clients).await - before
    });
    assert_eq!(strays, 0);
}

/// Replies that came to clients that had not asked.
async fn strays(clients: &[Client]) -> u64 {
    let mut all = 0;
    for client in clients {
        all += client.stats().await.replicas.iter().map(|r| r.strays).sum::<u64>();
    }
    all
}

#[test]
fn the_demonstration_kills_each_place_of_a_chain() {
    let program = env!("CARGO_BIN_EXE_quorate");
    let demo = ["demo", "--fault-model", "fail-stop", "--t", "1", "--clients", "2"];
    let ran = std::process::Command::new(program).args(demo).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{err}");
    for part in
        ["  head (R1)", "  tail (", "counted without a gap", "does not survive one that lies"]
    {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let refused = ["demo", "--fault-model", "fail-stop", "--lie", "forge"];
    let ran = std::process::Command::new(program).args(refused).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
}
