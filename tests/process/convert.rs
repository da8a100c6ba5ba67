//! Data that goes over to the other fault model and back: with 100,000 keys, live sessions, and
//! requests that are repeated on the other side.

use crate::chains::is_whole;
use crate::cluster::Cluster;
use bytes::Bytes;
use quorate::Client;
use quorate::client::ClientOptions;
use quorate::config::{Cluster as File, FaultModel};
use quorate::files::{load_cluster, read_secret_key};
use quorate::service::kv::{Command as Kv, Output};
use quorate::transport::{Endpoint, Lane, Link, LinkClass, LinkEvent, Settings};
use quorate::types::{GroupId, ReplicaId, SessionId};
use quorate::wire::{
    Command, CommandKind, Greeting, Kind, Message, Outcome, PROTOCOL_VERSION, Replies, Request,
    RequestBody,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const DELTA: Duration = Duration::from_millis(150);
const KEYS: usize = 100_000;
/// Commands in one call.
const AT_ONCE: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(120);
const SESSION: SessionId = SessionId(0x5e55_1011);

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn data(cluster: &Cluster, number: u8) -> PathBuf {
    cluster.config().with_file_name("data").join(format!("replica-{number}"))
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
}

fn key_of(i: usize) -> String {
    format!("key-{i:06}")
}

/// Asks one thing at a time in one session, over links of its own to all replicas, with the bytes
/// that it is told to send.
struct Speaker {
    file: File,
    endpoint: Endpoint,
    links: Vec<Link>,
    events: mpsc::Receiver<(ReplicaId, LinkEvent)>,
}

impl Speaker {
    async fn connect(file: File, key: &Path) -> Self {
        let key = read_secret_key(key).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let endpoint = Endpoint::bind(any, &key, None, Settings::default()).unwrap();
        let (sender, events) = mpsc::channel(64);
        let mut links = Vec::new();
        for entry in &file.replicas {
            let address = entry.address.parse().unwrap();
            let dialled = endpoint.dial(address, &entry.public_key, LinkClass::Client).await;
            let (mut link, _) = dialled.unwrap().wait().await.unwrap();
            let greeting = Greeting { version: PROTOCOL_VERSION, cluster: file.id() };
            link.send(Lane::Protocol, &greeting.to_frame(GroupId::MAIN));
            link.start(sender.clone(), entry.id);
            links.push(link);
        }
        Self { file, endpoint, links, events }
    }

    fn send(&self, number: u64, body: &Bytes) {
        let chain = self.file.fault_model == FaultModel::FailStop;
        let group = if chain { GroupId::CHAIN } else { GroupId::MAIN };
        let request = Request { session: SESSION, number, low: 0, body: body.clone() };
        let frame = request.to_frame(group);
        for link in &self.links {
            link.send(Lane::Protocol, &frame);
            link.flush();
        }
    }

    /// What becomes of a request: what `t + 1` say, or one of a chain.
    async fn ask(&mut self, number: u64, body: &Bytes) -> Outcome {
        let wanted = match self.file.fault_model {
            FaultModel::Byzantine => self.file.ensemble.majority(),
            FaultModel::FailStop => 1,
        };
        let deadline = Instant::now() + PATIENCE;
        let mut said: BTreeMap<ReplicaId, Bytes> = BTreeMap::new();
        while Instant::now() < deadline {
            self.send(number, body);
            let again = tokio::time::sleep(Duration::from_secs(1));
            tokio::pin!(again);
            loop {
                let (from, event) = tokio::select! {
                    Some(event) = self.events.recv() => event,
                    () = &mut again => break,
                };
                let LinkEvent::Frames { frames, .. } = event else { continue };
                for frame in frames.iter().filter(|frame| frame.kind == Kind::Replies) {
                    let replies = Replies::from_body(&frame.body).unwrap().replies;
                    let ours = replies.into_iter().filter(|r| r.number == number);
                    said.extend(ours.map(|reply| (from, reply.outcome)));
                }
                for outcome in said.values() {
                    if said.values().filter(|other| *other == outcome).count() >= wanted {
                        return Outcome::parse(outcome).unwrap();
                    }
                }
            }
        }
        panic!("no answer to request {number}: {said:?}");
    }

    async fn count(&mut self, number: u64) -> i64 {
        match self.ask(number, &increment()).await {
            Outcome::Executed(outputs) => match Output::parse(&outputs[0]) {
                Ok(Output::Number(n)) => n,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    async fn close(self) {
        self.endpoint.close("done").await;
    }
}

/// Whose effect shows how often it ran.
fn increment() -> Bytes {
    let bytes = Kv::incr("counter", 1).encode().into();
    RequestBody { commands: vec![Command { kind: CommandKind::Execute, bytes }] }.to_bytes()
}

async fn client(cluster: &Cluster) -> Client {
    let options = ClientOptions { timeout: PATIENCE, ..ClientOptions::default() };
    let key = read_secret_key(&cluster.client_key(2)).unwrap();
    Client::connect(&load_cluster(cluster.config()).unwrap(), key, options).unwrap()
}

async fn fill(cluster: &Cluster) {
    let client = client(cluster).await;
    for first in (0..KEYS).step_by(AT_ONCE) {
        let put = |i| Command {
            kind: CommandKind::Execute,
            bytes: Kv::put(&key_of(i), &format!("value {i}")).encode().into(),
        };
        client.call((first..first + AT_ONCE).map(put).collect()).await.unwrap();
    }
    client.close().await;
}

/// Every key is there with its value, and nothing else is.
async fn compare(cluster: &Cluster) {
    let client = client(cluster).await;
    for first in (0..KEYS).step_by(AT_ONCE) {
        let get =
            |i| Command { kind: CommandKind::Query, bytes: Kv::get(&key_of(i)).encode().into() };
        let answer = client.call((first..first + AT_ONCE).map(get).collect()).await.unwrap();
        for (i, output) in (first..).zip(&answer.outputs) {
            let expected = Output::Value(format!("value {i}").into());
            assert_eq!(Output::parse(output).unwrap(), expected, "{}", key_of(i));
        }
    }
    let after = Kv::scan_after("key-", &key_of(KEYS - 1), 10).encode();
    let more = client.query(after).await.unwrap();
    let Output::Entries { entries, .. } = Output::parse(&more).unwrap() else { panic!("{more:?}") };
    assert_eq!(entries.len(), 0);
    client.close().await;
}

fn stop_all(cluster: &mut Cluster) {
    (1..=cluster.n()).for_each(|number| assert!(cluster.stop(number)));
}

fn launch_all(cluster: &mut Cluster) {
    (1..=cluster.n()).for_each(|number| cluster.launch(number, &[]));
    cluster.wait_until("all links", |c| (1..=c.n()).all(|number| c.is_linked(number)));
}

/// As an operator does it: looks, converts, gives each replica its new directory, and puts the new
/// file in the place of the old one. What one replica alone has executed is no loss: the cluster
/// is started once more then, as the message says.
fn convert(cluster: &mut Cluster, to: &str) {
    let directories: Vec<PathBuf> = (1..=cluster.n()).map(|n| data(cluster, n)).collect();
    let data: Vec<&str> = directories.iter().flat_map(|d| ["--data", word(d)]).collect();
    let config = cluster.config().to_owned();
    let take = [&["convert", "--to", to, "--config", word(&config)][..], &data].concat();
    for _ in 0..5 {
        let (code, _, err) = cluster.quorate(&[&take[..], &["--dry-run"]].concat());
        if code == 0 {
            break;
        }
        assert!(err.contains("once more as it was"), "{err}");
        launch_all(cluster);
        cluster.wait_until("all to have executed the same", |c| {
            let at = |n| c.status(n).map(|s| s["executed_round"].as_u64().unwrap());
            at(1).is_some() && (2..=c.n()).all(|n| at(n) == at(1))
        });
        stop_all(cluster);
    }
    let [toml, state] =
        ["toml", "state"].map(|e| config.with_file_name(format!("quorate.{to}.{e}")));
    assert!(!toml.exists() && !state.exists(), "a dry run writes nothing");
    let (code, out, err) = cluster.quorate(&take);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = cluster.quorate(&take);
    assert!(code == 2 && err.contains("is there already"), "{err}");
    let install = ["convert", "--install", word(&state), "--config", word(&toml)];
    let (code, out, err) = cluster.quorate(&[&install[..], &data].concat());
    assert!(code == 0 && out.contains("what was there moved to"), "{out}{err}");
    let (code, out, err) = cluster.quorate(&[&install[..], &data].concat());
    assert!(code == 0 && out.contains("has this state already"), "{out}{err}");
    std::fs::rename(&toml, &config).unwrap();
}

#[test]
fn data_goes_to_the_other_model_and_back_and_nothing_is_lost_or_runs_twice() {
    let mut cluster = Cluster::start_with(
        |options| (options.delta, options.clients) = (DELTA, 2),
        |_| Vec::new(),
    );
    let key = cluster.client_key(1);
    block_on(async {
        fill(&cluster).await;
        let file = load_cluster(cluster.config()).unwrap();
        let mut speaker = Speaker::connect(file, &key).await;
        assert_eq!(speaker.ask(0, &Bytes::new()).await, Outcome::Opened);
        assert_eq!((speaker.count(1).await, speaker.count(2).await), (1, 2));
        // Nobody waits for this one.
        speaker.send(3, &increment());
        speaker.close().await;
    });
    stop_all(&mut cluster);
    convert(&mut cluster, "fail-stop");
    launch_all(&mut cluster);
    cluster.wait_until("the chain to begin", |c| is_whole(c, None));
    block_on(async {
        let file = load_cluster(cluster.config()).unwrap();
        let mut speaker = Speaker::connect(file, &key).await;
        assert_eq!(speaker.ask(0, &Bytes::new()).await, Outcome::Opened);
        assert_eq!((speaker.count(2).await, speaker.count(1).await), (2, 1), "the former replies");
        assert_eq!(speaker.count(3).await, 3, "once, here or there");
        assert_eq!((speaker.count(4).await, speaker.count(3).await), (4, 3));
        speaker.send(5, &increment());
        speaker.close().await;
        compare(&cluster).await;
    });
    stop_all(&mut cluster);
    convert(&mut cluster, "byzantine");
    launch_all(&mut cluster);
    block_on(async {
        let file = load_cluster(cluster.config()).unwrap();
        let mut speaker = Speaker::connect(file, &key).await;
        for number in [4, 1, 3, 2, 5, 6, 5] {
            assert_eq!(speaker.count(number).await, i64::try_from(number).unwrap());
        }
        speaker.close().await;
        compare(&cluster).await;
    });
    // A replica that lost its disk takes the state of the others, sessions and all.
    assert!(cluster.stop(2));
    let lost = data(&cluster, 2);
    let state = lost.join("initial.state");
    let kept = std::fs::read(&state).unwrap();
    std::fs::remove_dir_all(&lost).unwrap();
    std::fs::create_dir_all(&lost).unwrap();
    std::fs::write(&state, kept).unwrap();
    cluster.launch(2, &["--replace-disk".to_owned()]);
    let same = |c: &Cluster, what: &str| {
        let of = |n| c.status(n).map(|s| s[what].clone());
        of(1).is_some() && of(1) == of(2)
    };
    cluster.wait_until("it to have caught up", |c| same(c, "executed_round") && same(c, "running"));
}

/// Directories that do not go together are refused, and nothing is written.
#[test]
fn what_does_not_go_together_is_not_converted() {
    let mut cluster = Cluster::start_with(|options| options.clients = 1, |_| Vec::new());
    let ran = cluster.run("client", &["--timeout", "60s", "put", "colour", "blue"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let (one, two) = (data(&cluster, 1), data(&cluster, 2));
    let config = cluster.config().to_owned();
    let convert = |cluster: &Cluster, rest: &[&str]| {
        let args = ["convert", "--config", word(&config), "--to", "fail-stop"];
        cluster.quorate(&[&args[..], rest].concat())
    };
    let both = ["--data", word(&one), "--data", word(&two)];
    let (code, _, err) = convert(&cluster, &both);
    assert!(code == 1 && err.contains("is in use by another process"), "{err}");
    stop_all(&mut cluster);
    let (code, _, err) = convert(&cluster, &["--data", word(&one)]);
    assert!(code == 1 && err.contains("at least t + 1 = 2 data directories"), "{err}");
    let (code, _, err) = convert(&cluster, &both);
    assert!(code == 1 && err.contains("the data directory of R3 is missing"), "{err}");
    let (code, _, err) = convert(&cluster, &["--data", word(&one), "--data", word(&one)]);
    assert!(code == 1 && err.contains("in use"), "{err}");
    let (code, _, err) = convert(&cluster, &[&both[..], &["--lost", "9"]].concat());
    assert!(code == 2 && err.contains("no such replica"), "{err}");
    let args = ["convert", "--config", word(&config), "--to", "byzantine", "--data", word(&one)];
    let (code, _, err) = cluster.quorate(&args);
    assert!(code == 2 && err.contains("says fault_model = \"byzantine\" already"), "{err}");
    // One that has more than the others: only it answered, or it lies.
    cluster.launch(1, &[]);
    cluster.launch(2, &[]);
    let ran = cluster.run("client", &["--timeout", "60s", "put", "colour", "red"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(cluster.stop(1) && cluster.stop(2));
    let three = data(&cluster, 3);
    let others = ["--data", word(&two), "--data", word(&three), "--lost", "1"];
    let (code, _, err) = convert(&cluster, &others);
    assert!(code == 1 && err.contains("once more as it was"), "{err}");
    // The change of the line alone does not do it.
    let text = std::fs::read_to_string(&config).unwrap();
    let changed = text.replace("\"byzantine\"", "\"fail-stop\"");
    let alone = config.with_file_name("alone.toml");
    std::fs::write(&alone, changed).unwrap();
    cluster.launch_with(1, &alone, &["--data".to_owned(), word(&one).to_owned()]);
    assert_eq!(cluster.ends(1), Some(2));
    assert!(cluster.log(1).contains("quorate convert --to fail-stop"), "{}", cluster.log(1));
    // A state that the file does not name is not installed.
    let (code, out, err) = convert(&cluster, &[&both[..], &["--lost", "3"]].concat());
    assert_eq!(code, 0, "{out}{err}");
    let state = config.with_file_name("quorate.fail-stop.state");
    let new = config.with_file_name("quorate.fail-stop.toml");
    // Who was started since may have answered something.
    cluster.launch(1, &[]);
    cluster.wait_until("it to run", |c| c.status(1).is_some());
    assert!(cluster.stop(1));
    let install = ["convert", "--install", word(&state), "--config", word(&new)];
    let with_slash = format!("{}/", word(&one));
    for data in [word(&one), &with_slash] {
        let (code, _, err) = cluster.quorate(&[&install[..], &["--data", data]].concat());
        assert!(code == 1 && err.contains("has been started on it since"), "{err}");
    }
    let (code, out, err) =
        cluster.quorate(&[&install[..], &["--data", &format!("{}/", word(&two))]].concat());
    assert!(code == 0 && out.contains("what was there moved to"), "{out}{err}");
    let mut bytes = std::fs::read(&state).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&state, bytes).unwrap();
    let (code, _, err) = cluster.quorate(&[&install[..], &["--data", word(&one)]].concat());
    assert!(code == 2 && err.contains("which") && err.contains("is not"), "{err}");
}
