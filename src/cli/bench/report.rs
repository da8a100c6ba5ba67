//! The result.

use super::cpu::{Cpu, Source};
use super::replicas::Progress;
use super::workers::{Tally, UNIT};
use super::{Snapshot, sum};
use crate::client::Stats;
use crate::config::FaultModel;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Settings {
    pub(super) fault_model: FaultModel,
    pub(super) clients: u32,
    pub(super) outstanding: u32,
    pub(super) value_bytes: u32,
    pub(super) mix: String,
    pub(super) keys: u64,
    pub(super) commands_per_request: u32,
    pub(super) rate: Option<u64>,
    pub(super) warmup_seconds: u64,
    pub(super) seed: u64,
}

/// What came out. The names of the fields are those of the JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    settings: Settings,
    /// How long was measured.
    seconds: f64,
    /// Answers within that time.
    ops: u64,
    ops_per_second: f64,
    commands_per_second: f64,
    latency_us: Ranks,
    /// The same for each second.
    latency_us_by_second: Vec<Ranks>,
    /// How long after it was due a request was sent; open loop only.
    sent_late_us: Option<Ranks>,
    /// Requests that were due and not sent; open loop only.
    not_sent: Option<u64>,
    pub(super) errors: Errors,
    replicas: Vec<Replica>,
    client_cpu_us_per_op: Option<f64>,
    /// The client and all replicas; `None` if one of them is not known.
    cpu_us_per_op: Option<f64>,
    /// Where processor times come from, and how fine they are.
    cpu_clock: Option<&'static str>,
}

/// Failed requests, those of the warm-up included.
#[derive(Debug, Serialize)]
pub(super) struct Errors {
    pub(super) total: u64,
    kinds: BTreeMap<&'static str, u64>,
    first: Option<String>,
}

/// Times in microseconds; all `None` if nothing was counted.
#[derive(Debug, PartialEq, Serialize)]
struct Ranks {
    count: u64,
    mean: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p99_9: Option<f64>,
    max: Option<f64>,
}

/// One replica's part.
#[derive(Debug, Serialize)]
struct Replica {
    replica: usize,
    /// Whether the links of all sessions to it are up at the end.
    up: bool,
    replies: u64,
    /// Requests in which its vote differed from what was accepted; `None` in a fail-stop chain.
    dissent: Option<u64>,
    /// Requests that it refused in a fail-stop chain; `None` in a group that votes.
    refusals: Option<u64>,
    cpu_us_per_op: Option<f64>,
    /// Of a group that votes only, as the next one.
    rounds_per_second: Option<f64>,
    requests_per_round: Option<f64>,
    /// What the counters of its status gained.
    counters: BTreeMap<String, u64>,
}

impl Report {
    pub(super) fn new(
        settings: Settings,
        measured: Duration,
        not_sent: Option<u64>,
        tally: &Tally,
        (before, after): (&Snapshot, &Snapshot),
        stats: &[Stats],
    ) -> Self {
        let seconds = measured.as_secs_f64();
        let ops_per_second = if seconds > 0.0 { tally.answered as f64 / seconds } else { 0.0 };
        let answers = after.answers.saturating_sub(before.answers);
        let replica = |i| Replica::new(i, answers, (before, after), stats);
        let replicas: Vec<Replica> = (0..before.cpu.len()).map(replica).collect();
        let replicas = match settings.fault_model {
            FaultModel::Byzantine => replicas,
            FaultModel::FailStop => replicas.into_iter().map(|r| r.of_chain(stats)).collect(),
        };
        let client = per_op(before.client, after.client, answers);
        let parts = replicas.iter().map(|r| r.cpu_us_per_op).chain([client]);
        let sources: Vec<Source> =
            after.cpu.iter().chain([&after.client]).flatten().map(|c| c.source).collect();
        // The coarsest says how fine the sum is.
        let source = sources.iter().find(|s| **s == Source::Stat).or(sources.first());
        Self {
            seconds,
            ops: tally.answered,
            ops_per_second,
            commands_per_second: ops_per_second * f64::from(settings.commands_per_request),
            latency_us: Ranks::of(&tally.latency),
            latency_us_by_second: tally.seconds.iter().map(Ranks::of).collect(),
            sent_late_us: settings.rate.map(|_| Ranks::of(&tally.late)),
            not_sent,
            errors: Errors {
                total: tally.errors.values().sum(),
                kinds: tally.errors.clone(),
                first: tally.first_error.clone(),
            },
            client_cpu_us_per_op: client,
            cpu_us_per_op: parts.sum(),
            cpu_clock: source.map(|s| s.describe()),
            replicas,
            settings,
        }
    }
}

