//! Two chains under one master, in three replicas: one that has a part in both dies under load, and
//! what users see of several chains (docs/chain.md, CH-K1 to CH-K3).

use crate::cluster::Cluster;
use crate::faults::had_doubts;
use crate::load::{CLIENTS, Load};
use quorate::client::{CallError, Client, ClientOptions, Command, CommandKind, TouchesOf};
use quorate::config::{FaultModel, ServiceChoice};
use quorate::files::read_secret_key;
use quorate::service::{Touches, kv};
use quorate::wire::NoteKind;
use serde_json::Value;
use std::time::Duration;

/// A lease is twenty of these: busy machines keep it, and stops are not too long.
const DELTA: Duration = Duration::from_millis(150);

const CHAINS: &str = "\n[[chain]]\nnumber = 0\nslots = \"0-511\"\n\
                      \n[[chain]]\nnumber = 1\nslots = \"512-1023\"\n";

/// Slots 152 and 976.
const ZERO: &str = "a";
const ONE: &str = "colour";

/// Chain 0 begins as R1 > R2 and chain 1 as R2 > R3.
fn start() -> Cluster {
    for _ in 0..10 {
        let adjust = |options: &mut quorate::files::init::InitOptions| {
            (options.t, options.fault_model) = (1, FaultModel::FailStop);
            (options.delta, options.clients) = (DELTA, CLIENTS);
        };
        let mut cluster = Cluster::make(adjust).with_lines(CHAINS);
        if cluster.launch_all(|_| Vec::new()) {
            cluster.wait_until("the chains to begin", |c| are_whole(c, None));
            return cluster;
        }
    }
    panic!("ten times in a row a replica ended at its start: see the logs above");
}

/// What a replica says of a chain.
fn says(cluster: &Cluster, number: u8, chain: usize) -> Option<Value> {
    let status = cluster.status(number)?;
    assert!(status["chain"].is_null(), "there are several");
    let said = status["chains"].get(chain)?.clone();
    assert_eq!(said["number"], chain);
    Some(said)
}

/// The members of a chain from head to tail, as the tail says that answers.
fn members(cluster: &Cluster, chain: usize) -> Option<Vec<u8>> {
    let all = (1..=3).filter_map(|number| says(cluster, number, chain));
    let newest = all.filter(|c| c["open"] == true).max_by_key(|c| c["config"].as_u64());
    let members = newest?["members"].as_array()?.clone();
    members.iter().map(|m| u8::try_from(m.as_u64()?).ok()).collect()
}

/// Whether both have two members, without one replica, and answer.
fn are_whole(cluster: &Cluster, without: Option<u8>) -> bool {
    [0, 1].into_iter().all(|chain| {
        let members = members(cluster, chain);
        members.is_some_and(|m| m.len() == 2 && without.is_none_or(|w| !m.contains(&w)))
    })
}

fn operator(cluster: &Cluster, args: &[&str]) -> (i32, String, String) {
    let (config, key) = (cluster.config().to_str().unwrap(), cluster.operator_key());
    let rest = ["--config", config, "--key", key.to_str().unwrap()];
    cluster.quorate(&[&["admin", "chain"], args, &rest].concat())
}

/// R2 is the tail of chain 0 and the head of chain 1.
#[test]
fn who_is_a_member_of_both_chains_is_killed_under_load_and_nothing_is_lost() {
    let mut cluster = start();
    assert_eq!([0, 1].map(|chain| members(&cluster, chain)), [Some(vec![1, 2]), Some(vec![2, 3])]);
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "the clients to begin");
    for killed in [2, 1] {
        cluster.kill(killed);
        cluster.wait_until("both chains to be whole again", |c| are_whole(c, Some(killed)));
        load.gets_on(&cluster, "the clients to go on without it");
        cluster.launch(killed, &[]);
        cluster.wait_until("it to be a spare of both", |c| {
            [0, 1].into_iter().all(|chain| {
                let said = says(c, killed, chain);
                said.is_some_and(|s| s["role"] == "spare" && s["lease_ms"] != 0)
            })
        });
    }
    had_doubts(load.finish(&cluster));
    for chain in [0, 1] {
        let members = members(&cluster, chain).unwrap();
        assert!(says(&cluster, members[0], chain).unwrap()["executed"].as_u64() > Some(20));
        let files = format!("data/replica-{}/chain-{chain}", members[0]);
        assert!(cluster.config().with_file_name(files).is_dir());
    }
}

