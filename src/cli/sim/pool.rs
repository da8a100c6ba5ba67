//! Runs spread over threads. Each is a function of its case alone, so how many threads there are
//! changes nothing but the time that it takes.

use super::play::Broken;
use super::{Case, Coverage};
use crate::simulator::Report;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a long job says how far it is.
const SAYS: Duration = Duration::from_secs(10);

/// How much is to be run.
pub(super) struct Pool {
    /// At the same time.
    pub(super) threads: usize,
    /// In all, at most.
    pub(super) count: u64,
    /// For how long at most.
    pub(super) time: Option<Duration>,
    /// Whether a failure does not end it.
    pub(super) keep_going: bool,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Covered {
    /// Sums over the runs that broke nothing.
    pub(super) coverage: Coverage,
    /// The others, in the order of their numbers.
    pub(super) broken: Vec<(Case, Broken)>,
}

/// What threads share.
struct Shared {
    next: AtomicU64,
    /// The lowest number that failed: none above is begun.
    stop: AtomicU64,
    broken: Mutex<Vec<(u64, Case, Broken)>>,
    progress: Mutex<Progress>,
}

struct Progress {
    began: Instant,
    said: Instant,
    runs: u64,
    simulated: Duration,
    failures: u64,
}

impl Pool {
    /// Runs case after case. `tell` hears of each failure at once.
    pub(super) fn run(
        &self,
        case: &(dyn Fn(u64) -> Case + Sync),
        once: &(dyn Fn(&Case) -> Result<Report, Broken> + Sync),
        tell: &(dyn Fn(&Case, &Broken) + Sync),
    ) -> Covered {
        let began = Instant::now();
        let (runs, simulated, failures) = (0, Duration::ZERO, 0);
        let shared = Shared {
            next: AtomicU64::new(0),
            stop: AtomicU64::new(u64::MAX),
            broken: Mutex::new(Vec::new()),
            progress: Mutex::new(Progress { began, said: began, runs, simulated, failures }),
        };
        let work = || self.work(&shared, case, once, tell);
        let mut out = Covered::default();
        if self.threads == 1 {
            out.coverage = work();
        } else {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(work)).collect();
                for thread in threads {
                    out.coverage.join(&thread.join().expect("panics in runs are caught"));
                }
            });
        }
        let mut broken = shared.broken.into_inner().expect("no thread panics with it");
        broken.sort_unstable_by_key(|(number, ..)| *number);
        if !self.keep_going {
            broken.truncate(1);
        }
        out.broken = broken.into_iter().map(|(_, case, broken)| (case, broken)).collect();
        out
    }

    fn work(
        &self,
        shared: &Shared,
        case: &(dyn Fn(u64) -> Case + Sync),
        once: &(dyn Fn(&Case) -> Result<Report, Broken> + Sync),
        tell: &(dyn Fn(&Case, &Broken) + Sync),
    ) -> Coverage {
        let mut coverage = Coverage::default();
        let (began, cpu) = (Instant::now(), cpu_time());
        loop {
            let number = shared.next.fetch_add(1, Ordering::SeqCst);
            let over = self.time.is_some_and(|time| began.elapsed() >= time);
            if over || number >= self.count || number > shared.stop.load(Ordering::SeqCst) {
                break;
            }
            let case = case(number);
            let simulated = match once(&case) {
                Ok(report) => {
                    coverage.add(&report);
                    Ok(report.simulated)
                }
                Err(broken) => {
                    tell(&case, &broken);
                    if !self.keep_going {
                        shared.stop.fetch_min(number, Ordering::SeqCst);
                    }
                    let mut all = shared.broken.lock().expect("no thread panics with it");
                    all.push((number, case, broken));
                    Err(())
                }
            };
            shared.progress.lock().expect("no thread panics with it").on_run(simulated);
        }
        coverage.cpu = match (cpu, cpu_time()) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => began.elapsed(),
        };
        coverage
    }
}

impl Progress {
    fn on_run(&mut self, simulated: Result<Duration, ()>) {
        self.runs += 1;
        self.failures += u64::from(simulated.is_err());
        self.simulated += simulated.unwrap_or_default();
        if self.said.elapsed() >= SAYS {
            self.said = Instant::now();
            let hours = self.simulated.as_secs_f64() / 3600.0;
            let Progress { runs, failures, .. } = self;
            let took = self.began.elapsed().as_secs();
            eprintln!("{took} s: {runs} runs, {hours:.2} simulated hours, {failures} failures");
        }
    }
}

/// The processor time of this thread, where the system tells it.
pub(super) fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