impl Replica {
    fn new(
        index: usize,
        answers: u64,
        (before, after): (&Snapshot, &Snapshot),
        stats: &[Stats],
    ) -> Self {
        let progress = Progress::between(&before.replicas[index], &after.replicas[index]);
        let is_up = |s: &Stats| s.replicas.get(index).is_some_and(|r| r.up);
        Self {
            replica: index + 1,
            up: stats.iter().all(is_up),
            replies: sum(stats, index, |r| r.replies),
            dissent: Some(sum(stats, index, |r| r.dissent)),
            refusals: None,
            cpu_us_per_op: per_op(before.cpu[index], after.cpu[index], answers),
            rounds_per_second: progress.as_ref().map(|p| p.rounds_per_second),
            requests_per_round: progress.as_ref().and_then(|p| p.requests_per_round),
            counters: progress.map(|p| p.counters).unwrap_or_default(),
        }
    }

    // Nobody votes in a chain, and the rounds are those of its master.
    fn of_chain(self, stats: &[Stats]) -> Self {
        let refusals = Some(sum(stats, self.replica - 1, |r| r.refusals));
        let (rounds_per_second, requests_per_round) = (None, None);
        Self { dissent: None, refusals, rounds_per_second, requests_per_round, ..self }
    }
}

impl Ranks {
    fn of(histogram: &Histogram<u64>) -> Self {
        let micros = |units: f64| units * UNIT.as_nanos() as f64 / 1000.0;
        let some = |units: f64| (!histogram.is_empty()).then(|| micros(units));
        let rank = |q: f64| some(histogram.value_at_quantile(q) as f64);
        Self {
            count: histogram.len(),
            mean: some(histogram.mean()),
            p50: rank(0.5),
            p90: rank(0.9),
            p99: rank(0.99),
            p99_9: rank(0.999),
            max: some(histogram.max() as f64),
        }
    }
}

fn per_op(before: Option<Cpu>, after: Option<Cpu>, ops: u64) -> Option<f64> {
    let used = after?.since(before?)?;
    (ops > 0).then(|| used.as_secs_f64() * 1e6 / ops as f64)
}

impl fmt::Display for Report {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.settings;
        let plural = if s.clients == 1 { "" } else { "s" };
        write!(f, "{} session{plural}, {} outstanding each, ", s.clients, s.outstanding)?;
        match s.rate {
            None => writeln!(f, "closed loop")?,
            Some(rate) => writeln!(f, "open loop of {rate} requests/s")?,
        }
        write!(f, "{} over {} keys, values of {} bytes", s.mix, s.keys, s.value_bytes)?;
        match s.commands_per_request {
            1 => writeln!(f)?,
            m => writeln!(f, ", {m} commands a request")?,
        }
        let (seconds, warmup) = (self.seconds, s.warmup_seconds);
        writeln!(f, "{seconds:.1} s measured after {warmup} s of warm-up\n")?;
        write!(f, "speed      {:.1} ops/s", self.ops_per_second)?;
        if s.commands_per_request > 1 {
            write!(f, ", {:.1} commands/s", self.commands_per_second)?;
        }
        writeln!(f, " ({} ops)", self.ops)?;
        writeln!(f, "latency    {}", self.latency_us)?;
        if let (Some(late), Some(not_sent)) = (&self.sent_late_us, self.not_sent) {
            writeln!(f, "sent late  {late}\nnot sent   {not_sent}")?;
        }
        self.write_errors(f)?;
        self.write_cpu(f)?;
        self.replicas.iter().try_for_each(|replica| write!(f, "{replica}"))
    }
}

