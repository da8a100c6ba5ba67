//! What is left out of a run: so that a failure can be shown with little around it.

use crate::simulator::{DiskOptions, NetworkOptions, Options};
use clap::Args;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What is left out.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// Leave out kinds of trouble: loss, doubles, resends, breakage, reorder, bulk, delays, clocks,
    /// disks, lying-clients, withholding, load, or the lies of one replica, as in R2
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    without: Vec<Part>,
    /// Of the random faults let only these happen, by number; or none
    #[arg(long, value_name = "NUMBERS")]
    only_faults: Option<Numbers>,
    /// So many correct clients
    #[arg(long)]
    clients: Option<u32>,
    /// So many calls of each
    #[arg(long)]
    calls: Option<u64>,
}

/// A kind of trouble that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Loss,
    Doubles,
    Resends,
    Breakage,
    Reorder,
    Bulk,
    Delays,
    Clocks,
    Disks,
    LyingClients,
    Withholding,
    Load,
    /// The lies of the replica at this place, from 0.
    Lies(usize),
}

const NAMES: [(&str, Part); 12] = [
    ("loss", Part::Loss),
    ("doubles", Part::Doubles),
    ("resends", Part::Resends),
    ("breakage", Part::Breakage),
    ("reorder", Part::Reorder),
    ("bulk", Part::Bulk),
    ("delays", Part::Delays),
    ("clocks", Part::Clocks),
    ("disks", Part::Disks),
    ("lying-clients", Part::LyingClients),
    ("withholding", Part::Withholding),
    ("load", Part::Load),
];

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, part)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*part);
        }
        let number = text.strip_prefix('R').and_then(|n| n.parse::<usize>().ok());
        let place = number.and_then(|n| n.checked_sub(1));
        place.map(Part::Lies).ok_or_else(|| format!("{text:?} is no kind of trouble"))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (NAMES.iter().find(|(_, part)| part == self), self) {
            (Some((name, _)), _) => f.write_str(name),
            (None, Part::Lies(place)) => write!(f, "R{}", place + 1),
            (None, _) => unreachable!("all others have names"),
        }
    }
}

impl Part {
    /// All that there are, with the lies of these replicas.
    pub(super) fn all(options: &Options) -> impl Iterator<Item = Part> {
        let lies = options.liars.iter().map(|(place, _)| Part::Lies(*place));
        NAMES.iter().map(|(_, part)| *part).chain(lies)
    }
}

/// Numbers of random faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers(pub(super) BTreeSet<usize>);

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::default());
        }
        let number = |n: &str| n.parse().map_err(|_| format!("{n:?} is no number of a fault"));
        text.split(',').map(number).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(if list.is_empty() { "none" } else { "" })?;
        f.write_str(&list.join(","))
    }
}

/// As arguments, each after a blank.
impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.without.is_empty() {
            let list: Vec<String> = self.without.iter().map(ToString::to_string).collect();
            write!(f, " --without {}", list.join(","))?;
        }
        let Cut { only_faults, clients, calls, .. } = self;
        only_faults.iter().try_for_each(|numbers| write!(f, " --only-faults {numbers}"))?;
        clients.iter().try_for_each(|n| write!(f, " --clients {n}"))?;
        calls.iter().try_for_each(|n| write!(f, " --calls {n}"))
    }
}

impl Cut {
    /// This and one part more.
    pub(super) fn and(&self, part: Part) -> Self {
        let mut out = self.clone();
        if !out.without.contains(&part) {
            out.without.push(part);
        }
        out
    }

    /// The same with other faults.
    pub(super) fn with_faults(&self, numbers: BTreeSet<usize>) -> Self {
        Self { only_faults: Some(Numbers(numbers)), ..self.clone() }
    }

    /// The same with another load.
    pub(super) fn with_load(&self, clients: u32, calls: u64) -> Self {
        Self { clients: Some(clients), calls: Some(calls), ..self.clone() }
    }

    /// Leaves it out of a run.
    pub(super) fn apply(&self, options: &mut Options) {
        for part in &self.without {
            leave_out(*part, options);
        }
        if let Some(numbers) = &self.only_faults {
            options.only_faults = Some(numbers.0.clone());
        }
        options.clients = self.clients.unwrap_or(options.clients);
        options.workload.calls = self.calls.unwrap_or(options.workload.calls);
    }
}

fn leave_out(part: Part, options: &mut Options) {
    let usual = Options::default();
    let (links, calm) = (&mut options.world.network, NetworkOptions::default());
    match part {
        Part::Loss => links.drop_per_mille = 0,
        Part::Doubles => links.duplicate_per_mille = 0,
        Part::Resends => links.resend_per_mille = 0,
        Part::Breakage => links.break_per_mille = 0,
        Part::Reorder => links.reorder = false,
        Part::Bulk => (links.unruly_bulk, links.bulk_jitter) = (false, calm.bulk_jitter),
        Part::Delays => {
            (links.max_delay, links.jitter, links.grain) =
                (calm.max_delay, calm.jitter, calm.grain);
        }
        Part::Clocks => {
            options.clock_spread = usual.clock_spread;
            (options.drift_ppm, options.rate_ppm) = (usual.drift_ppm, usual.rate_ppm);
        }
        Part::Disks => options.world.disk = DiskOptions::default(),
        Part::LyingClients => options.lying_clients.clear(),
        Part::Withholding => options.bodies = None,
        Part::Load => {
            let load = &mut options.workload;
            (load.pipeline, load.keys, load.commands) = (1, 1, 1);
        }
        Part::Lies(place) => options.liars.retain(|(liar, _)| *liar != place),
    }
}
