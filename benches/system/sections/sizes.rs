//! More replicas, clients, bytes, keys.

use super::{fill, measure};
use crate::cluster::{Cluster, Plan};
use crate::lab::Lab;
use crate::load::{Load, Outcome};
use crate::machine;
use crate::plot::{Axis, Plot, Series};
use crate::report::{Case, Goal, Section, table, table_of};
use crate::stats::{Spread, figure, spread};

pub fn replicas(lab: &Lab) -> anyhow::Result<Section> {
    let sizes = [1u8, 2, 3, 4];
    let mut cases = sizes.map(|t| [Case::new(format!("{}", 2 * t + 1))]);
    let load = [Load::new(4, 64)];
    for _ in 0..lab.rounds {
        for (t, case) in sizes.into_iter().zip(&mut cases) {
            measure(lab, &Plan { t, ..Plan::default() }, &load, case)?;
        }
    }
    let cases = cases.as_flattened();
    let mut section = Section::new(
        "Groups of 2t + 1, Δ = 1 s, `durability = \"reply\"`, puts of 128 bytes over 10,000 keys, \
         4 × 64 outstanding. All replicas share the machine, so rates say little; processor time \
         does.",
    );
    section.parts.push(table_of("replicas", cases));
    let ns = sizes.map(|t| f64::from(2 * t + 1));
    let least = cases[0].median(Outcome::replica_cpu);
    for (n, case) in ns.into_iter().zip(cases).skip(1) {
        let what =
            format!("processor time of a put at each of {n:.0} replicas, by that at each of 3");
        let share = case.median(Outcome::replica_cpu) / least;
        section.goals.push(Goal::at_most(what, share, n / 3.0, ""));
    }
    let linear = ns.into_iter().map(|n| (n, least * n / 3.0)).collect();
    section.plots.push((
        "replicas",
        Plot {
            title: "Processor time of a put at one replica".to_owned(),
            x: Axis::linear("replicas"),
            y: Axis::linear("processor time, µs"),
            series: vec![
                by_case("measured", &ns, cases, Outcome::replica_cpu),
                Series::new("in proportion to n", linear).dashed(),
            ],
        },
    ));
    Ok(section)
}

fn by_case(name: &str, xs: &[f64], cases: &[Case], of: impl Fn(&Outcome) -> f64) -> Series {
    let points = xs.iter().zip(cases).map(|(x, case)| (*x, case.median(&of))).collect();
    let ranges = cases.iter().map(|case| case.range(&of)).collect();
    Series { ranges, ..Series::new(name, points) }
}

pub fn clients(lab: &Lab) -> anyhow::Result<Section> {
    let counts: &[u32] = if lab.quick { &[1, 10, 100] } else { &[1, 10, 100, 1000] };
    let loads: Vec<Load> = counts.iter().map(|count| Load::new(*count, 1)).collect();
    let mut cases: Vec<Case> = counts.iter().map(|count| Case::new(count.to_string())).collect();
    let plan = Plan { more: "[quotas]\nlinks_per_client = 2000", ..Plan::default() };
    for _ in 0..lab.rounds {
        measure(lab, &plan, &loads, &mut cases)?;
    }
    let mut section = Section::new(
        "Three replicas, Δ = 1 s, `durability = \"reply\"`, puts of 128 bytes over 10,000 keys; so \
         many sessions with links of their own, each with one request outstanding \
         (`links_per_client = 2000`).",
    );
    section.parts.push(table_of("clients", &cases));
    let xs: Vec<f64> = counts.iter().map(|count| f64::from(*count)).collect();
    section.plots.push((
        "clients",
        Plot {
            title: "Latency with more clients of one request each".to_owned(),
            x: Axis::log("clients"),
            y: Axis::log("latency, ms"),
            series: vec![
                by_case("p50", &xs, &cases, |o| o.latency("p50")),
                by_case("p99", &xs, &cases, |o| o.latency("p99")).dashed(),
            ],
        },
    ));
    Ok(section)
}

