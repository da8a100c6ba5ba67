//! Throughput, a request alone, reads.

use super::measure;
use crate::cluster::Plan;
use crate::lab::Lab;
use crate::load::{Load, Outcome};
use crate::report::{Case, Goal, Section, table, table_of};
use crate::stats::{Spread, spread};

/// Commands in the larger requests.
const COMMANDS: u32 = 16;

pub fn voting(lab: &Lab) -> anyhow::Result<Section> {
    let many = format!("--commands-per-request {COMMANDS}");
    let sizes = [(4, 64), (16, 64)];
    let one = sizes.map(|(c, w)| Load::new(c, w));
    let sixteen = sizes.map(|(c, w)| Load::new(c, w).with(&many));
    let name = |durability: &str, load: &Load| format!("`{durability}`, {}", load.name());
    let kinds = ["reply", "none"];
    let of = |loads: &[Load; 2], kind| loads.each_ref().map(|load| Case::new(name(kind, load)));
    let mut ones = kinds.map(|kind| of(&one, kind));
    let mut sixteens = kinds.map(|kind| of(&sixteen, kind));
    for _ in 0..lab.rounds {
        for (i, durability) in kinds.into_iter().enumerate() {
            let plan = Plan { durability, ..Plan::default() };
            measure(lab, &plan, &one, &mut ones[i])?;
            measure(lab, &plan, &sixteen, &mut sixteens[i])?;
        }
    }
    let mut section = Section::new(
        "Three replicas, Δ = 1 s, puts of 128 bytes over 10,000 keys, closed loop: sessions × \
         requests outstanding on each; `durability = \"reply\"` on the disk beside `\"none\"`. \
         Then the same with 16 commands in a request.",
    );
    section.parts.push(table_of("one command in a request", ones.as_flattened()));
    section.parts.push(per_command(sixteens.as_flattened()));
    for (load, case) in one.iter().zip(&ones[0]) {
        let what = format!("processor time of a put, `reply`, {}", load.name());
        section.goals.push(Goal::at_most(what, case.median(Outcome::cpu), 16.0, "µs"));
    }
    for (load, case) in sixteen.iter().zip(&sixteens[0]) {
        let what = format!("processor time of one of 16 commands, `reply`, {}", load.name());
        section.goals.push(Goal::at_most(what, case.median(each), 3.0, "µs"));
    }
    Ok(section)
}

fn each(outcome: &Outcome) -> f64 {
    outcome.cpu() / f64::from(COMMANDS)
}

fn per_command(cases: &[Case]) -> String {
    let head = [
        "16 commands in a request",
        "commands/s",
        "p50, ms",
        "p99, ms",
        "processor time of a command, all processes, µs",
    ];
    let row = |case: &Case| {
        let figures = [
            case.spread(|o| o.rate() * f64::from(COMMANDS)),
            case.spread(|o| o.latency("p50")),
            case.spread(|o| o.latency("p99")),
            case.spread(each),
        ];
        std::iter::once(case.name.clone()).chain(figures.map(spread)).collect()
    };
    table(&head, &cases.iter().map(row).collect::<Vec<Vec<String>>>())
}

pub fn alone(lab: &Lab) -> anyhow::Result<Section> {
    let kinds = [("reply", "on the disk (`reply`)"), ("none", "in memory (`none`)")];
    let mut cases = kinds.map(|(_, name)| [Case::new(name)]);
    let load = [Load::new(1, 1)];
    for _ in 0..lab.rounds {
        for ((durability, _), case) in kinds.iter().zip(&mut cases) {
            let plan = Plan { durability, delta: "100ms", ..Plan::default() };
            measure(lab, &plan, &load, case)?;
        }
    }
    let mut section =
        Section::new("Three replicas, Δ = 100 ms, one client with one put of 128 bytes at a time.");
    section.parts.push(table_of("where", cases.as_flattened()));
    let pairs = cases[0][0].outcomes.iter().zip(&cases[1][0].outcomes);
    let more = Spread::of(pairs.map(|(disk, memory)| disk.latency("p50") - memory.latency("p50")));
    section.parts.push(format!("What the disk adds to p50 in each turn: {} ms.", spread(more)));
    Ok(section)
}

pub fn reads(lab: &Lab) -> anyhow::Result<Section> {
    let sizes = [(4, 64), (16, 64)];
    let gets = "--preload --mix get=1";
    let loads = sizes.map(|(c, w)| Load::new(c, w).with(gets));
    let mut cases = loads.each_ref().map(|load| Case::new(load.name()));
    for _ in 0..lab.rounds {
        measure(lab, &Plan::default(), &loads, &mut cases)?;
    }
    let mut section = Section::new(
        "Three replicas, Δ = 1 s, `durability = \"reply\"`, gets of 10,000 keys of 128 bytes that \
         are there (rule Q1), closed loop: sessions × requests outstanding on each.",
    );
    section.parts.push(table_of("sessions × outstanding", &cases));
    for case in &cases {
        let what = format!("processor time of a get, {}", case.name);
        section.goals.push(Goal::at_most(what, case.median(Outcome::cpu), 8.0, "µs"));
    }
    Ok(section)
}
