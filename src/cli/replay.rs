//! `quorate replay`.

mod show;

use super::{Failure, Subcommand, USAGE, output};
use crate::config::{Cluster, FaultModel};
use crate::crypto::Ed25519;
use crate::daemon::{DataDirectory, Runs, check_determinism, master_of, ordered_service};
use crate::files::load_cluster;
use crate::offline::{Difference, Lockstep, Player, Watch};
use crate::service::{BUILT_IN, Service, built_in};
use crate::types::Round;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Execute what is on a replica's disk again, and compare
///
/// Begins with the snapshot on the disk, executes the log behind it by the code that a start of
/// the replica runs, and compares the running roots with those that t + 1 replicas have signed.
/// Nothing is changed, nothing is locked, and no private key is needed.
///
/// Exit code: 0 if all agrees, 1 if something differs or the log cannot be used to its end, 2 for
/// a wrong command line or file.
///
/// Examples:
///   quorate replay --config quorate.toml --data data/replica-1
///   quorate replay --config quorate.toml --data data/replica-1 --to 1000
///   quorate replay --config quorate.toml --data data/replica-1 --against data/replica-2
///   quorate replay --config quorate.toml --data data/replica-1 --check-determinism
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Replay {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// The directory in which the replica keeps its files
    #[arg(long)]
    data: PathBuf,
    /// Stop after the step of this round
    #[arg(long, value_name = "ROUND", conflicts_with = "check_determinism")]
    to: Option<u64>,
    /// Execute another replica's disk beside it and name the first command that differs
    #[arg(long, value_name = "DATA", conflicts_with = "check_determinism")]
    against: Option<PathBuf>,
    /// Execute it twice at the same time, with different hash seeds and addresses, and name the
    /// first command whose output or state differs. For a service of your own call
    /// `quorate::daemon::check_determinism`
    #[arg(long)]
    check_determinism: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// An execution and what came of it.
struct Played {
    player: Player<Ed25519>,
    /// What is damaged on the disk behind what was executed.
    damage: Option<String>,
    /// Whether it went to the end of the log.
    is_whole: bool,
}

impl Played {
    fn is_good(&self) -> bool {
        let fits = self.player.attested().refuted.is_none();
        fits && self.player.failed().is_none() && (self.damage.is_none() || !self.is_whole)
    }
}

impl Subcommand for Replay {
    fn run(self) -> anyhow::Result<ExitCode> {
        let cluster = load_cluster(&self.config)?;
        let name = ordered_service(&cluster);
        if cluster.fault_model == FaultModel::Byzantine && !BUILT_IN.contains(&name) {
            let message = format!(
                "this program has no service `{name}`: whoever has it calls \
                 quorate::daemon::DataDirectory::player, or check_determinism beside it"
            );
            return Err(Failure { code: USAGE, message }.into());
        }
        let data = DataDirectory::look(&self.data)?;
        let (good, text, value) = if self.check_determinism {
            let runs = twice(&cluster, &data)?;
            let good = runs.difference.is_none() && runs.failed.is_none();
            (good, show::runs(&runs, name), show::runs_json(&runs, name))
        } else if let Some(other) = &self.against {
            let other = DataDirectory::look(other)?;
            let (played, difference, compared) = self.beside(&cluster, [&data, &other])?;
            let good = difference.is_none() && played.iter().all(Played::is_good);
            let found = show::Beside { played: &played, difference, compared, service: name };
            (good, found.text(), found.json())
        } else {
            let played = self.alone(&cluster, &data)?;
            (played.is_good(), show::played(&played), show::played_json(&played))
        };
        match self.json {
            true => output::print_json(&value)?,
            false => output::print(&text)?,
        }
        Ok(ExitCode::from(u8::from(!good)))
    }
}

/// Refuses a round that was executed before what is left on a disk begins.
fn reaches(to: Option<u64>, began: Round, data: &Path) -> Result<(), Failure> {
    let began = began.0;
    match to.filter(|to| *to < began) {
        None => Ok(()),
        Some(to) => {
            let data = data.display();
            let message = format!(
                "{data} begins with the state of round {began}: round {to} is not in it any more; \
                 give --to {began} or a later one"
            );
            Err(Failure { code: USAGE, message })
        }
    }
}

fn new_service(cluster: &Cluster) -> Box<dyn Service> {
    if cluster.fault_model == FaultModel::FailStop {
        return Box::new(master_of(cluster));
    }
    built_in(&cluster.service.name).expect("it was looked for before")
}

fn twice(cluster: &Cluster, data: &DataDirectory) -> anyhow::Result<Runs> {
    let make = |seed| data.player(cluster, new_service(cluster), (Watch::ALL, seed));
    Ok(check_determinism(&make)?)
}

type Compared = (u64, Option<Round>);

impl Replay {
    fn begin(
        &self,
        cluster: &Cluster,
        data: &DataDirectory,
        watch: Watch,
    ) -> anyhow::Result<Played> {
        let player = data.player(cluster, new_service(cluster), (watch, 1))?;
        reaches(self.to, player.began(), data.path())?;
        let damage = data.stored(Some(cluster.ensemble.n()))?.damage;
        Ok(Played { player, damage, is_whole: true })
    }

    fn is_behind(&self, round: Round) -> bool {
        self.to.is_some_and(|to| round.0 >= to)
    }

    fn alone(&self, cluster: &Cluster, data: &DataDirectory) -> anyhow::Result<Played> {
        let mut played = self.begin(cluster, data, Watch::NOTHING)?;
        played.is_whole = !self.is_behind(played.player.began());
        while played.is_whole
            && let Some(step) = played.player.next()
        {
            played.is_whole = !self.is_behind(step.position.round);
        }
        Ok(played)
    }

    fn beside(
        &self,
        cluster: &Cluster,
        data: [&DataDirectory; 2],
    ) -> anyhow::Result<([Played; 2], Option<Difference>, Compared)> {
        let [one, two] = data;
        let begin = |data| self.begin(cluster, data, Watch::DIGESTS);
        let (mut played, mut lockstep) = ([begin(one)?, begin(two)?], Lockstep::new());
        let mut difference = None;
        while let Some(which) = lockstep.needs() {
            let Some(step) = played[which].player.next() else { break };
            difference = lockstep.take(which, step);
            if difference.is_some() || lockstep.compared().1.is_some_and(|r| self.is_behind(r)) {
                played.iter_mut().for_each(|p| p.is_whole = false);
                break;
            }
        }
        // One is further than the other: what it has signed there is looked at, too.
        for Played { player, .. } in played.iter_mut().filter(|p| p.is_whole) {
            while player.next().is_some() {}
        }
        Ok((played, difference, lockstep.compared()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was once answered with a later round than the one that was asked for.
    #[test]
    fn a_round_before_the_state_on_the_disk_is_refused() {
        let data = Path::new("data/replica-1");
        let refused = reaches(Some(2000), Round(3840), data).unwrap_err();
        assert_eq!(refused.code, USAGE);
        let told = ["data/replica-1 begins with the state of round 3840", "--to 3840"];
        assert!(told.iter().all(|part| refused.message.contains(part)), "{}", refused.message);
        for to in [None, Some(3840), Some(9000)] {
            assert!(reaches(to, Round(3840), data).is_ok());
        }
    }
}
