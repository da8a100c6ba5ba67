//! `quorate log`.

mod repair;
mod show;

use super::{Failure, Subcommand, USAGE, output};
use crate::config::Cluster;
use crate::crypto::{Context, Ed25519, Keyring};
use crate::daemon::{DataDirectory, RoundsFiles};
use crate::files::load_cluster;
use crate::offline::{Judge, Listed, LogSurvey, SnapshotSurvey, survey, survey_snapshots};
use crate::replica::{OpenedSnapshot, recorded_keys};
use crate::service::kv::Kv;
use crate::storage::{Limits, Options, Position};
use crate::types::{Digest, GroupId, Round};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Look into the log of rounds of a replica, without starting it, and repair it
///
/// Only `repair` changes something, and locks the directory. A replica may run on a directory that
/// is only looked at.
///
/// Examples:
///   quorate log verify --data data/replica-1 --config quorate.toml
///   quorate log dump --data data/replica-1 --from 100 --to 120
///   quorate log stats --data data/replica-1
///   quorate log repair --data data/replica-1 --from data/replica-2 --from data/replica-3
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Log {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Whether the log and the snapshots are sound: every record, the chain, and with --config all
    /// signatures. Exit code: 0 if they are, 1 if something is damaged or wrong, 2 for a wrong
    /// command line or file
    Verify(Which),
    /// What the log holds, entry by entry
    Dump(Dump),
    /// How much of what is in it
    Stats(Which),
    /// Put back what a log has lost, from the logs of other replicas or copies of them. No replica
    /// may run on --data. Only what the log's own chain proves to be what was there is put back,
    /// so the others need not be trusted, and may be damaged elsewhere. Damaged files are kept
    /// under other names. Exit code: 0 if nothing is damaged any more, 1 if something is left, 2
    /// for a wrong command line or file
    Repair(repair::Repair),
}

#[derive(Args)]
struct Which {
    /// The directory in which the replica keeps its files
    #[arg(long)]
    data: PathBuf,
    /// The cluster file: signatures are checked against its roster
    #[arg(long)]
    config: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Dump {
    #[command(flatten)]
    which: Which,
    /// Leave out what is of rounds before this one
    #[arg(long, value_name = "ROUND")]
    from: Option<u64>,
    /// Leave out what is of rounds after this one
    #[arg(long, value_name = "ROUND")]
    to: Option<u64>,
    /// The service whose commands are told in words [default: that of the cluster file, or kv]
    #[arg(long)]
    service: Option<String>,
}

/// What was found.
struct Found {
    survey: LogSurvey,
    snapshots: Vec<SnapshotSurvey>,
    /// Round and place in the log of the newest whole snapshot, and with a cluster file what is
    /// wrong with its attestations.
    newest: Option<(u64, u64, Option<String>)>,
    /// Why a start could not go on from what is there.
    lost: Option<String>,
    /// Whether signatures were checked.
    judged: bool,
}

impl Found {
    fn is_sound(&self) -> bool {
        let attested = self.newest.as_ref().is_none_or(|(_, _, wrong)| wrong.is_none());
        let whole = self.snapshots.iter().all(|s| s.whole.is_ok());
        self.survey.is_sound() && self.lost.is_none() && attested && whole
    }
}

impl Subcommand for Log {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Verify(which) => {
                let found = which.look(&mut |_| {})?;
                match which.json {
                    true => output::print_json(&show::verdict_json(&found))?,
                    false => output::print(&show::verdict(&found))?,
                }
                Ok(ExitCode::from(u8::from(!found.is_sound())))
            }
            Action::Stats(which) => {
                let found = which.look(&mut |_| {})?;
                match which.json {
                    true => output::print_json(&show::stats_json(&found))?,
                    false => output::print(&show::stats(&found))?,
                }
                Ok(ExitCode::SUCCESS)
            }
            Action::Dump(dump) => dump.run(),
            Action::Repair(repair) => repair.run(),
        }
    }
}

