//! Clients that work while things go wrong, and write down all that they ask and are told.
//!
//! Eight workers ask one thing at a time each. Some wait however long it takes; others give up,
//! each in its own manner, so that there is much of which nobody knows whether it ran. When the
//! load ends, everything is read once more and the whole history is checked (`history.rs`).

use crate::cluster::Cluster;
use crate::history::{Checked, Event, History, Outcome, TAG, key};
use quorate::Client;
use quorate::client::{CallError, ClientOptions};
use quorate::files::read_secret_key;
use quorate::service::kv::{Command, Output};
use quorate::simulator::Dice;
use quorate::simulator::model::{KvOp, KvOut};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Client keys that a cluster needs for this.
pub const CLIENTS: u16 = 5;
/// The one that reads in the end.
const READER: usize = 5;
/// Longer than any stop that a test makes.
const LONG: Duration = Duration::from_secs(120);
/// Below the patience of these clusters, so that some give up whenever rounds stop.
const SHORT: Duration = Duration::from_millis(400);
/// Between two things that a worker asks, so that histories stay small.
const PACE: Duration = Duration::from_millis(20);
/// Who gave up waits so long, and each time in a row twice as long, so that few are in doubt.
const BACK_OFF: Duration = Duration::from_millis(100);
const BACK_OFF_CAP: Duration = Duration::from_secs(3);
/// Operations of one key; then another key takes its place.
const PER_KEY: u64 = 150;
/// One in doubt counts as so many: each doubles what the search for an order has to try.
const PER_DOUBT: u64 = 20;
/// Two registers and a number.
const SLOTS: [&str; 3] = ["a", "b", "n"];

/// How a worker takes it when no answer comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Waits; every call must be answered.
    Patient,
    /// Its client's time for a call is short.
    Impatient,
    /// Forgets the call.
    Forgetful,
    /// Closes its client under the call, and goes on with a new one, in a new session.
    Closing,
}

/// Which client key, and what manner; those with one key and manner share a client.
const WORKERS: [(usize, Manner); 8] = [
    (1, Manner::Patient),
    (1, Manner::Patient),
    (1, Manner::Patient),
    (1, Manner::Patient),
    (2, Manner::Impatient),
    (2, Manner::Impatient),
    (3, Manner::Forgetful),
    (4, Manner::Closing),
];

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<Vec<Event>>,
}

struct Shared {
    cluster: quorate::config::Cluster,
    keys: Vec<PathBuf>,
    began: Instant,
    over: AtomicBool,
    // What patient workers were answered.
    accepted: AtomicU64,
    // Operations begun for each slot.
    used: [AtomicU64; SLOTS.len()],
}

impl Load {
    /// Sets clients to work on a cluster that has keys of [`CLIENTS`].
    pub fn on(cluster: &Cluster) -> Self {
        let shared = Arc::new(Shared {
            cluster: cluster.cluster().clone(),
            keys: (1..=usize::from(CLIENTS)).map(|n| cluster.client_key(n)).collect(),
            began: Instant::now(),
            over: AtomicBool::default(),
            accepted: AtomicU64::default(),
            used: Default::default(),
        });
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || block_on(work(theirs)));
        Self { shared, thread }
    }

    /// Waits until those that never give up have got on.
    pub fn gets_on(&self, cluster: &Cluster, what: &str) {
        self.gets_on_by(20, cluster, what);
    }

    /// The same with the number of answers that must come.
    pub fn gets_on_by(&self, answers: u64, cluster: &Cluster, what: &str) {
        let accepted = || self.shared.accepted.load(Ordering::Relaxed);
        let before = accepted();
        cluster.wait_until(what, |_| {
            assert!(!self.thread.is_finished(), "the clients have ended: see above");
            accepted() >= before + answers
        });
    }

    /// Stops the clients, reads everything, and checks the whole history.
    pub fn finish(self, cluster: &Cluster) -> Checked {
        self.shared.over.store(true, Ordering::Relaxed);
        let events = self.thread.join().expect("what patient clients ask is answered");
        let history = block_on(read_all(&self.shared, events));
        let checked = history.check().unwrap_or_else(|problem| {
            let logs = (1..=cluster.n()).map(|n| format!("--- R{n}\n{}", cluster.log(n)));
            panic!("{problem}\n{}", logs.collect::<Vec<_>>().join("\n"))
        });
        println!("{checked:?} over {} keys", self.shared.keys_used());
        checked
    }
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap()
    }

    fn client(&self, number: usize, timeout: Duration) -> Client {
        let options = ClientOptions { timeout, ..ClientOptions::default() };
        let key = read_secret_key(&self.keys[number - 1]).unwrap();
        Client::connect(&self.cluster, key, options).unwrap()
    }

    /// The present key of a slot; counts an operation of it.
    fn key(&self, slot: usize) -> Vec<u8> {
        let turn = self.used[slot].fetch_add(1, Ordering::Relaxed) / PER_KEY;
        format!("{}/{turn}", SLOTS[slot]).into_bytes()
    }

    /// Nobody knows whether this ran: its key is used up sooner.
    fn doubt(&self, op: &KvOp) {
        let of = |slot: &&str| key(op).starts_with(format!("{slot}/").as_bytes());
        if let Some(slot) = SLOTS.iter().position(of) {
            self.used[slot].fetch_add(PER_DOUBT, Ordering::Relaxed);
        }
    }

    fn keys_used(&self) -> u64 {
        self.used.iter().map(|used| used.load(Ordering::Relaxed).div_ceil(PER_KEY)).sum()
    }
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn work(shared: Arc<Shared>) -> Vec<Event> {
    let mut clients: BTreeMap<usize, Client> = BTreeMap::new();
    let mut running = tokio::task::JoinSet::new();
    for (number, (key, manner)) in WORKERS.into_iter().enumerate() {
        let timeout = if manner == Manner::Impatient { SHORT } else { LONG };
        let client = clients.entry(key).or_insert_with(|| shared.client(key, timeout)).clone();
        let dice = Dice::new(u64::try_from(number).unwrap(), 0);
        let (shared, seen, events) = (shared.clone(), BTreeMap::new(), Vec::new());
        let worker = Worker { number, key, manner, shared, client, dice, made: 0, seen, events };
        running.spawn(worker.run());
    }
    drop(clients);
    let mut events = Vec::new();
    while let Some(ended) = running.join_next().await {
        events.extend(ended.unwrap());
    }
    events
}

