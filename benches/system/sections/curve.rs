//! Open loops, and latency against throughput.

use crate::cluster::{Cluster, Plan};
use crate::lab::Lab;
use crate::load::{Load, Outcome};
use crate::plot::{Axis, Plot, Series};
use crate::report::{Case, Goal, Section, table, table_of};
use crate::stats::{Spread, spread};

/// Sessions of an open loop, and requests that each may have under way: all that replicas take of
/// one key.
const OPEN: (u32, u32) = (4, 1024);

fn open_at(rate: f64) -> Load {
    let rate = rate.round().max(1.0);
    Load::new(OPEN.0, OPEN.1).with(&format!("--rate {rate}"))
}

pub fn open(lab: &Lab) -> anyhow::Result<Section> {
    let mut cases = [Case::new("closed loop, 4 × 64"), Case::new("open loop, half of that")];
    for _ in 0..lab.rounds {
        let cluster = Cluster::start(lab, &Plan::default())?;
        let most = Load::new(4, 64).run(lab, &cluster)?;
        let half = open_at(most.rate() / 2.0).run(lab, &cluster)?;
        cases[0].outcomes.push(most);
        cases[1].outcomes.push(half);
    }
    let mut section = Section::new(
        "Three replicas, Δ = 1 s, `durability = \"reply\"`, puts of 128 bytes over 10,000 keys. In \
         each turn first as fast as they are answered, then an open loop at half of that rate, in \
         which latency counts from when a request was due.",
    );
    section.parts.push(table_of("loop", &cases));
    let share = |o: &Outcome| o.latency("p99") / o.latency("p50");
    let unsent = cases[1].outcomes.iter().filter_map(|o| o.number("/not_sent")).sum::<f64>();
    section.parts.push(format!(
        "p99 of the open loop is {} times p50; {unsent:.0} requests were due and not sent.",
        spread(cases[1].spread(share))
    ));
    section.goals.push(Goal::at_most(
        "p99 by p50, open loop at half",
        cases[1].median(share),
        10.0,
        "",
    ));
    Ok(section)
}

pub fn curve(lab: &Lab) -> anyhow::Result<Section> {
    // By how many are outstanding in all.
    let closed =
        [(1, 1), (1, 4), (1, 16), (4, 16), (4, 64), (4, 256)].map(|(c, w)| Load::new(c, w));
    let shares: Vec<u32> =
        if lab.quick { vec![10, 50, 90] } else { (1..=9).map(|s| 10 * s).collect() };
    let name = |load: &Load| (load.clients * load.outstanding).to_string();
    let mut closed_cases: Vec<Case> = closed.iter().map(|load| Case::new(name(load))).collect();
    let mut open_cases: Vec<Case> = shares.iter().map(|s| Case::new(format!("{s} %"))).collect();
    for _ in 0..lab.rounds {
        let cluster = Cluster::start(lab, &Plan::default())?;
        let mut most = 0f64;
        for (load, case) in closed.iter().zip(&mut closed_cases) {
            let outcome = load.run(lab, &cluster)?;
            most = most.max(outcome.rate());
            case.outcomes.push(outcome);
        }
        for (share, case) in shares.iter().zip(&mut open_cases) {
            case.outcomes.push(open_at(most * f64::from(*share) / 100.0).run(lab, &cluster)?);
        }
    }
    let mut section = Section::new(
        "Three replicas, Δ = 1 s, `durability = \"reply\"`, puts of 128 bytes over 10,000 keys. \
         Closed loop with so many requests outstanding in all; open loop at a share of the highest \
         rate of the closed one in the same turn.",
    );
    section.parts.push(rates("outstanding, closed loop", &closed_cases));
    section.parts.push(rates("share of the highest rate, open loop", &open_cases));
    section.plots.push(("curve", plot(&closed_cases, &open_cases)));
    Ok(section)
}

fn rates(first: &str, cases: &[Case]) -> String {
    let row = |case: &Case| {
        let figures: [Option<Spread>; 4] = [
            case.spread(Outcome::rate),
            case.spread(|o| o.latency("p50")),
            case.spread(|o| o.latency("p99")),
            case.spread(Outcome::cpu),
        ];
        std::iter::once(case.name.clone()).chain(figures.map(spread)).collect()
    };
    let head = [first, "operations/s", "p50, ms", "p99, ms", "processor time, µs"];
    table(&head, &cases.iter().map(row).collect::<Vec<Vec<String>>>())
}

fn plot(closed: &[Case], open: &[Case]) -> Plot {
    let series = |name: &str, cases: &[Case], rank: &str| {
        let place = |case: &Case| (case.median(Outcome::rate), case.median(|o| o.latency(rank)));
        let ranges = cases.iter().map(|case| case.range(|o| o.latency(rank))).collect();
        Series { ranges, ..Series::new(name, cases.iter().map(place).collect()) }
    };
    Plot {
        title: "Latency against throughput, three replicas".to_owned(),
        x: Axis::linear("operations a second"),
        y: Axis::log("latency, ms"),
        series: vec![
            series("closed loop, p50", closed, "p50"),
            series("closed loop, p99", closed, "p99").dashed(),
            series("open loop, p50", open, "p50"),
            series("open loop, p99", open, "p99").dashed(),
        ],
    }
}
