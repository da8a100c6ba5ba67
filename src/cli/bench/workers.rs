//! The sessions under load: `outstanding` workers on each, each with one request at a time.

use super::load::Load;
use super::schedule::Schedule;
use crate::client::{CallError, Client};
use crate::service::kv;
use bytes::Bytes;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Histograms count in so many nanoseconds.
pub(super) const UNIT: Duration = Duration::from_nanos(100);
/// Longer times are taken as this.
const LONGEST: Duration = Duration::from_secs(3600);

/// What was measured so far.
pub(super) struct Tally {
    // Requests that are due, or in a closed loop sent, from here on are measured ...
    from: Instant,
    // ... until here.
    until: Instant,
    /// Requests answered well inside of the window, whenever they were sent.
    pub(super) answered: u64,
    /// Requests answered well since the workers began.
    pub(super) answers: u64,
    /// Time to a good answer of requests of the window, whenever it came.
    pub(super) latency: Histogram<u64>,
    /// The same for each second of the window, by when the request was sent or due.
    pub(super) seconds: Vec<Histogram<u64>>,
    /// How long after it was due a request of the window was sent; open loop only.
    pub(super) late: Histogram<u64>,
    /// Requests that failed, those of the warm-up included, by kind.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// What the first failure was.
    pub(super) first_error: Option<String>,
    // The next request of the open loop.
    next: u64,
    // The open loop's requests from this one on are not sent any more.
    last: u64,
    // Closed loop: no more is sent.
    stopped: bool,
}

/// What all workers share.
#[derive(Clone)]
pub(super) struct Shared {
    tally: Arc<Mutex<Tally>>,
    load: Arc<Mutex<Load>>,
}

/// An open loop: what is due when, and the permits of its pacer.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) schedule: Schedule,
    pub(super) zero: Instant,
    pub(super) permits: Arc<Semaphore>,
}

impl Shared {
    /// Measures requests from `from` until `until`.
    pub(super) fn new(load: Load, from: Instant, until: Instant) -> Self {
        let tally = Tally {
            from,
            until,
            answered: 0,
            answers: 0,
            latency: histogram(3),
            seconds: Vec::new(),
            late: histogram(3),
            errors: BTreeMap::new(),
            first_error: None,
            next: 0,
            last: u64::MAX,
            stopped: false,
        };
        Self { tally: Arc::new(Mutex::new(tally)), load: Arc::new(Mutex::new(load)) }
    }

    /// The present tally; no worker goes on while it is held.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("no worker panics while it holds the tally")
    }

    /// Starts the workers of all clients.
    pub(super) fn start(
        &self,
        clients: &[Client],
        outstanding: usize,
        open: Option<&Open>,
    ) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        // Clients in turn: the first requests of an open loop reach all of them.
        for client in (0..outstanding).flat_map(|_| clients) {
            let (shared, client) = (self.clone(), client.clone());
            match open.cloned() {
                None => workers.spawn(async move { shared.closed_loop(client).await }),
                Some(open) => workers.spawn(async move { shared.open_loop(client, open).await }),
            };
        }
        workers
    }

    /// Nothing more is sent; the window ends now if it has not yet. Gives the requests of the
    /// window that were due and were not sent, zero for a closed loop.
    pub(super) fn stop(&self, now: Instant, open: Option<&Open>) -> u64 {
        let mut tally = self.tally();
        tally.stopped = true;
        tally.until = tally.until.min(now);
        let Some(open) = open else { return 0 };
        let due = |at: Instant| open.schedule.due_before(at.saturating_duration_since(open.zero));
        let unsent = due(tally.until).saturating_sub(tally.next.max(due(tally.from)));
        tally.last = tally.next;
        // Those who wait for a permit see that there is nothing to send.
        open.permits.close();
        unsent
    }

    async fn closed_loop(&self, client: Client) {
        while !self.tally().stopped {
            let sent = Instant::now();
            self.request(&client, sent).await;
        }
    }

    async fn open_loop(&self, client: Client, open: Open) {
        while let Ok(permit) = open.permits.acquire().await {
            permit.forget();
            let due = {
                let mut tally = self.tally();
                if tally.next >= tally.last {
                    return;
                }
                let due = open.zero + open.schedule.time_of(tally.next);
                tally.next += 1;
                tally.sent_late(due);
                due
            };
            self.request(&client, due).await;
        }
    }

    // Latency counts from `begun`.
    async fn request(&self, client: &Client, begun: Instant) {
        let commands = {
            let mut load = self.load.lock().expect("making a command never panics");
            load.next_request()
        };
        let answer = client.call(commands).await;
        let now = Instant::now();
        let mut tally = self.tally();
        match answer.map(|a| failed_output(&a.outputs)) {
            Ok(None) => tally.good(begun, now),
            Ok(Some(why)) => tally.failed("service_error", || why),
            Err(error) => tally.failed(kind(&error), || describe(&error)),
        }
    }
}

impl Tally {
    fn good(&mut self, begun: Instant, now: Instant) {
        self.answers += 1;
        if self.from <= now && now < self.until {
            self.answered += 1;
        }
        if self.from <= begun && begun < self.until {
            let took = units(now.saturating_duration_since(begun));
            self.latency.saturating_record(took);
            self.second_of(begun).saturating_record(took);
        }
    }

