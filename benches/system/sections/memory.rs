//! What replicas need of memory, and whether it grows.

use super::fill;
use crate::cluster::{Cluster, Plan};
use crate::lab::Lab;
use crate::load::Load;
use crate::machine;
use crate::plot::{Axis, Plot, Series};
use crate::report::{Goal, Section, table};
use crate::stats::{Spread, figure, line, spread};
use std::time::Duration;

/// Of the run, what is left out before the line: tables and buffers get their size then.
const SETTLING: f64 = 0.3;

pub fn memory(lab: &Lab) -> anyhow::Result<Section> {
    let mut section = Section::new(
        "Resident memory (VmRSS) of the replicas, three of them, Δ = 1 s, `durability = \
         \"reply\"`, puts of 128 bytes over 10,000 keys, sampled each second. The line is fitted \
         to all samples but those of the first 30 % of the time.",
    );
    let requests = match (lab.quick, lab.full) {
        (true, _) => 100_000.0,
        (false, false) => 1e6,
        (false, true) => 1e7,
    };
    long_run(lab, requests, &mut section)?;
    each(lab, &mut section)?;
    Ok(section)
}

fn long_run(lab: &Lab, requests: f64, section: &mut Section) -> anyhow::Result<()> {
    let cluster = Cluster::start(lab, &Plan::default())?;
    let load = Load::new(4, 64);
    let rate = load.clone().seconds(2).run(lab, &cluster)?.rate();
    let seconds = (requests / rate.max(1.0)).ceil().clamp(5.0, 3600.0) as u64;
    let running = Load { warmup: 0, ..load }.seconds(seconds).start(lab, &cluster)?;
    let (mut samples, mut next) = (vec![Vec::new(); usize::from(cluster.n())], Duration::ZERO);
    let outcome = running.finish(lab, &mut |at| {
        if at >= next {
            next = at + Duration::from_secs(1);
            for (of, pid) in samples.iter_mut().zip(cluster.pids()) {
                of.extend(machine::resident(pid).map(|mib| (at.as_secs_f64(), mib)));
            }
        }
        Ok(())
    })?;
    let (mut rows, mut worst) = (Vec::new(), f64::NEG_INFINITY);
    for (id, of) in (1..).zip(&samples) {
        let end = of.last().map_or(0.0, |s| s.0);
        let late: Vec<(f64, f64)> = of.iter().copied().filter(|s| s.0 >= end * SETTLING).collect();
        let all = Spread::of(of.iter().map(|s| s.1));
        let slope = line(&late).map_or(f64::NAN, |l| l.0);
        let million = slope * 1e6 / outcome.rate();
        let mean = Spread::of(late.iter().map(|s| s.1)).map_or(f64::NAN, |s| s.median);
        let grown = 100.0 * slope * end * (1.0 - SETTLING) / mean;
        // What is not a number stays.
        worst = if grown.is_nan() || worst.is_nan() { f64::NAN } else { worst.max(grown) };
        rows.push(vec![
            format!("R{id}"),
            spread(all),
            figure(million),
            format!("{} %", figure(grown)),
        ]);
    }
    section.parts.push(format!(
        "**Over {} requests** in {:.0} s:\n\n{}",
        figure(outcome.ops()),
        outcome.number("/seconds").unwrap_or(f64::NAN),
        table(
            &[
                "replica",
                "MiB",
                "MiB more per million requests",
                "by the line from 30 % to the end"
            ],
            &rows
        )
    ));
    let what =
        "memory is flat: growth from 30 % of the run to its end, of the replica that grows most";
    section.goals.push(Goal::at_most(what, worst, 5.0, "%"));
    let series = |(id, of): (usize, &Vec<(f64, f64)>)| Series::new(format!("R{id}"), of.clone());
    section.plots.push((
        "memory",
        Plot {
            title: format!("Memory of the replicas over {} requests", figure(outcome.ops())),
            x: Axis::linear("seconds"),
            y: Axis::linear("resident memory, MiB"),
            series: (1..).zip(&samples).map(series).collect(),
        },
    ));
    Ok(())
}

/// Runs a load on a new cluster and gives the highest memory of its replicas, on average of them.
fn peak(lab: &Lab, load: &Load, more: &'static str) -> anyhow::Result<f64> {
    let cluster = Cluster::start(lab, &Plan { more, ..Plan::default() })?;
    let mut peaks = vec![0f64; usize::from(cluster.n())];
    load.start(lab, &cluster)?.finish(lab, &mut |_| {
        for (peak, pid) in peaks.iter_mut().zip(cluster.pids()) {
            *peak = peak.max(machine::resident(pid).unwrap_or(0.0));
        }
        Ok(())
    })?;
    Ok(peaks.iter().sum::<f64>() / peaks.len() as f64)
}

fn each(lab: &Lab, section: &mut Section) -> anyhow::Result<()> {
    const LINKS: &str = "[quotas]\nlinks_per_client = 2000";
    let many: u32 = if lab.quick { 100 } else { 500 };
    let keys: u64 = if lab.quick { 100_000 } else { 1_000_000 };
    let (mut client, mut request, mut key) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..lab.rounds.min(3) {
        let few = peak(lab, &Load::new(1, 1).with("--rate 500"), LINKS)?;
        let all = peak(lab, &Load::new(many, 1).with("--rate 500"), LINKS)?;
        client.push((all - few) * 1024.0 / f64::from(many - 1));
        let few = peak(lab, &Load::new(4, 16), "")?;
        let all = peak(lab, &Load::new(4, 1024), "")?;
        request.push((all - few) * 1024.0 / f64::from(4 * 1024 - 4 * 16));
        let mut after = [0.0; 2];
        for (mib, count) in after.iter_mut().zip([10_000, keys]) {
            let cluster = Cluster::start(lab, &Plan::default())?;
            fill(lab, &cluster, count)?;
            let all: Vec<f64> = cluster.pids().into_iter().filter_map(machine::resident).collect();
            *mib = all.iter().sum::<f64>() / all.len() as f64;
        }
        key.push((after[1] - after[0]) * 1024.0 * 1024.0 / (keys - 10_000) as f64);
    }
    let rows = [
        (format!("client that is linked, KiB (1 beside {many})"), client),
        ("request outstanding, KiB (4 × 16 beside 4 × 1024, highest)".to_owned(), request),
        (
            format!(
                "key of 128 bytes, bytes (10,000 beside {}, when written)",
                figure(keys as f64)
            ),
            key,
        ),
    ];
    let rows = rows.map(|(what, figures)| vec![what, spread(Spread::of(figures))]);
    let head = ["memory of a replica for each", "more"];
    section
        .parts
        .push(format!("New clusters for each, one beside the other:\n\n{}", table(&head, &rows)));
    Ok(())
}