pub fn values(lab: &Lab) -> anyhow::Result<Section> {
    let sizes: &[u32] = match lab.quick {
        true => &[16, 1024, 65_536],
        false => &[16, 128, 1024, 4096, 16_384, 65_536],
    };
    let load = |size: &u32| Load::new(4, 16).with(&format!("--size {size} --keys 1000"));
    let loads: Vec<Load> = sizes.iter().map(load).collect();
    let mut cases: Vec<Case> = sizes.iter().map(|size| Case::new(size.to_string())).collect();
    for _ in 0..lab.rounds {
        measure(lab, &Plan::default(), &loads, &mut cases)?;
    }
    let mut section = Section::new(
        "Three replicas, Δ = 1 s, `durability = \"reply\"`, puts over 1000 keys, \
         4 × 16 outstanding.",
    );
    section.parts.push(table_of("bytes of a value", &cases));
    let xs: Vec<f64> = sizes.iter().map(|size| f64::from(*size)).collect();
    let bytes = |(size, case): (&u32, &Case)| {
        let mib = Spread::of(case.outcomes.iter().map(|o| o.rate() * f64::from(*size) / 1048576.0));
        vec![size.to_string(), spread(mib)]
    };
    let rows: Vec<Vec<String>> = sizes.iter().zip(&cases).map(bytes).collect();
    section.parts.push(table(&["bytes of a value", "MiB/s of values"], &rows));
    section.plots.push((
        "values",
        Plot {
            title: "Processor time of a put of larger values".to_owned(),
            x: Axis::log("bytes of a value"),
            y: Axis::log("processor time, µs"),
            series: vec![
                by_case("all processes", &xs, &cases, Outcome::cpu),
                by_case("one replica", &xs, &cases, Outcome::replica_cpu),
                by_case("client", &xs, &cases, Outcome::client_cpu),
            ],
        },
    ));
    Ok(section)
}

pub fn keys(lab: &Lab) -> anyhow::Result<Section> {
    let counts: &[u64] = match (lab.quick, lab.full) {
        (true, _) => &[10_000, 100_000],
        (false, false) => &[10_000, 100_000, 1_000_000],
        (false, true) => &[10_000, 100_000, 1_000_000, 10_000_000],
    };
    let mut cases: Vec<Case> =
        counts.iter().map(|count| Case::new(figure(*count as f64))).collect();
    let mut memory: Vec<Vec<f64>> = vec![Vec::new(); counts.len()];
    for round in 0..lab.rounds {
        for (i, keys) in counts.iter().enumerate() {
            if *keys > 1_000_000 && round > 0 {
                // Minutes to fill: once.
                continue;
            }
            let cluster = Cluster::start(lab, &Plan::default())?;
            fill(lab, &cluster, *keys)?;
            let load = Load::new(4, 64).with(&format!("--keys {keys}"));
            cases[i].outcomes.push(load.run(lab, &cluster)?);
            memory[i].extend(cluster.pids().into_iter().filter_map(machine::resident));
        }
    }
    let mut section = Section::new(
        "Three replicas, Δ = 1 s, `durability = \"reply\"`, all keys written before \
         (`--preload`), then puts of 128 bytes over them, 4 × 64 outstanding. Ten million keys \
         only with `--full`, and once.",
    );
    section.parts.push(table_of("keys", &cases));
    let row = |(count, mib): (&u64, &Vec<f64>)| {
        vec![figure(*count as f64), spread(Spread::of(mib.iter().copied()))]
    };
    let rows: Vec<Vec<String>> = counts.iter().zip(&memory).map(row).collect();
    section.parts.push(table(&["keys", "memory of a replica afterwards, MiB"], &rows));
    let xs: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
    section.plots.push((
        "keys",
        Plot {
            title: "Processor time of a put among more keys".to_owned(),
            x: Axis::log("keys"),
            y: Axis::linear("processor time, µs"),
            series: vec![
                by_case("all processes", &xs, &cases, Outcome::cpu),
                by_case("one replica", &xs, &cases, Outcome::replica_cpu),
            ],
        },
    ));
    Ok(section)
}
