//! Replicas with other results than the others, on real disks and links (docs/protocol.md §6).

use super::*;
use crate::client::{Client, ClientOptions};
use crate::replica::{Standing, Status};
use crate::service::kv::{Command, Kv, Output};
use std::path::PathBuf;

/// The key-value service, in which one command goes wrong.
struct Faulty {
    kv: Kv,
    commands: u64,
    /// From this command on outputs depend on which replica it is.
    own: Option<(u64, i64)>,
    /// After this command a value changes in memory, once.
    flip: Option<u64>,
}

impl Faulty {
    fn sound() -> Self {
        Self { kv: Kv::new(), commands: 0, own: None, flip: None }
    }
}

impl Service for Faulty {
    fn name(&self) -> &'static str {
        Kv::NAME
    }

    fn execute(&mut self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        self.commands += 1;
        let output = self.kv.execute(time, client, command);
        if self.flip == Some(self.commands) {
            self.kv.execute(time, client, &Command::put("flipped", "x").encode());
        }
        match self.own {
            Some((from, id)) if self.commands >= from => Output::Number(id).encode(),
            _ => output,
        }
    }

    fn query(&self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        self.kv.query(time, client, command)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.kv.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.kv.restore(snapshot)
    }

    fn digest(&mut self) -> Digest {
        self.kv.digest()
    }
}

impl Files {
    fn data(&self, replica: u8) -> PathBuf {
        self.directory.path().join(format!("data-{replica}"))
    }

    async fn start(&self, replica: u8, service: Faulty) -> Result<Daemon, DaemonError> {
        let mut cluster = self.cluster();
        cluster.limits.checkpoint_every = 8;
        self.builder(cluster, replica).service(Box::new(service)).start().await
    }

    fn client(&self, patience: Duration) -> Client {
        let key = read_secret_key(&self.made.client_keys[0]).unwrap();
        let options = ClientOptions { timeout: patience, ..ClientOptions::default() };
        Client::connect(&self.cluster(), key, options).unwrap()
    }
}

async fn incr(client: &Client) -> Option<i64> {
    let output = client.execute(Command::incr("n", 1).encode()).await.ok()?;
    match Output::parse(&output) {
        Ok(Output::Number(n)) => Some(n),
        other => panic!("{other:?}"),
    }
}

async fn wait_for(daemon: &Daemon, wanted: impl Fn(&Status) -> bool) -> Status {
    soon(async {
        loop {
            let status = daemon.status().await.unwrap();
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// All halt and say why; none starts again before somebody has said so; then a sound service goes
/// on from what was ordered.
#[tokio::test]
async fn replicas_whose_service_is_not_deterministic_halt_until_an_operator_says_so() {
    let files = Files::new();
    let mut daemons = Vec::new();
    for id in 1..=3u8 {
        let service = Faulty { own: Some((3, id.into())), ..Faulty::sound() };
        daemons.push(files.start(id, service).await.unwrap());
    }
    let client = files.client(Duration::from_secs(5));
    assert_eq!((incr(&client).await, incr(&client).await), (Some(1), Some(2)));
    assert_eq!(incr(&client).await, None, "no two are equal");
    for daemon in &daemons {
        let named = |s: &Status| s.halted.as_ref().is_some_and(|why| why.contains("incr n 1"));
        let status = wait_for(daemon, named).await;
        assert_eq!(status.standing, Standing::Halted);
    }
    client.close().await;
    for daemon in daemons {
        soon(daemon.stop()).await.unwrap();
    }
    let mut daemons = Vec::new();
    for id in 1..=3 {
        let words = files.data(id).join("halted");
        let kept = std::fs::read_to_string(&words).unwrap();
        assert!(kept.contains("incr n 1") && kept.contains("remove this file"), "{kept}");
        let refused = files.start(id, Faulty::sound()).await.err().unwrap().to_string();
        assert!(refused.contains("is not to be started yet") && refused.contains("incr n 1"));
        std::fs::remove_file(words).unwrap();
        daemons.push(files.start(id, Faulty::sound()).await.unwrap());
    }
    let client = files.client(Duration::from_secs(50));
    assert_eq!(incr(&client).await, Some(4), "the third has run, by a sound service now");
    client.close().await;
    for daemon in daemons {
        soon(daemon.stop()).await.unwrap();
    }
}

/// It takes up the others' state, on its disk too: also after a start it is right.
#[tokio::test]
async fn one_whose_memory_flipped_is_healed_on_its_disk_as_well() {
    let files = Files::new();
    let mut daemons = Vec::new();
    for id in 1..=3u8 {
        let flip = (id == 3).then_some(4);
        daemons.push(files.start(id, Faulty { flip, ..Faulty::sound() }).await.unwrap());
    }
    let client = files.client(Duration::from_secs(50));
    let mut n = 0;
    let healed = |s: &Status| s.counters["quarantines"] == 1 && s.quarantined.is_none();
    while !healed(&daemons[2].status().await.unwrap()) {
        n += 1;
        assert_eq!(incr(&client).await, Some(n), "clients notice nothing");
        assert!(n < 2000, "{:?}", daemons[2].status().await.unwrap());
    }
    let kept = std::fs::read_dir(files.data(3).join("evidence")).unwrap();
    let names: Vec<_> = kept.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| name.contains("-R3-") && name.ends_with(".divergence")));
    assert_eq!(names.len(), 1, "{names:?}");
    soon(daemons.pop().unwrap().stop()).await.unwrap();
    daemons.push(files.start(3, Faulty::sound()).await.unwrap());
    wait_for(&daemons[2], |s| s.standing == Standing::Member).await;
    assert_eq!(incr(&client).await, Some(n + 1));
    // The same round, looked at until it is.
    soon(async {
        loop {
            let one = daemons[0].status().await.unwrap();
            let other = daemons[2].status().await.unwrap();
            if one.executed_round == other.executed_round && one.executed == other.executed {
                assert_eq!(one.running, other.running);
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let status = daemons[2].status().await.unwrap();
    assert_eq!(status.counters["quarantines"], 0, "since this start");
    assert!(status.standings[2].rolled, "it says what happened until an operator has looked");
    client.close().await;
    for daemon in daemons {
        soon(daemon.stop()).await.unwrap();
    }
}