    // Coarser than the whole: there may be thousands.
    fn second_of(&mut self, begun: Instant) -> &mut Histogram<u64> {
        let second = begun.saturating_duration_since(self.from).as_secs();
        let second = usize::try_from(second).unwrap_or(usize::MAX);
        while self.seconds.len() <= second {
            self.seconds.push(histogram(2));
        }
        &mut self.seconds[second]
    }

    fn sent_late(&mut self, due: Instant) {
        if self.from <= due && due < self.until {
            self.late.saturating_record(units(due.elapsed()));
        }
    }

    fn failed(&mut self, kind: &'static str, why: impl FnOnce() -> String) {
        *self.errors.entry(kind).or_default() += 1;
        self.first_error.get_or_insert_with(why);
    }
}

/// Of times up to the longest, with so many digits.
fn histogram(digits: u8) -> Histogram<u64> {
    let longest = LONGEST.as_nanos() / UNIT.as_nanos();
    Histogram::new_with_max(longest as u64, digits).expect("the bounds are sound")
}

fn units(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / UNIT.as_nanos()).unwrap_or(u64::MAX)
}

// A missing key is an answer as good as any; an error of the service is not.
fn failed_output(outputs: &[Bytes]) -> Option<String> {
    outputs.iter().find_map(|bytes| match kv::Output::parse(bytes) {
        Ok(kv::Output::Error(why)) => Some(format!("the service answers: {why}")),
        Ok(_) => None,
        Err(error) => Some(format!("no answer of the kv service: {error}")),
    })
}

fn kind(error: &CallError) -> &'static str {
    match error {
        CallError::Refused { .. } => "refused",
        CallError::NotTaken { .. } => "not_taken",
        CallError::NoMajority { explanation } if explanation.chain.is_some() => "no_answer",
        CallError::NoMajority { .. } => "no_majority",
        CallError::SessionLost { .. } => "session_lost",
        CallError::Unreadable { .. } => "unreadable",
        CallError::Closed { .. } => "closed",
        CallError::Withdrawn { .. } => "withdrawn",
        CallError::Unacceptable(_) => "unacceptable",
    }
}

/// An error with who said what.
pub(super) fn describe(error: &CallError) -> String {
    match error.explanation().filter(|e| !e.ballots.is_empty()) {
        Some(explanation) => {
            format!("{error}\n  {}", explanation.to_string().replace('\n', "\n  "))
        }
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn shared(from: Instant) -> Shared {
        let load = Load::new("put=1".parse().unwrap(), 1, 0, 1, 1);
        Shared::new(load, from, from + 100 * MS)
    }

    #[test]
    fn speed_counts_answers_and_latency_requests_of_the_window() {
        let from = Instant::now() + 1000 * MS;
        let shared = shared(from);
        let mut tally = shared.tally();
        // Sent in the warm-up and answered in it, or in the window.
        tally.good(from - 20 * MS, from - MS);
        tally.good(from - 20 * MS, from);
        assert_eq!((tally.answered, tally.latency.len()), (1, 0));
        tally.good(from, from + 5 * MS);
        assert_eq!((tally.answered, tally.latency.len()), (2, 1));
        // Sent in the window, answered after it: slow answers are not lost.
        tally.good(from + 99 * MS, from + 600 * MS);
        assert_eq!((tally.answered, tally.latency.len()), (2, 2));
        assert!(tally.latency.max() >= 5_010_000 && tally.latency.min() <= 50_000);
        assert_eq!(tally.seconds.iter().map(|s| s.len()).collect::<Vec<_>>(), [2]);
        assert!(tally.seconds[0].max() >= 5_010_000);
    }

    #[test]
    fn an_open_loop_counts_what_it_did_not_send_in_the_window_only() {
        let zero = Instant::now();
        let permits = Arc::new(Semaphore::new(0));
        let open = Open { schedule: Schedule::new(1000), zero, permits: permits.clone() };
        // 50 are due in the warm-up, 100 in the window.
        let shared = shared(zero + 50 * MS);
        shared.tally().next = 20;
        assert_eq!(shared.stop(zero + 150 * MS, Some(&open)), 100);
        shared.tally().next = 149;
        assert_eq!(shared.stop(zero + 150 * MS, Some(&open)), 1);
        shared.tally().next = 150;
        assert_eq!(shared.stop(zero + 150 * MS, Some(&open)), 0);
        let tally = shared.tally();
        assert!(permits.is_closed() && tally.next == tally.last);
    }

    #[test]
    fn errors_are_counted_by_kind_and_the_first_is_kept() {
        let shared = shared(Instant::now());
        let mut tally = shared.tally();
        tally.failed("refused", || "one".to_owned());
        tally.failed("refused", || "two".to_owned());
        tally.failed("closed", || "three".to_owned());
        assert_eq!(tally.errors, BTreeMap::from([("closed", 1), ("refused", 2)]));
        assert_eq!(tally.first_error.as_deref(), Some("one"));
        let error = |text: &str| Bytes::from(kv::Output::Error(text.to_owned()).encode());
        let outputs = [Bytes::from(kv::Output::Missing.encode()), error("full")];
        assert!(failed_output(&outputs).unwrap().contains("full"));
        assert_eq!(failed_output(&outputs[..1]), None);
    }
}
