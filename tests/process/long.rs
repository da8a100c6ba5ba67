//! Clusters that run for long (D37): what a replica has on its disk and in its memory is bounded by
//! its settings and its state, not by how much was ever asked.

use crate::chains;
use crate::cluster::Cluster;
use crate::faults::{is_whole, started};
use crate::load::block_on;
use quorate::Client;
use quorate::client::ClientOptions;
use quorate::config::FaultModel;
use quorate::files::read_secret_key;
use quorate::service::kv::{Command, Output};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Far above what a busy machine takes.
const DELTA: Duration = Duration::from_millis(300);
/// The least that may be asked for.
const QUOTAS: &str = "\n[limits]\ncheckpoint_every = 16\n\
                      [quotas]\nlog_bytes = 1048576\nkept_bytes = 1048576\n";
/// Bytes of a value; there are as many as writers.
const VALUE: usize = 64 << 10;
const WRITERS: usize = 8;
/// Values that each writes at a time: 52 MB together. A file of the log has up to 32 MB.
const PUTS: usize = 100;
const WRITTEN: u64 = (WRITERS * PUTS * VALUE) as u64;

async fn write(cluster: &Cluster) {
    let key = read_secret_key(&cluster.client_key(1)).unwrap();
    let options = ClientOptions { timeout: Duration::from_secs(120), ..ClientOptions::default() };
    let client = Arc::new(Client::connect(cluster.cluster(), key, options).unwrap());
    let writer = |name: usize| {
        let client = client.clone();
        tokio::spawn(async move {
            for n in 0..PUTS {
                let put = Command::put(&format!("key/{name}"), &[n as u8; VALUE]).encode();
                let output = client.execute(put).await.unwrap();
                assert_eq!(Output::parse(&output).unwrap(), Output::Done);
            }
        })
    };
    for writing in (0..WRITERS).map(writer).collect::<Vec<_>>() {
        writing.await.unwrap();
    }
}

/// Bytes of all files below a directory. What goes meanwhile does not count.
fn size(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => size(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

fn keeps_what_it_needs(model: FaultModel, is_whole: impl Fn(&Cluster) -> bool) {
    let make = || {
        let mut cluster = Cluster::make(|options| {
            (options.fault_model, options.delta) = (model, DELTA);
        });
        cluster.add(QUOTAS);
        cluster
    };
    let cluster = started(make, |c| (1..=3).for_each(|number| c.launch(number, &[])));
    cluster.wait_until("the group to begin", |c| is_whole(c));
    let memory = || [1, 2, 3].map(|number| cluster.memory(number));
    let disk =
        || [1, 2, 3].map(|n| size(&cluster.config().with_file_name(format!("data/replica-{n}"))));
    block_on(write(&cluster));
    let before = memory();
    for _ in 0..5 {
        block_on(write(&cluster));
        let there = disk();
        assert!(there.iter().max() > Some(&((WRITERS * VALUE) as u64)), "they have what they keep");
        assert!(there.iter().all(|bytes| *bytes < 2 * WRITTEN), "{there:?} bytes on the disks");
    }
    let after = memory();
    println!("memory {before:?} and {after:?}, disks {:?}", disk());
    for (before, after) in before.iter().zip(&after) {
        assert!(*after < before + 2 * WRITTEN, "{before} bytes have become {after}");
    }
}

#[test]
fn a_group_that_runs_for_long_keeps_what_it_needs() {
    keeps_what_it_needs(FaultModel::Byzantine, is_whole);
}

#[test]
fn a_chain_that_runs_for_long_keeps_what_it_needs() {
    keeps_what_it_needs(FaultModel::FailStop, |c| chains::is_whole(c, None));
}