struct Worker {
    number: usize,
    /// Its client's key.
    key: usize,
    manner: Manner,
    shared: Arc<Shared>,
    client: Client,
    dice: Dice,
    /// Operations so far: with the worker's number they make values that nobody else writes.
    made: u64,
    /// What it last knew of registers.
    seen: BTreeMap<Vec<u8>, Vec<u8>>,
    events: Vec<Event>,
}

impl Worker {
    async fn run(mut self) -> Vec<Event> {
        let mut in_a_row = 0;
        while !self.shared.over.load(Ordering::Relaxed) {
            let op = self.draw();
            let invoked = self.shared.now();
            let outcome = self.ask(&op).await;
            let ended = self.shared.now();
            let answered = matches!(outcome, Outcome::Answered(_));
            if outcome == Outcome::Unknown {
                self.shared.doubt(&op);
            }
            self.learn(&op, &outcome);
            self.events.push(Event { op, invoked, ended, outcome });
            if answered && self.manner == Manner::Patient {
                self.shared.accepted.fetch_add(1, Ordering::Relaxed);
            }
            in_a_row = if answered { 0 } else { in_a_row + 1 };
            let back_off = match in_a_row {
                0 => PACE,
                many => (BACK_OFF * 2u32.saturating_pow(many)).min(BACK_OFF_CAP),
            };
            sleep(back_off).await;
        }
        self.events
    }

    fn draw(&mut self) -> KvOp {
        self.made += 1;
        let unique = format!("{}-{}", self.number, self.made);
        let register = |worker: &mut Self| worker.shared.key(usize::from(worker.dice.chance(500)));
        match self.dice.below(10) {
            0..3 => KvOp::Incr(format!("{TAG}{unique}").into_bytes(), 1),
            3..5 => {
                // No two are equal, and no few of them have the sum of others but by rare chance.
                let by = i64::try_from(self.dice.below(1 << 40)).unwrap() + 1;
                KvOp::Incr(self.shared.key(2), by)
            }
            5 => KvOp::Put(register(self), unique.into_bytes()),
            6..8 => {
                let key = register(self);
                let old = self.seen.get(&key).cloned();
                KvOp::Cas(key, old, unique.into_bytes())
            }
            8 => KvOp::Get(self.shared.key(2)),
            _ => KvOp::Get(register(self)),
        }
    }

    fn learn(&mut self, op: &KvOp, outcome: &Outcome) {
        let learned = match (op, outcome) {
            (KvOp::Put(key, value) | KvOp::Cas(key, _, value), Outcome::Answered(KvOut::Done)) => {
                Some((key, value))
            }
            (KvOp::Get(key), Outcome::Answered(KvOut::Value(value))) => Some((key, value)),
            (KvOp::Cas(key, ..), Outcome::Answered(KvOut::Mismatch(Some(value)))) => {
                Some((key, value))
            }
            _ => None,
        };
        if let Some((key, value)) = learned {
            self.seen.insert(key.clone(), value.clone());
        }
    }