impl Dump {
    fn run(self) -> anyhow::Result<ExitCode> {
        let (from, to) = (self.from.unwrap_or(0), self.to.unwrap_or(u64::MAX));
        if from > to {
            let message = format!("--from {from} is behind --to {to}; exchange them");
            return Err(Failure { code: USAGE, message }.into());
        }
        let (cluster, files) = self.which.open()?;
        let configured = cluster.as_ref().map(|c| c.0.service.name.clone());
        let service = self.service.or(configured).unwrap_or(Kv::NAME.to_owned());
        let (mut near, mut printed) = (Round(0), Ok(()));
        let mut visit = |listed: &Listed| {
            near = listed.round.unwrap_or(near);
            if (from..=to).contains(&near.0) && printed.is_ok() {
                printed = output::print(&match self.which.json {
                    true => format!("{}\n", show::entry_json(listed, &service)),
                    false => show::entry(listed, &service),
                });
            }
        };
        let survey = read(files, cluster.as_ref(), &mut visit)?;
        printed?;
        for damage in &survey.found.damages {
            eprintln!("damaged: {damage}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

type Known = (Cluster, Keyring<Ed25519>);

impl Which {
    fn open(&self) -> anyhow::Result<(Option<Known>, (DataDirectory, RoundsFiles))> {
        let data = DataDirectory::look(&self.data)?;
        let cluster = match &self.config {
            Some(path) => {
                let cluster = load_cluster(path)?;
                data.belongs_to(&cluster)?;
                let keyring = keyring(&cluster, &data)?;
                Some((cluster, keyring))
            }
            None => None,
        };
        let rounds = data.rounds(cluster.as_ref().map(|(c, _)| c.ensemble.n()))?;
        Ok((cluster, (data, rounds)))
    }

    fn look(&self, visit: &mut dyn FnMut(&Listed)) -> anyhow::Result<Found> {
        let (cluster, (data, files)) = self.open()?;
        let members = cluster.as_ref().map(|(c, _)| c.ensemble.n());
        let stored = data.stored(members)?;
        let newest = match &stored.snapshot {
            Some((head, state)) => {
                let opened = OpenedSnapshot::parse(head, state);
                let round = opened.as_ref().map_or(0, |o| o.position().round.0);
                let wrong = opened.and_then(|opened| match &cluster {
                    Some((_, keyring)) => opened.proven(keyring).map(drop).map_err(str::to_owned),
                    None => Ok(()),
                });
                Some((round, stored.first, wrong.err()))
            }
            None => None,
        };
        let mut snapshots = data.rounds(members)?;
        // The first chunk has the attestations behind 8 bytes.
        let chunk = 8 + snapshots.limits.record_bytes.max(1 << 20);
        let snapshots = survey_snapshots(&mut snapshots.disk, snapshots.owner, chunk)?;
        let judged = cluster.is_some();
        let survey = read((data, files), cluster.as_ref(), visit)?;
        Ok(Found { survey, snapshots, newest, lost: stored.damage, judged })
    }
}

/// The roster's keys with those that the replica itself knows of.
pub(super) fn keyring(cluster: &Cluster, data: &DataDirectory) -> anyhow::Result<Keyring<Ed25519>> {
    let keyring = cluster.keyring::<Ed25519>(GroupId::MAIN);
    let mut keyring = keyring.expect("the parser of the cluster file has accepted its keys");
    for change in recorded_keys(&data.records()?) {
        // As a start does: one that does not fit was never accepted.
        let _ = keyring.replace(change);
    }
    Ok(keyring)
}

// How a log is opened to be looked at.
fn options(owner: Digest, secret: Digest, limits: Limits) -> Options {
    Options { owner, secret, first: Position(0), known: Position(0), limits }
}

fn read(
    (data, files): (DataDirectory, RoundsFiles),
    known: Option<&Known>,
    visit: &mut dyn FnMut(&Listed),
) -> anyhow::Result<LogSurvey> {
    let RoundsFiles { mut disk, owner, secret, limits, path } = files;
    let options = options(owner, secret, limits);
    let context = Context { cluster: data.mark().cluster, group: GroupId::MAIN };
    let judge = known.map(|(cluster, keyring)| Judge::new(keyring, cluster.limits.max_candidates));
    let read = survey(&mut disk, options, context, judge, visit);
    read.map_err(|e| {
        let message = format!("{}: {e}", path.display());
        Failure { code: USAGE, message }.into()
    })
}
