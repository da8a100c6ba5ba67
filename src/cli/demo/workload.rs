//! What the clients ask, and their asking.

use super::model::Op;
use crate::client::{Answer, CallError, Client};
use indicatif::ProgressBar;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Requests that one client has under way at once.
const OUTSTANDING: usize = 8;
/// Between two requests of a client that has made its share and waits for the story's end.
const PACE: Duration = Duration::from_millis(2);

/// One accepted request.
pub(super) struct Entry {
    /// Which client asked.
    pub(super) client: usize,
    /// What.
    pub(super) ops: Vec<Op>,
    /// Taken before it was handed over.
    pub(super) invoked: Instant,
    /// Taken after the answer had come.
    pub(super) completed: Instant,
    /// The accepted answer.
    pub(super) answer: Answer,
}

/// A request without an answer.
pub(super) struct Failed {
    pub(super) client: usize,
    pub(super) ops: Vec<Op>,
    pub(super) error: CallError,
}

/// Asks once.
pub(super) async fn ask(client: &Client, number: usize, ops: Vec<Op>) -> Result<Entry, Failed> {
    let commands = ops.iter().map(Op::encode).collect();
    let invoked = Instant::now();
    match client.call(commands).await {
        Ok(answer) => Ok(Entry { client: number, ops, invoked, completed: Instant::now(), answer }),
        Err(error) => Err(Failed { client: number, ops, error }),
    }
}

/// All clients at once, `requests` in total, each client with several under way; then more of
/// them, one at a time, until it is `over`. A client that gets no answer asks no more.
pub(super) async fn run(
    clients: &[Client],
    requests: usize,
    over: &Arc<AtomicBool>,
    bar: &ProgressBar,
) -> (Vec<Entry>, Vec<Failed>) {
    let mut running = JoinSet::new();
    for (number, client) in clients.iter().enumerate() {
        // The first ones make up for what cannot be shared out evenly.
        let share = requests / clients.len() + usize::from(number < requests % clients.len());
        running.spawn(one_client(client.clone(), number, share, over.clone(), bar.clone()));
    }
    let (mut entries, mut failed) = (Vec::new(), Vec::new());
    while let Some(ended) = running.join_next().await {
        let (accepted, without) = ended.expect("a client's task is never cancelled");
        entries.extend(accepted);
        failed.extend(without);
    }
    (entries, failed)
}

async fn one_client(
    client: Client,
    number: usize,
    requests: usize,
    over: Arc<AtomicBool>,
    bar: ProgressBar,
) -> (Vec<Entry>, Option<Failed>) {
    let mut writer = Writer::new(number);
    let mut under_way = JoinSet::new();
    let mut entries = Vec::with_capacity(requests);
    let mut left = requests;
    loop {
        let wants_more = left > 0 || !over.load(Ordering::Relaxed);
        let most = if left > 0 { OUTSTANDING } else { 1 };
        if wants_more && under_way.len() < most {
            if left == 0 {
                tokio::time::sleep(PACE).await;
            }
            let (client, ops) = (client.clone(), writer.next());
            under_way.spawn(async move { ask(&client, number, ops).await });
            left = left.saturating_sub(1);
            continue;
        }
        match under_way.join_next().await {
            Some(ended) => match ended.expect("a request's task is never cancelled") {
                Ok(entry) => {
                    entries.push(entry);
                    bar.inc(1);
                }
                Err(failed) => return (entries, Some(failed)),
            },
            None => return (entries, None),
        }
    }
}

/// Draws one client's requests; the same for the same number.
pub(super) struct Writer {
    client: usize,
    state: u64,
}

impl Writer {
    /// Of the client with this number.
    pub(super) fn new(client: usize) -> Self {
        Self { client, state: client as u64 }
    }

    /// The next request: mostly one operation, sometimes a few that belong together.
    pub(super) fn next(&mut self) -> Vec<Op> {
        let operations = if self.below(10) == 0 { 3 } else { 1 };
        (0..operations).map(|_| self.op()).collect()
    }

    fn op(&mut self) -> Op {
        match self.below(100) {
            0..35 => Op::Put(self.key(), self.value()),
            35..60 => Op::Get(self.key()),
            60..67 => Op::Delete(self.key()),
            67..80 => {
                let old = (self.below(4) > 0).then(|| self.value());
                Op::Cas(self.key(), old, self.value())
            }
            80..90 => Op::Incr(format!("shared/count-{}", self.below(2)), 1),
            // Fails where the value is a word.
            90..92 => Op::Incr(self.key(), -1),
            _ => {
                let prefix = if self.below(2) == 0 { "shared/".to_owned() } else { self.own() };
                let limit = 1 + u32::try_from(self.below(8)).expect("it is below 8");
                Op::Scan(prefix, limit)
            }
        }
    }

    // Half of the keys are the client's own, half belong to all: there the order decides.
    fn key(&mut self) -> String {
        match self.below(2) {
            0 => format!("{}{}", self.own(), self.below(8)),
            _ => format!("shared/{}", self.below(6)),
        }
    }

    fn own(&self) -> String {
        format!("client-{}/", self.client + 1)
    }

    // Few, so that comparing with one that was drawn succeeds at times.
    fn value(&mut self) -> String {
        let words = ["red", "green", "blue", "7"];
        words[usize::try_from(self.below(4)).expect("it is below 4")].to_owned()
    }

    // splitmix64: even enough for choosing operations.
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
