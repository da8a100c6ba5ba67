//! How fast the group is while one of three lies, and after it is excluded.

use crate::cluster::{Cluster, Plan};
use crate::lab::Lab;
use crate::load::Load;
use crate::plot::{Axis, Plot, Series};
use crate::report::{Goal, Section, table};
use crate::stats::{Spread, figure, spread};
use std::cell::RefCell;
use std::time::Duration;

/// What is told, and whether members have a budget for being late.
const LIES: [(&str, bool); 6] = [
    ("equivocate", false),
    ("flood", false),
    ("slow-drip", false),
    ("slow-drip", true),
    ("slow-usual", true),
    ("flood", true),
];
const ALLOWED: &str = "[testing]\nallow_liars = true";
/// A usual wait is 6 ms then, in place of a patience of 510.
const BUDGET: &str = "[timers]\njoin_delay = \"1ms\"\nlag_delta = \"1ms\"\n\
                      lag_budget = \"300ms\"\n[testing]\nallow_liars = true";
/// Whoever lies: the last of three.
const LIAR: u8 = 3;
/// Seconds with three good replicas, from when the load has settled.
const BEFORE: f64 = 5.0;
const SETTLED: f64 = 2.0;
/// Seconds after the exclusion that are looked at.
const AFTER: f64 = 5.0;
/// How often the good replicas are asked.
const EVERY: Duration = Duration::from_millis(100);
/// How often they are asked after the load until they answer.
const PATIENCE: u32 = 10;
/// Seconds that are looked at where the liar is excluded sooner.
const LEAST: f64 = 1.0;

/// What the good replicas say at some time, in seconds since the load began.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    at: f64,
    /// Requests that all good replicas have executed, so that clients have an answer.
    executed: f64,
    /// Whether the liar is a member for one of them.
    member: bool,
    /// The most that one good replica has charged another one for being late, in milliseconds.
    charged: f64,
}

/// Rates of one run, in requests a second.
#[derive(Clone, Debug, Default)]
struct Rates {
    before: f64,
    during: f64,
    after: Option<f64>,
    /// How long the liar was a member.
    lied: f64,
    /// The most that a good replica was charged by another one, in milliseconds.
    charged: f64,
}

pub fn liars(lab: &Lab) -> anyhow::Result<Section> {
    let mut section = Section::new(
        "Three replicas, Δ = 100 ms, `durability = \"reply\"`, puts of 128 bytes, 4 × 64 \
         outstanding, one run each time: five seconds with three good replicas; then the third is \
         stopped and started again as a liar (`--lie`), joins the others, and lies as fast as it \
         can. Rates are of what both good replicas have executed, asked ten times a second. \
         *During* is from when it is a member again until it is excluded or the run ends, and a \
         second at least, the times between included in which it was out and came back; *after* \
         are the five seconds from its exclusion. *With a budget* are `join_delay = \"1ms\"`, \
         `lag_delta = \"1ms\"` and `lag_budget = \"300ms\"`: a usual wait is 6 ms then. The last \
         column is the most of the budget that one good replica had charged another.",
    );
    let (mut rows, mut plots) = (Vec::new(), Vec::new());
    for (lie, budget) in LIES {
        let name = if budget { format!("`{lie}`, with a budget") } else { format!("`{lie}`") };
        let mut all = Vec::new();
        for round in 0..lab.rounds {
            let samples = run(lab, lie, budget)?;
            if round == 0 {
                plots.push(by_second(&name.replace('`', ""), &samples));
            }
            match rates(&samples, lie_began(&samples)) {
                Some(rates) => all.push(rates),
                None => lab.remark(format!(
                    "the liar {name} never became a member in round {}",
                    round + 1
                )),
            }
        }
        let (row, goals) = of_one(&name, &all, budget);
        rows.push(row);
        section.goals.extend(goals);
    }
    let head = [
        "lie",
        "operations/s before",
        "during, % of it",
        "excluded (or the end of the run)",
        "after, % of it",
        "charged to a good one, ms",
    ];
    section.parts.push(table(&head, &rows));
    section.plots.push((
        "liars",
        Plot {
            title: "Throughput while a replica begins to lie (first run of each)".to_owned(),
            x: Axis::linear("seconds since the load began"),
            y: Axis::linear("operations a second"),
            series: plots,
        },
    ));
    Ok(section)
}

