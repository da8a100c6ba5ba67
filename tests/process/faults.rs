//! Replicas that die, stand still, are cut off or lie, while clients work whose whole history is
//! checked: what was accepted is there, nothing ran twice, and an order explains every answer.

use crate::cables::Cables;
use crate::cluster::Cluster;
use crate::history::Checked;
use crate::load::{CLIENTS, Load};
use quorate::files::init::InitOptions;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Far above what a busy machine takes, so that nobody is left out who should not be.
const DELTA: Duration = Duration::from_millis(300);

/// Makes a cluster for a load, whose replicas compare their states often.
fn make(adjust: impl Fn(&mut InitOptions)) -> Cluster {
    let cluster = Cluster::make(|options| {
        (options.delta, options.clients) = (DELTA, CLIENTS);
        adjust(options);
    });
    let mut file = OpenOptions::new().append(true).open(cluster.config()).unwrap();
    writeln!(file, "\n[limits]\ncheckpoint_every = 16").unwrap();
    cluster
}

/// A cluster that is made and whose replicas are launched, when all are linked.
pub fn started(make: impl Fn() -> Cluster, launch: impl Fn(&mut Cluster)) -> Cluster {
    // Whatever else runs may take a port between looking and binding: then once more.
    for _ in 0..10 {
        let mut cluster = make();
        launch(&mut cluster);
        if cluster.wait_for_links() {
            return cluster;
        }
    }
    panic!("ten times in a row a replica ended at its start: see the logs above");
}

pub fn start() -> Cluster {
    started(|| make(|_| {}), |cluster| (1..=3).for_each(|number| cluster.launch(number, &[])))
}

/// Three replicas with `durability = "strict"`, for whom nobody loses patience.
pub fn start_strict() -> Cluster {
    let make = || {
        let cluster = make(|options| options.delta = Duration::from_secs(10));
        let text = std::fs::read_to_string(cluster.config()).unwrap();
        let strict = text.replace("durability = \"reply\"", "durability = \"strict\"");
        assert_ne!(text, strict);
        std::fs::write(cluster.config(), strict).unwrap();
        cluster
    };
    started(make, |cluster| (1..=3).for_each(|number| cluster.launch(number, &[])))
}

/// Three replicas whose cables can be cut.
fn start_cabled() -> (Cluster, Cables) {
    for _ in 0..10 {
        let mut cluster = make(|_| {});
        let cables = Cables::lay(&cluster);
        (1..=3).for_each(|number| cluster.launch_with(number, &cables.file(number), &[]));
        if cluster.wait_for_links() {
            return (cluster, cables);
        }
    }
    panic!("ten times in a row a replica ended at its start: see the logs above");
}

/// What one replica says of another.
fn place(cluster: &Cluster, witness: u8, of: u8) -> Option<Value> {
    Some(cluster.status(witness)?["standings"][usize::from(of) - 1].clone())
}

fn is_out(cluster: &Cluster, witness: u8, of: u8, why: &str) -> bool {
    place(cluster, witness, of).is_some_and(|p| p["member"] == false && p["why"] == why)
}

/// Whether all say that all are members.
pub fn is_whole(cluster: &Cluster) -> bool {
    (1..=3).all(|number| {
        cluster.status(number).is_some_and(|s| {
            let standings = s["standings"].as_array().unwrap();
            s["standing"] == "member" && standings.iter().all(|p| p["member"] == true)
        })
    })
}

/// Whether a replica says that its link to another one is up.
fn is_linked(cluster: &Cluster, number: u8, to: u8) -> bool {
    cluster.status(number).is_none_or(|s| {
        let links = s["links"].as_array().unwrap();
        links.iter().any(|l| l["replica"] == to && l["up"] == true)
    })
}

/// Those that were out at any time, as a replica says.
fn went(cluster: &Cluster, witness: u8) -> Vec<u64> {
    let status = cluster.status(witness).unwrap();
    let standings = status["standings"].as_array().unwrap();
    let went = standings.iter().filter(|p| p["member"] == false || p["since"] != 0);
    went.map(|p| p["replica"].as_u64().unwrap()).collect()
}

