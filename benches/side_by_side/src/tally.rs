//! What is counted under load, by the rules of `quorate bench`: speed counts the answers within the
//! measured time; latency counts the requests sent within it, however late they are answered.

use crate::cpu;
use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Histograms count in so many nanoseconds.
const UNIT: u128 = 100;
/// Longer times are taken as this.
const LONGEST: Duration = Duration::from_secs(3600);

/// What was measured so far.
pub struct Tally {
    from: Instant,
    until: Instant,
    /// Requests answered well inside of the window, whenever they were sent.
    answered: u64,
    /// Requests answered well since the beginning.
    answers: u64,
    latency: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
    stopped: bool,
}

/// What all workers of this one thread share.
#[derive(Clone)]
pub struct Shared(Rc<RefCell<Tally>>);

impl Shared {
    /// Measures from `from` until `until`.
    pub fn new(from: Instant, until: Instant) -> Self {
        let longest = (LONGEST.as_nanos() / UNIT) as u64;
        Self(Rc::new(RefCell::new(Tally {
            from,
            until,
            answered: 0,
            answers: 0,
            latency: Histogram::new_with_max(longest, 3).expect("the bounds are sound"),
            errors: 0,
            first_error: None,
            stopped: false,
        })))
    }

    /// The present tally, which nobody may hold over an `await`.
    pub fn tally(&self) -> RefMut<'_, Tally> {
        self.0.borrow_mut()
    }

    /// Waits for the end of the measured time, stops the workers, and reports with the processor
    /// time of the servers with these numbers. `commands` are in one request.
    ///
    /// # Errors
    /// If a server is gone or the kernel does not tell its time.
    pub async fn watch(&self, servers: &[u32], commands: u32) -> Result<Report> {
        let (from, until) = {
            let tally = self.tally();
            (tally.from, tally.until)
        };
        tokio::time::sleep_until(from.into()).await;
        let before = Reading::take(self, servers)?;
        tokio::time::sleep_until(until.into()).await;
        self.tally().stopped = true;
        let after = Reading::take(self, servers)?;
        Ok(Report { before, after, seconds: (until - from).as_secs_f64(), commands })
    }
}

impl Tally {
    /// Whether no more is to be sent.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// A good answer to a request that was begun at `begun`.
    pub fn good(&mut self, begun: Instant, now: Instant) {
        self.answers += 1;
        if self.from <= now && now < self.until {
            self.answered += 1;
        }
        if self.from <= begun && begun < self.until {
            let took = now.saturating_duration_since(begun).as_nanos() / UNIT;
            self.latency.saturating_record(took as u64);
        }
    }

    /// A request that failed; the first reason is kept.
    pub fn failed(&mut self, why: impl FnOnce() -> String) {
        self.errors += 1;
        self.first_error.get_or_insert_with(why);
    }
}

/// Answers and processor times at one time.
struct Reading {
    answers: u64,
    client: Duration,
    servers: Vec<Duration>,
}

impl Reading {
    fn take(shared: &Shared, servers: &[u32]) -> Result<Self> {
        let answers = shared.tally().answers;
        let client = cpu::used_by(std::process::id())?;
        let servers = servers.iter().map(|pid| cpu::used_by(*pid)).collect::<Result<_>>()?;
        Ok(Self { answers, client, servers })
    }
}

/// The measured time between its two readings.
pub struct Report {
    before: Reading,
    after: Reading,
    seconds: f64,
    commands: u32,
}