/// What the rounds with one lie came to.
fn of_one(name: &str, all: &[Rates], budget: bool) -> (Vec<String>, Vec<Goal>) {
    let during = Spread::of(all.iter().map(|r| 100.0 * r.during / r.before));
    let after = Spread::of(all.iter().filter_map(|r| Some(100.0 * r.after? / r.before)));
    let excluded = all.iter().filter(|r| r.after.is_some()).count();
    let lied = spread(Spread::of(all.iter().map(|r| r.lied)));
    let row = vec![
        name.to_owned(),
        spread(Spread::of(all.iter().map(|r| r.before))),
        spread(during),
        format!("{excluded} of {}, after {lied} s", all.len()),
        spread(after),
        match budget {
            true => spread(Spread::of(all.iter().map(|r| r.charged))),
            false => "–".to_owned(),
        },
    ];
    let share = |s: Option<Spread>| s.map_or(f64::NAN, |s| s.median);
    let what = format!("{name}: of the rate without liars, while it lies");
    let mut goals = vec![Goal::at_least(what, share(during), 50.0, "%")];
    if excluded > 0 {
        let what = format!("{name}: of the rate without liars, in 5 s after its exclusion");
        goals.push(Goal::at_least(what, share(after), 95.0, "%"));
    }
    (row, goals)
}

fn run(lab: &Lab, lie: &str, budget: bool) -> anyhow::Result<Vec<Sample>> {
    let more = if budget { BUDGET } else { ALLOWED };
    let plan = Plan { delta: "100ms", more, ..Plan::default() };
    let cluster = RefCell::new(Cluster::start(lab, &plan)?);
    let seconds = if lab.quick { 20 } else { 30 };
    let load = Load { warmup: 0, ..Load::new(4, 64) }.seconds(seconds);
    let running = load.start(lab, &cluster.borrow())?;
    let (mut samples, mut next, mut lies) = (Vec::new(), Duration::ZERO, false);
    running.finish(lab, &mut |at| {
        if at.as_secs_f64() >= SETTLED + BEFORE && !lies {
            lies = true;
            let mut cluster = cluster.borrow_mut();
            cluster.stop_replica(LIAR);
            cluster.start_replica(LIAR, Some(lie))?;
        }
        if at >= next {
            next = at + EVERY;
            samples.extend(sample(&cluster.borrow(), at.as_secs_f64()));
        }
        Ok(())
    })?;
    // Who is swamped does not answer while the load runs: then this is what it has executed by its
    // end at most.
    let end = f64::from(u32::try_from(seconds).unwrap_or(u32::MAX));
    samples.retain(|s: &Sample| s.at < end);
    let asked = (0..PATIENCE).find_map(|_| sample(&cluster.borrow(), end));
    match asked {
        Some(last) => samples.push(last),
        None => lab.remark(format!("with `{lie}` good replicas said nothing, even after the load")),
    }
    if (samples.len() as f64) < 0.5 * end / EVERY.as_secs_f64() {
        lab.remark(format!("with `{lie}` good replicas often did not answer when asked"));
    }
    Ok(samples)
}

fn sample(cluster: &Cluster, at: f64) -> Option<Sample> {
    let good: Option<Vec<_>> = (1..LIAR).map(|id| cluster.status(id)).collect();
    let good = good?;
    let executed = good.iter().filter_map(|s| s["executed"].as_f64()).fold(f64::INFINITY, f64::min);
    let has = |s: &serde_json::Value| {
        let members = s["members"].as_array();
        members.is_some_and(|m| m.iter().any(|id| *id == LIAR))
    };
    let places = good.iter().filter_map(|s| s["standings"].as_array()).flatten();
    let others = places.filter(|place| place["replica"] != LIAR);
    let charged = others.filter_map(|place| place["lag_ms"].as_f64()).fold(0.0, f64::max);
    executed.is_finite().then(|| Sample { at, executed, member: good.iter().any(has), charged })
}