impl Report {
    fn write_errors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "errors     {}", self.errors.total)?;
        for (i, (kind, n)) in self.errors.kinds.iter().enumerate() {
            write!(f, "{}{kind} {n}", if i == 0 { ": " } else { ", " })?;
        }
        writeln!(f)?;
        self.errors.first.iter().try_for_each(|e| writeln!(f, "first error: {e}"))
    }

    fn write_cpu(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "processor  client {}", micros_per_op(self.client_cpu_us_per_op))?;
        for replica in &self.replicas {
            write!(f, ", R{} {}", replica.replica, micros_per_op(replica.cpu_us_per_op))?;
        }
        if let Some(sum) = self.cpu_us_per_op {
            write!(f, ", together {sum:.1}")?;
        }
        match self.cpu_clock {
            Some(clock) => writeln!(f, " µs/op (by {clock})"),
            None => writeln!(f),
        }
    }
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R{}         ", self.replica)?;
        match (self.rounds_per_second, self.requests_per_round) {
            (Some(rounds), Some(requests)) => {
                write!(f, "{rounds:.1} rounds/s, {requests:.1} requests a round, ")?;
            }
            (Some(_), None) => write!(f, "no rounds, ")?,
            (None, _) if !self.counters.is_empty() => {}
            (None, _) => write!(f, "its admin address does not answer, ")?,
        }
        write!(f, "{} replies", self.replies)?;
        self.dissent.iter().try_for_each(|n| write!(f, ", dissent {n}"))?;
        self.refusals.iter().try_for_each(|n| write!(f, ", {n} refusals"))?;
        writeln!(f, "{}", if self.up { "" } else { "; NOT ALL LINKS UP" })
    }
}

impl fmt::Display for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranks = [
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99.9", self.p99_9),
            ("max", self.max),
        ];
        for (i, (name, value)) in ranks.into_iter().enumerate() {
            let gap = if i == 0 { "" } else { "  " };
            write!(f, "{gap}{name} {}", value.map_or("-".to_owned(), show_micros))?;
        }
        Ok(())
    }
}

fn micros_per_op(cpu: Option<f64>) -> String {
    cpu.map_or("not known".to_owned(), |us| format!("{us:.1}"))
}

fn show_micros(us: f64) -> String {
    match us {
        ..1_000.0 => format!("{us:.0} µs"),
        ..1_000_000.0 => format!("{:.2} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_in_microseconds_within_a_thousandth() {
        let mut histogram = Histogram::new_with_max(36_000_000_000, 3).unwrap();
        // 0.1 ms to 1 s in steps of 0.1 ms, counted in units of 100 ns.
        (1..=10_000u64).for_each(|i| histogram.record(i * 1000).unwrap());
        let ranks = Ranks::of(&histogram);
        let near = |found: Option<f64>, due: f64| (found.unwrap() - due).abs() <= due / 1000.0;
        assert_eq!(ranks.count, 10_000);
        assert!(near(ranks.p50, 500_000.0) && near(ranks.p90, 900_000.0), "{ranks:?}");
        assert!(near(ranks.p99, 990_000.0) && near(ranks.p99_9, 999_000.0), "{ranks:?}");
        assert!(near(ranks.max, 1_000_000.0) && near(ranks.mean, 500_050.0), "{ranks:?}");
        let text = ranks.to_string();
        assert!(text.starts_with("p50 500.") && text.contains(" ms  p99.9 999."), "{text}");
    }

    #[test]
    fn nothing_counted_is_no_time_at_all() {
        let ranks = Ranks::of(&Histogram::new_with_max(1000, 3).unwrap());
        assert_eq!((ranks.count, ranks.p50, ranks.max, ranks.mean), (0, None, None, None));
        assert_eq!(ranks.to_string(), "p50 -  p90 -  p99 -  p99.9 -  max -");
    }

    #[test]
    fn times_have_the_unit_that_suits() {
        assert_eq!(show_micros(870.4), "870 µs");
        assert_eq!(show_micros(12_345.0), "12.35 ms");
        assert_eq!(show_micros(2_500_000.0), "2.50 s");
    }

    #[test]
    fn processor_time_is_shared_by_the_ops_of_the_same_time() {
        let cpu = |ms| Some(Cpu { used: Duration::from_millis(ms), source: Source::Schedstat });
        assert_eq!(per_op(cpu(100), cpu(350), 1000), Some(250.0));
        assert_eq!(per_op(cpu(100), cpu(350), 0), None);
        assert_eq!(per_op(None, cpu(350), 10), None);
    }
}