/// Waits until these replicas have executed the same, have the same state at a checkpoint that
/// lies behind all that the load did, and say so at one time.
pub fn agree(cluster: &Cluster, good: &[u8]) {
    let round = cluster.status(good[0]).unwrap()["executed_round"].as_u64().unwrap();
    for _ in 0..40 {
        let ran = cluster.run("client", &["--timeout", "60s", "put", "last", "word"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    cluster.wait_until("good replicas to have one state", |c| {
        let says = good.iter().map(|number| {
            let status = c.status(*number)?;
            let parts = ["executed_round", "executed", "running", "checkpoint", "state"];
            Some(parts.map(|part| status[part].clone()))
        });
        let says: Option<Vec<_>> = says.collect();
        says.is_some_and(|says| {
            says.windows(2).all(|pair| pair[0] == pair[1]) && says[0][3].as_u64() > Some(round)
        })
    });
}

/// A stop of the group leaves calls in doubt; without any, the check would have been easier than
/// it should be.
pub fn had_doubts(checked: Checked) {
    assert!(checked.unknown > 0 && checked.answered > 50, "{checked:?}");
}

/// Two of the three in turn, so that the one that came back has to carry the group.
#[test]
fn nothing_is_lost_or_runs_twice_when_replicas_are_killed_and_started_again() {
    let mut cluster = start();
    let load = Load::on(&cluster);
    for (killed, witness) in [(3, 1), (1, 2)] {
        load.gets_on(&cluster, "answers of all three");
        cluster.kill(killed);
        cluster
            .wait_until("the killed one to be left out", |c| is_out(c, witness, killed, "silent"));
        load.gets_on(&cluster, "the others to go on without it");
        cluster.launch(killed, &[]);
        cluster.wait_until("all to be members again", is_whole);
    }
    load.gets_on(&cluster, "all three to go on");
    had_doubts(load.finish(&cluster));
    agree(&cluster, &[1, 2, 3]);
    assert_eq!(went(&cluster, 2), [1, 3]);
}

#[test]
fn nothing_is_lost_or_runs_twice_when_a_replica_stands_still_beyond_patience() {
    let cluster = start();
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "answers of all three");
    cluster.tell(2, "-STOP");
    cluster.wait_until("R2 to be left out", |c| is_out(c, 1, 2, "silent"));
    load.gets_on(&cluster, "the others to go on without R2");
    assert!(!cluster.log(2).contains("asks to be a member again"));
    cluster.tell(2, "-CONT");
    cluster.wait_until("all to be members again", is_whole);
    assert!(cluster.log(2).contains("asks to be a member again"), "{}", cluster.log(2));
    load.gets_on(&cluster, "all three to go on");
    had_doubts(load.finish(&cluster));
    agree(&cluster, &[1, 2, 3]);
    assert_eq!(went(&cluster, 1), [2]);
}

/// R1 hears nothing of R3, and R2 passes on what that says. Whether one of the two ends is left
/// out or none, all goes on, and the third one stays.
#[test]
fn a_link_that_is_cut_in_one_direction_costs_one_of_its_ends_at_most() {
    cut_link(&[(3, 1)]);
}

/// The same when neither hears the other.
#[test]
fn a_link_that_is_cut_costs_one_of_its_ends_at_most() {
    cut_link(&[(3, 1), (1, 3)]);
}

fn cut_link(cuts: &[(u8, u8)]) {
    let costs_one = |cluster: &Cluster| {
        let out = went(cluster, 2);
        assert!(matches!(out[..], [] | [1] | [3]), "{out:?} went");
    };
    let (cluster, cables) = start_cabled();
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "answers before the cut");
    let (begun, patience) = (Instant::now(), cluster.cluster().timing.patience);
    cuts.iter().for_each(|(from, to)| cables.cut(*from, *to));
    load.gets_on(&cluster, "the group to go on with the cut");
    cluster.wait_until("the cut to last for long", |_| begun.elapsed() > 5 * patience);
    cluster.wait_until("the link to be down at both ends", |c| {
        [(1, 3), (3, 1)].iter().all(|(at, to)| !is_linked(c, *at, *to))
    });
    load.gets_on(&cluster, "the group to go on after a long cut");
    assert!(cuts.iter().all(|(from, to)| cables.swallowed(*from, *to) > 0));
    costs_one(&cluster);
    cuts.iter().for_each(|(from, to)| cables.mend(*from, *to));
    cluster.wait_until("all to be linked", |c| (1..=3).all(|number| c.is_linked(number)));
    cluster.wait_until("all to be members", is_whole);
    load.gets_on(&cluster, "all three to go on");
    let checked = load.finish(&cluster);
    assert!(checked.answered > 100, "{checked:?}");
    agree(&cluster, &[1, 2, 3]);
    costs_one(&cluster);
}

/// It hears the others and they do not hear it: it is out until it is heard again.
#[test]
fn one_that_nobody_hears_is_left_out_and_joins_when_it_is_heard_again() {
    cut_off(&[(2, 1), (2, 3)]);
}

/// Nothing comes in and nothing goes out, but for clients: the other two go on.
#[test]
fn one_that_is_cut_off_is_left_out_and_joins_when_the_network_is_whole_again() {
    cut_off(&[(2, 1), (2, 3), (1, 2), (3, 2)]);
}

fn cut_off(cuts: &[(u8, u8)]) {
    let (cluster, cables) = start_cabled();
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "answers before the cut");
    cuts.iter().for_each(|(from, to)| cables.cut(*from, *to));
    cluster.wait_until("R2 to be left out", |c| is_out(c, 1, 2, "silent"));
    load.gets_on(&cluster, "the others to go on without R2");
    assert!(cuts.iter().all(|(from, to)| cables.swallowed(*from, *to) > 0));
    // More than lost packets.
    cluster.wait_until("R2 to be linked with nobody", |c| {
        [1, 3].iter().all(|to| !is_linked(c, 2, *to))
    });
    load.gets_on(&cluster, "the others to go on all the time");
    cuts.iter().for_each(|(from, to)| cables.mend(*from, *to));
    cluster.wait_until("all to be members again", is_whole);
    load.gets_on(&cluster, "all three to go on");
    had_doubts(load.finish(&cluster));
    agree(&cluster, &[1, 2, 3]);
    assert_eq!(went(&cluster, 1), [2]);
}

