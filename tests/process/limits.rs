//! Replicas whose process is given too little of what it needs (D5): it ends with a word that says
//! so, never half-alive, and the others go on.

use crate::chains;
use crate::cluster::Cluster;
use crate::faults::{had_doubts, is_whole, started};
use crate::load::{CLIENTS, Load, block_on};
use quorate::Client;
use quorate::client::ClientOptions;
use quorate::config::FaultModel;
use quorate::files::read_secret_key;
use quorate::service::kv;
use std::time::Duration;

const DELTA: Duration = Duration::from_millis(150);
/// A replica takes some 160 MB of addresses at its start, most of it its program.
const LITTLE_MEMORY: &str = "ulimit -v 220000";
/// With so many it could start, and would end when it has to begin a new file.
const FEW_FILES: &str = "ulimit -n 20";

fn start(model: FaultModel) -> Cluster {
    let make = || {
        Cluster::make(|options| {
            (options.fault_model, options.delta, options.clients) = (model, DELTA, CLIENTS);
        })
    };
    started(make, |cluster| {
        cluster.launch_after(LITTLE_MEMORY, 1);
        (2..=3).for_each(|number| cluster.launch(number, &[]));
    })
}

// Puts values that stay, until this replica has ended.
async fn fill(cluster: &mut Cluster, number: u8) {
    let key = read_secret_key(&cluster.client_key(1)).unwrap();
    let options = ClientOptions { timeout: Duration::from_secs(5), ..ClientOptions::default() };
    let client = Client::connect(cluster.cluster(), key, options).unwrap();
    for n in 0..1000 {
        let (key, value) = (format!("large/{n}"), vec![b'x'; kv::MAX_VALUE]);
        let put = client.execute(kv::Command::put(&key, &value).encode()).await;
        if cluster.has_ended(number) {
            return;
        }
        // Who asks just when it ends may be left without an answer.
        if let Ok(output) = put {
            assert_eq!(kv::Output::parse(&output).unwrap(), kv::Output::Done);
        }
    }
    panic!("R{number} still runs with 190 MB\n{}", cluster.log(number));
}

fn runs_out_of_memory(model: FaultModel, is_whole: impl Fn(&Cluster) -> bool) {
    let mut cluster = start(model);
    cluster.wait_until("the group to begin", |c| is_whole(c));
    let load = Load::on(&cluster);
    load.gets_on(&cluster, "the clients to begin");
    block_on(fill(&mut cluster, 1));
    assert_eq!(cluster.ends(1), None, "it ends by a signal of its own");
    let log = cluster.log(1);
    assert!(log.contains("memory allocation of"), "{log}");
    load.gets_on(&cluster, "the others to go on");
    cluster.launch(1, &[]);
    cluster.wait_until("it to be back", |c| c.is_linked(1) && is_whole(c));
    load.gets_on(&cluster, "all to go on");
    had_doubts(load.finish(&cluster));
}

#[test]
fn one_without_memory_for_what_it_must_hold_ends_and_the_others_go_on() {
    runs_out_of_memory(FaultModel::Byzantine, is_whole);
}

#[test]
fn a_head_without_memory_for_what_it_must_hold_ends_and_the_chain_goes_on() {
    runs_out_of_memory(FaultModel::FailStop, |c| chains::is_whole(c, None));
}

/// It would end when a segment of its log is full, hours after its start.
#[test]
fn one_that_may_open_too_few_files_is_refused_at_its_start_and_changes_nothing() {
    for model in [FaultModel::Byzantine, FaultModel::FailStop] {
        let mut cluster = Cluster::make(|options| options.fault_model = model);
        cluster.launch_after(FEW_FILES, 1);
        assert_eq!(cluster.ends(1), Some(2));
        let log = cluster.log(1);
        assert!(log.contains("may open 20 files") && log.contains("ulimit -n"), "{log}");
        assert!(!cluster.config().with_file_name("data/replica-1/cluster.mark").exists());
    }
}
