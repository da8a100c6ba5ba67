//! What can be measured, by name.

mod chain;
mod curve;
mod liars;
mod memory;
mod sizes;
mod voting;

use crate::cluster::{Cluster, Plan};
use crate::lab::Lab;
use crate::load::{Load, Outcome};
use crate::report::{Case, Section};

/// A section of the document.
pub struct Part {
    /// Its name on the command line and in the markers.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What measures it.
    pub run: fn(&Lab) -> anyhow::Result<Section>,
}

const fn part(
    name: &'static str,
    title: &'static str,
    run: fn(&Lab) -> anyhow::Result<Section>,
) -> Part {
    Part { name, title, run }
}

/// All, in the order of the document.
pub const ALL: [Part; 12] = [
    part("voting", "Puts of a group that votes", voting::voting),
    part("alone", "One request at a time", voting::alone),
    part("open", "At half of what it can", curve::open),
    part("curve", "Latency against throughput", curve::curve),
    part("reads", "Reads that are not ordered", voting::reads),
    part("chain", "Puts of a chain of two", chain::chain),
    part("replicas", "More replicas", sizes::replicas),
    part("clients", "More clients", sizes::clients),
    part("values", "Larger values", sizes::values),
    part("keys", "More keys", sizes::keys),
    part("memory", "Memory", memory::memory),
    part("liars", "Liars at full speed", liars::liars),
];

/// Runs several loads on a cluster that is made for them, and notes what came of each.
fn measure(lab: &Lab, plan: &Plan, loads: &[Load], cases: &mut [Case]) -> anyhow::Result<()> {
    let cluster = Cluster::start(lab, plan)?;
    for (load, case) in loads.iter().zip(cases) {
        case.outcomes.push(load.run(lab, &cluster)?);
    }
    Ok(())
}

/// Fills a cluster with keys, without measuring anything.
fn fill(lab: &Lab, cluster: &Cluster, keys: u64) -> anyhow::Result<Outcome> {
    // The rest of the run is as short as it can be.
    let load = Load { warmup: 0, ..Load::new(4, 16) }.seconds(1);
    load.with(&format!("--preload --keys {keys} --mix get=1")).run(lab, cluster)
}
