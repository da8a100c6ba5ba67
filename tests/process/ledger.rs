//! `examples/ledger.rs`: an own service by its own binary, on real replicas.

use crate::cluster::Cluster;
use quorate::client::ClientOptions;
use quorate::files::read_secret_key;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const ACCOUNTS: usize = 5;
const TELLERS: usize = 4;
const TRANSFERS: usize = 60;
const EACH: usize = 1_000;

/// Cargo builds examples with the tests, beside the program.
fn program() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_quorate")).with_file_name("examples");
    let program = beside.join("ledger");
    assert!(program.exists(), "build it first: cargo build --example ledger");
    program
}

fn start() -> Cluster {
    for _ in 0..10 {
        let mut cluster = Cluster::make(|o| o.service = "ledger".to_owned()).program(program());
        if cluster.launch_all(|_| Vec::new()) {
            return cluster;
        }
    }
    panic!("ten times in a row a replica ended at its start: see the logs above");
}

fn bank(cluster: &Cluster, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(program());
    command.arg("client").arg("--config").arg(cluster.config());
    command.arg("--key").arg(cluster.client_key(1)).args(words);
    let ran = command.output().unwrap();
    (ran.status.code().unwrap(), String::from_utf8(ran.stdout).unwrap())
}

#[test]
fn money_is_neither_made_nor_lost_by_transfers_at_the_same_time() {
    let cluster = start();
    assert_eq!(bank(&cluster, &["open", "ann"]), (0, "balance 0\n".to_owned()));
    assert_eq!(bank(&cluster, &["deposit", "ann", "500"]), (0, "balance 500\n".to_owned()));
    let refused = (1, "refused: ann has only 500\n".to_owned());
    assert_eq!(bank(&cluster, &["open", "bob"]).0, 0);
    assert_eq!(bank(&cluster, &["transfer", "ann", "bob", "501"]), refused);
    assert_eq!(bank(&cluster, &["transfer", "ann", "bob", "120"]).1, "balance 380\n");
    assert_eq!(bank(&cluster, &["balance", "bob"]).1, "balance 120\n");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tellers(&cluster));
    let total = 500 + ACCOUNTS * EACH;
    assert_eq!(bank(&cluster, &["total"]), (0, format!("total {total}\n")));
    let balance = |name: &str| -> usize {
        let (code, text) = bank(&cluster, &["balance", name]);
        assert_eq!(code, 0);
        text.trim().strip_prefix("balance ").unwrap().parse().unwrap()
    };
    let sum: usize = (0..ACCOUNTS).map(|i| balance(&format!("a{i}"))).sum();
    assert_eq!(sum, ACCOUNTS * EACH);
    let digest = |c: &Cluster, number| c.status(number).unwrap()["service"].clone();
    assert_eq!(digest(&cluster, 1), "ledger");
}

/// Each teller makes transfers one after the other, the tellers at the same time, and reads the
/// total in between.
async fn tellers(cluster: &Cluster) {
    let timeout = Duration::from_secs(60);
    let options = ClientOptions { timeout, ..ClientOptions::default() };
    let key = read_secret_key(&cluster.client_key(2)).unwrap();
    let client = quorate::Client::connect(cluster.cluster(), key, options).unwrap();
    for i in 0..ACCOUNTS {
        client.execute(format!("open a{i}")).await.unwrap();
        client.execute(format!("deposit a{i} {EACH}")).await.unwrap();
    }
    let total = format!("total {}", 500 + ACCOUNTS * EACH);
    let mut running = tokio::task::JoinSet::new();
    for teller in 0..TELLERS {
        let (client, total) = (client.clone(), total.clone());
        running.spawn(async move {
            let mut refused = 0;
            for i in 0..TRANSFERS {
                let (from, to) = ((teller + i) % ACCOUNTS, (teller + 3 * i + 1) % ACCOUNTS);
                let cents = (teller * 7919 + i * 104_729) % (EACH / 2) + 1;
                let done = client.execute(format!("transfer a{from} a{to} {cents}")).await.unwrap();
                let done = String::from_utf8(done.to_vec()).unwrap();
                assert!(done.starts_with("balance ") || done.starts_with("refused: "), "{done}");
                refused += usize::from(done.starts_with("refused"));
                assert_eq!(client.query("total").await.unwrap(), total.as_bytes());
            }
            refused
        });
    }
    let refused: usize = running.join_all().await.into_iter().sum();
    assert!(refused > 0 && refused < TELLERS * TRANSFERS, "{refused} refused: nothing is shown");
    client.close().await;
}