/// Nobody lies and nobody has lost anything: without a majority all waits, and then it goes on.
#[test]
fn nothing_is_lost_or_runs_twice_when_all_links_are_cut_for_a_while() {
    let (cluster, cables) = start_cabled();
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "answers before the cut");
    let all = [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)];
    all.iter().for_each(|(from, to)| cables.cut(*from, *to));
    cluster.wait_until("all links to be down", |c| all.iter().all(|(a, b)| !is_linked(c, *a, *b)));
    all.iter().for_each(|(from, to)| cables.mend(*from, *to));
    cluster.wait_until("all to be members", is_whole);
    load.gets_on(&cluster, "all three to go on");
    had_doubts(load.finish(&cluster));
    agree(&cluster, &[1, 2, 3]);
}

#[test]
fn nothing_is_lost_or_runs_twice_when_one_equivocates_and_is_expelled() {
    let lie = ["--lie".to_owned(), "equivocate".to_owned()];
    let cluster = started(
        || make(|options| options.allow_liars = true),
        |cluster| (1..=3).for_each(|n| cluster.launch(n, if n == 3 { &lie } else { &[] })),
    );
    let load = Load::on(&cluster);
    cluster.wait_until("R3 to be expelled", |c| (1..=2).all(|good| is_out(c, good, 3, "lied")));
    load.gets_on_by(200, &cluster, "the others to go on without R3");
    for good in 1..=2 {
        let evidence = cluster.config().with_file_name(format!("data/replica-{good}/evidence"));
        cluster.wait_until("good replicas to keep the proof", |_| has_file(&evidence));
    }
    let config = cluster.config().to_str().unwrap();
    let (code, out, err) = cluster.quorate(&["evidence", "verify", "--config", config]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("proves that R3 signed two proposals for one round"), "{out}");
    let checked = load.finish(&cluster);
    assert!(checked.answered > 200, "{checked:?}");
    agree(&cluster, &[1, 2]);
    assert_eq!(went(&cluster, 1), [3]);
}

fn has_file(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut files| files.next().is_some())
}