impl Report {
    /// What came out, in the names of the JSON of `quorate bench`. To be asked for when the last
    /// answers are there.
    pub fn to_json(&self, shared: &Shared) -> Value {
        let tally = shared.tally();
        let answers = self.after.answers - self.before.answers;
        let per_op = |before: Duration, after: Duration| {
            let used = after.saturating_sub(before).as_secs_f64();
            (answers > 0).then(|| used * 1e6 / answers as f64)
        };
        let client = per_op(self.before.client, self.after.client);
        let pairs = self.before.servers.iter().zip(&self.after.servers);
        let servers: Vec<_> = pairs.map(|(before, after)| per_op(*before, *after)).collect();
        let speed = tally.answered as f64 / self.seconds;
        let micros =
            |units: f64| (!tally.latency.is_empty()).then_some(units * UNIT as f64 / 1000.0);
        let rank = |q| micros(tally.latency.value_at_quantile(q) as f64);
        json!({
            "seconds": self.seconds,
            "ops": tally.answered,
            "ops_per_second": speed,
            "commands_per_second": speed * f64::from(self.commands),
            "latency_us": {
                "count": tally.latency.len(),
                "mean": micros(tally.latency.mean()),
                "p50": rank(0.5),
                "p90": rank(0.9),
                "p99": rank(0.99),
                "p99_9": rank(0.999),
                "max": micros(tally.latency.max() as f64),
            },
            "errors": { "total": tally.errors, "first": tally.first_error },
            "client_cpu_us_per_op": client,
            "server_cpu_us_per_op": servers,
            "cpu_us_per_op": servers.iter().copied().chain([client]).sum::<Option<f64>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn reading(answers: u64, client: u64, servers: &[u64]) -> Reading {
        let ms = Duration::from_millis;
        Reading { answers, client: ms(client), servers: servers.iter().map(|n| ms(*n)).collect() }
    }

    #[test]
    fn speed_counts_answers_and_latency_requests_of_the_window() {
        let from = Instant::now() + 1000 * MS;
        let shared = Shared::new(from, from + 100 * MS);
        let mut tally = shared.tally();
        // Sent in the warm-up and answered in it, or in the window.
        tally.good(from - 20 * MS, from - MS);
        tally.good(from - 20 * MS, from);
        assert_eq!((tally.answers, tally.answered, tally.latency.len()), (2, 1, 0));
        // Sent in the window, answered after it: slow answers are not lost.
        tally.good(from + 99 * MS, from + 600 * MS);
        assert_eq!((tally.answers, tally.answered, tally.latency.len()), (3, 1, 1));
        assert!((5_005_000..=5_015_000).contains(&tally.latency.max()));
    }

    #[test]
    fn a_report_shares_the_time_of_all_processes_among_the_answers() {
        let from = Instant::now();
        let shared = Shared::new(from, from + 2000 * MS);
        shared.tally().good(from + MS, from + 3 * MS);
        shared.tally().failed(|| "one".to_owned());
        shared.tally().failed(|| "two".to_owned());
        let before = reading(100, 10, &[20, 0]);
        let after = reading(1100, 60, &[120, 250]);
        let json = Report { before, after, seconds: 2.0, commands: 16 }.to_json(&shared);
        assert_eq!(json["client_cpu_us_per_op"], 50.0);
        assert_eq!(json["server_cpu_us_per_op"], json!([100.0, 250.0]));
        assert_eq!(json["cpu_us_per_op"], 400.0);
        assert_eq!(
            (&json["ops_per_second"], &json["commands_per_second"]),
            (&0.5.into(), &8.0.into())
        );
        assert_eq!(json["errors"], json!({ "total": 2, "first": "one" }));
        let p50 = json["latency_us"]["p50"].as_f64().unwrap();
        assert!((1998.0..=2002.0).contains(&p50), "{p50}");
    }

    #[test]
    fn without_an_answer_there_is_no_latency_and_no_time_for_each() {
        let shared = Shared::new(Instant::now(), Instant::now());
        let (before, after) = (reading(5, 1, &[1]), reading(5, 2, &[2]));
        let json = Report { before, after, seconds: 1.0, commands: 1 }.to_json(&shared);
        assert!(json["cpu_us_per_op"].is_null() && json["latency_us"]["p50"].is_null());
    }
}