    async fn ask(&mut self, op: &KvOp) -> Outcome {
        let call = call(self.client.clone(), op);
        let answer = match self.manner {
            Manner::Patient => Ok(call.await.unwrap_or_else(|e| panic!("{op:?}: {}", told(&e)))),
            Manner::Impatient => call.await,
            Manner::Forgetful => match timeout(SHORT, call).await {
                Ok(answer) => answer,
                Err(_) => return Outcome::Unknown,
            },
            Manner::Closing => self.close_under(call).await,
        };
        match answer {
            Ok(out) => Outcome::Answered(out),
            Err(e) if e.may_have_run() => Outcome::Unknown,
            Err(_) => Outcome::Never,
        }
    }

    async fn close_under(
        &mut self,
        call: impl Future<Output = Result<KvOut, CallError>>,
    ) -> Result<KvOut, CallError> {
        let mut call = std::pin::pin!(call);
        if let Ok(answer) = timeout(SHORT, &mut call).await {
            return answer;
        }
        self.client.close().await;
        self.client = self.shared.client(self.key, LONG);
        call.await
    }
}

async fn call(client: Client, op: &KvOp) -> Result<KvOut, CallError> {
    let bytes = match op {
        KvOp::Put(key, value) => Command::Put { key, value },
        KvOp::Get(key) => Command::Get { key },
        KvOp::Cas(key, old, new) => Command::Cas { key, old: old.as_deref(), new },
        KvOp::Incr(key, by) => Command::Incr { key, by: *by },
        other => panic!("{other:?} is not asked"),
    }
    .encode();
    let answer = match op {
        KvOp::Get(_) => client.query(bytes).await?,
        _ => client.execute(bytes).await?,
    };
    Ok(match Output::parse(&answer).unwrap() {
        Output::Done => KvOut::Done,
        Output::Value(value) => KvOut::Value(value.to_vec()),
        Output::Missing => KvOut::Missing,
        Output::Mismatch { current } => KvOut::Mismatch(current.map(|c| c.to_vec())),
        Output::Number(n) => KvOut::Number(n),
        other => panic!("{op:?} was answered {other:?}"),
    })
}

fn told(error: &CallError) -> String {
    let explanation = error.explanation().map(ToString::to_string).unwrap_or_default();
    format!("{error}\n{explanation}")
}

/// Reads every register and number, then all tags.
async fn read_all(shared: &Shared, mut events: Vec<Event>) -> History {
    let client = shared.client(READER, LONG);
    let keys: BTreeSet<Vec<u8>> = events
        .iter()
        .filter_map(|e| match &e.op {
            KvOp::Put(key, _) | KvOp::Get(key) | KvOp::Cas(key, ..) | KvOp::Incr(key, _) => {
                (!key.starts_with(TAG.as_bytes())).then(|| key.clone())
            }
            _ => None,
        })
        .collect();
    for key in keys {
        let op = KvOp::Get(key);
        let invoked = shared.now();
        let out = call(client.clone(), &op).await.unwrap_or_else(|e| panic!("{}", told(&e)));
        let (ended, outcome) = (shared.now(), Outcome::Answered(out));
        events.push(Event { op, invoked, ended, outcome });
    }
    let tags = match shared.cluster.each_chain().len() {
        1 => all_tags(&client).await,
        _ => tags_of(&client, &events).await,
    };
    client.close().await;
    History { events, tags }
}

/// Several chains answer no scan over all keys: each tag that anybody wrote is asked for.
async fn tags_of(client: &Client, events: &[Event]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut tags = BTreeMap::new();
    for key in events.iter().map(|e| key(&e.op)).filter(|key| key.starts_with(TAG.as_bytes())) {
        let out = call(client.clone(), &KvOp::Get(key.clone())).await;
        match out.unwrap_or_else(|e| panic!("{}", told(&e))) {
            KvOut::Value(value) => drop(tags.insert(key, value)),
            KvOut::Missing => {}
            other => panic!("{other:?} for a tag"),
        }
    }
    tags
}

async fn all_tags(client: &Client) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut tags = BTreeMap::new();
    let mut after = Vec::new();
    loop {
        let scan = Command::Scan { prefix: TAG.as_bytes(), after: &after, limit: 1000 }.encode();
        let answer = client.query(scan).await.unwrap_or_else(|e| panic!("{}", told(&e)));
        let Output::Entries { entries, more } = Output::parse(&answer).unwrap() else {
            panic!("a scan gives entries");
        };
        tags.extend(entries.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())));
        match tags.last_key_value() {
            Some((last, _)) if more => after = last.clone(),
            _ => return tags,
        }
    }
}