/// When the liar was stopped to become one: it is no member from then on until it has joined.
fn lie_began(samples: &[Sample]) -> f64 {
    let out = samples.iter().find(|s| s.at >= SETTLED + BEFORE && !s.member);
    out.map_or(SETTLED + BEFORE, |s| s.at)
}

/// The rate between two times; `None` if there are no two samples between them.
fn rate(samples: &[Sample], from: f64, to: f64) -> Option<f64> {
    let mut within = samples.iter().filter(|s| (from..=to).contains(&s.at));
    let (first, last) = (within.next()?, within.next_back()?);
    (last.at > first.at).then(|| (last.executed - first.executed) / (last.at - first.at))
}

/// `None` if the liar never became a member.
fn rates(samples: &[Sample], began: f64) -> Option<Rates> {
    let before = rate(samples, SETTLED, SETTLED + BEFORE)?;
    let lying = samples.iter().filter(|s| s.at >= began);
    let joined = lying.clone().find(|s| s.member)?.at;
    let end = samples.last()?.at;
    // Once it is excluded for good.
    let last = lying.clone().rfind(|s| s.member)?.at;
    let excluded = samples.iter().find(|s| s.at > last).map(|s| s.at);
    let until = excluded.unwrap_or(end);
    let during = rate(samples, joined, until.max(joined + LEAST))?;
    let after = excluded.and_then(|at| rate(samples, at, at + AFTER));
    let charged = samples.iter().map(|s| s.charged).fold(0.0, f64::max);
    Some(Rates { before, during, after, lied: until - joined, charged })
}

fn by_second(lie: &str, samples: &[Sample]) -> Series {
    let end = samples.last().map_or(0.0, |s| s.at) as u32;
    let point = |second: u32| {
        let from = f64::from(second);
        Some((from + 0.5, rate(samples, from, from + 1.0)?))
    };
    Series::new(
        format!("{lie} (from {} s)", figure(SETTLED + BEFORE)),
        (0..end).filter_map(point).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1000 a second before, 200 while it lies from 9 to 11 s, 900 afterwards.
    fn samples(until: f64) -> Vec<Sample> {
        let mut executed = 0.0;
        let sample = |i: u32| {
            let at = f64::from(i) / 10.0;
            let lies = (9.0..11.0).contains(&at);
            executed += if lies {
                20.0
            } else if at < 9.0 {
                100.0
            } else {
                90.0
            };
            Sample { at, executed, member: at < 7.2 || lies, charged: f64::from(i % 20) }
        };
        (0..(until * 10.0) as u32).map(sample).collect()
    }

    #[test]
    fn rates_are_of_the_times_that_are_meant() {
        let samples = samples(20.0);
        let began = lie_began(&samples);
        assert!((7.15..7.35).contains(&began), "{began}");
        let rates = rates(&samples, began).unwrap();
        assert!((rates.before - 1000.0).abs() < 1.0, "{rates:?}");
        assert!((200.0..250.0).contains(&rates.during), "{rates:?}");
        assert!((rates.after.unwrap() - 900.0).abs() < 1.0, "{rates:?}");
        assert!((1.9..2.1).contains(&rates.lied), "{rates:?}");
        assert_eq!(rates.charged, 19.0);
    }

    #[test]
    fn who_is_not_excluded_lies_to_the_end() {
        let samples = samples(10.5);
        let rates = rates(&samples, lie_began(&samples)).unwrap();
        assert_eq!(rates.after, None);
        assert!((rates.during - 200.0).abs() < 1.0 && rates.lied > 1.3, "{rates:?}");
    }

    #[test]
    fn who_never_joins_has_no_rates() {
        let samples = samples(8.5);
        assert!(rates(&samples, lie_began(&samples)).is_none());
        assert!(rates(&[], 7.0).is_none());
    }
}