/// All replicas die, and each chain goes on with what it has on its own disks.
#[test]
fn after_an_outage_each_chain_has_what_it_had() {
    let mut cluster = start();
    for key in [ZERO, ONE] {
        let ran = cluster.run("client", &["--timeout", "60s", "put", key, key]);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    (1..=3).for_each(|number| cluster.kill(number));
    (1..=3).for_each(|number| cluster.launch(number, &[]));
    cluster.wait_until("the chains to be whole again", |c| are_whole(c, None));
    for key in [ZERO, ONE] {
        let ran = cluster.run("client", &["--timeout", "60s", "get", key]);
        assert_eq!((ran.code, &*ran.out), (0, key), "{}", ran.err);
    }
}

#[test]
fn users_are_told_which_chain_it_is_and_what_runs_on_none() {
    let cluster = start();
    let config = cluster.config().to_str().unwrap();
    let ran = cluster.run("client", &["--timeout", "60s", "--explain", "put", ONE, "blue"]);
    assert!(ran.code == 0 && ran.err.contains("chain 1 of configuration"), "{}", ran.err);
    for (prefix, part) in [("", "to 2 chains"), ("col", "begin with \"col\"")] {
        let ran = cluster.run("client", &["scan", prefix]);
        assert!(ran.code == 2 && ran.err.contains(part), "{} {}", ran.code, ran.err);
    }
    let (_, out, _) = cluster.quorate(&["check", "--config", config, "--key", ONE]);
    assert_eq!(out, "slot 976, chain 1\n");
    let (code, out, _) = cluster.quorate(&["status", "--config", config]);
    assert_eq!(code, 0, "{out}");
    for part in ["chain 0 (slots 0-511)", "chain 1 (slots 512-1023)"] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let bench = ["--seconds", "1", "--warmup", "0", "--keys", "50", "--preload"];
    let ran = cluster.run("bench", &bench);
    assert!(ran.code == 0, "{}\n{}", ran.out, ran.err);
    let ran = cluster.run("bench", &[&bench[..], &["--commands-per-request", "2"]].concat());
    assert!(ran.code == 2 && ran.err.contains("several chains"), "{}", ran.err);

    let (code, out, err) = operator(&cluster, &["show"]);
    assert!(code == 0 && out.contains("chain 0\n") && out.contains("chain 1\n"), "{out}{err}");
    let (code, _, err) = operator(&cluster, &["reorder", "--order", "3,2"]);
    assert!(code == 2 && err.contains("--chain"), "{err}");
    let (code, _, err) = operator(&cluster, &["show", "--chain", "2"]);
    assert!(code == 2 && err.contains("there is no chain 2"), "{err}");
    let (code, _, err) = operator(&cluster, &["reorder", "--chain", "1", "--order", "3,2"]);
    assert_eq!(code, 0, "{err}");
    cluster.wait_until("the other order", |c| members(c, 1) == Some(vec![3, 2]));
    assert_eq!(members(&cluster, 0), Some(vec![1, 2]), "the other chain stays as it was");
}

/// CH-K2 and CH-K3: the client sends nothing that is of two chains, and a chain takes nothing that
/// is another's from a client that goes by something else.
#[test]
fn neither_clients_nor_replicas_let_a_command_into_the_wrong_chain() {
    let cluster = start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let key = read_secret_key(&cluster.client_key(1)).unwrap();
        let timeout = Duration::from_secs(60);
        let good = ClientOptions { timeout, ..ClientOptions::default() };
        let service = ServiceChoice { name: "of-my-own".to_owned(), initial: None };
        let other = quorate::config::Cluster { service, ..cluster.cluster().clone() };
        let unknown = Client::connect(&other, key.clone(), good.clone()).unwrap_err().to_string();
        assert!(unknown.contains("of-my-own") && unknown.contains("touches"), "{unknown}");
        let client = Client::connect(cluster.cluster(), key.clone(), good.clone()).unwrap();
        let put = |key: &str| Command {
            kind: CommandKind::Execute,
            bytes: kv::Command::put(key, "1").encode().into(),
        };
        let refused = client.call(vec![put(ZERO), put(ONE)]).await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, CallError::Unacceptable(_)) && text.contains("two chains"));
        // One that takes every key for one of chain 1.
        let all_one = TouchesOf::new(|_| Touches::Keys(vec![ONE.into()]));
        let bad = ClientOptions { touches: Some(all_one), ..good };
        let stray = Client::connect(cluster.cluster(), key, bad).unwrap();
        let update = stray.execute(kv::Command::put(ZERO, "2").encode()).await.unwrap_err();
        let query = stray.query(kv::Command::get(ZERO).encode()).await.unwrap_err();
        let scan = stray.query(kv::Command::scan("", 9).encode()).await.unwrap_err();
        for refused in [update, query, scan] {
            let why = NoteKind::Unacceptable;
            assert!(matches!(refused, CallError::NotTaken { why: w, .. } if w == why), "{refused}");
        }
        let right = stray.execute(kv::Command::put(ONE, "3").encode()).await.unwrap();
        assert_eq!(kv::Output::parse(&right).unwrap(), kv::Output::Done);
        let none = client.query(kv::Command::get(ZERO).encode()).await.unwrap();
        assert_eq!(kv::Output::parse(&none).unwrap(), kv::Output::Missing);
        let refusals = (1..=3).filter_map(|number| cluster.status(number));
        let counts = refusals.map(|s| s["counters"]["chain_misplaced"].as_u64().unwrap());
        assert!(counts.sum::<u64>() >= 3);
        stray.close().await;
        client.close().await;
    });
}
