//! Taking the data of a cluster over to its other fault model, offline (docs/chain.md).
//!
//! What is taken over is the latest state that `t + 1` replicas agree on in the voting mode, or
//! that of the whole chain in the fail-stop model: with sessions and stored replies, so that
//! nothing that was answered is lost and nothing runs twice. The other cluster begins with it, and
//! its file names it. The directories that it is taken from are only read.

use super::chained::master_of;
use super::disk::Claim;
use super::pins::outdated;
use super::{DaemonError, DataDirectory, chain_disk, chained, initial, mark};
use crate::chain::{MakeService, Recovered};
use crate::config::{Cluster, FaultModel};
use crate::crypto::Ed25519;
use crate::files;
use crate::master::{Answer, Command, Master};
use crate::offline::{Agreed, Executed, InitialState, Player, Watch, agreed, whole_chain};
use crate::replica::recorded_keys;
use crate::service::{Carried, Service};
use crate::types::{AgreedTime, ClientId, DiskState, Durability, GroupId, ReplicaId};
use crate::wire::{ChainConfig, Mark};
use std::path::{Path, PathBuf};

/// Why data cannot be taken over. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DaemonError),
    /// The directories do not go together, or are not enough.
    #[error("{0}")]
    Refused(String),
}

/// What was taken over, and from what.
#[derive(Debug)]
pub struct TakenOver {
    /// The state.
    pub carried: Carried,
    /// What was found on each disk, in the order in which they were given.
    pub disks: Vec<FoundDisk>,
    /// Where it ends, for people.
    pub at: String,
}

/// What was found on one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDisk {
    /// Whose it is.
    pub replica: ReplicaId,
    /// Where.
    pub path: PathBuf,
    /// What there is, for people.
    pub what: String,
    /// Proofs of lying in it: whom they convict is a member of the other cluster again.
    pub proofs: usize,
}

/// A directory that nobody else uses meanwhile.
struct Source {
    data: DataDirectory,
    proofs: usize,
    _claim: Claim,
}

impl Source {
    fn replica(&self) -> ReplicaId {
        self.data.mark().replica
    }

    fn name(&self) -> String {
        format!("{} ({})", self.data.path().display(), self.replica())
    }

    fn found(&self, what: String) -> FoundDisk {
        let (replica, path) = (self.replica(), self.data.path().to_owned());
        FoundDisk { replica, path, what, proofs: self.proofs }
    }
}

/// Takes over what is in these data directories of a cluster, whose replicas do not run. `make`
/// makes the cluster's service; `lost` are the replicas whose disks are gone for good, or lie.
///
/// # Errors
/// If a directory is in use, damaged, or of another cluster; if there are too few; if they do not
/// agree, or some hold what the others lack.
pub fn take_over(
    cluster: &Cluster,
    data: &[PathBuf],
    lost: &[ReplicaId],
    make: &MakeService,
) -> Result<TakenOver, ConvertError> {
    if cluster.durability == Durability::None {
        return refused("the cluster file has durability = \"none\": there is nothing on disk");
    }
    if cluster.master_is_apart() {
        return refused(
            "the master of this cluster is a group of its own ([master]), and the chain's replicas \
             have no vote: in the other fault model it would have other replicas; write its state \
             as commands into another cluster",
        );
    }
    // In the voting mode too: the file says so of the chains to come.
    only_chain(cluster)?;
    let sources = open(cluster, data, lost)?;
    let mut taken = match cluster.fault_model {
        FaultModel::Byzantine => of_voters(cluster, &sources, make),
        FaultModel::FailStop => of_chain(cluster, &sources, lost, make),
    }?;
    taken.carried.from = cluster.id();
    taken.carried.starts =
        sources.iter().map(|s| (s.replica(), s.data.mark().incarnation)).collect();
    Ok(taken)
}

fn refused<T>(why: impl Into<String>) -> Result<T, ConvertError> {
    Err(ConvertError::Refused(why.into()))
}

/// The number of the chain that has all of the state.
fn only_chain(cluster: &Cluster) -> Result<u32, ConvertError> {
    match &cluster.each_chain()[..] {
        [chain] => Ok(chain.number),
        several => refused(format!(
            "the cluster file has {} chains, each with a part of the keys: their states cannot be \
             made one; write them as commands into another cluster",
            several.len()
        )),
    }
}

fn open(
    cluster: &Cluster,
    data: &[PathBuf],
    lost: &[ReplicaId],
) -> Result<Vec<Source>, ConvertError> {
    let mut sources: Vec<Source> = Vec::new();
    for path in data {
        let data = DataDirectory::look(path)?;
        data.belongs_to(cluster)?;
        let claim = Claim::take(path)?;
        let replica = data.mark().replica;
        if let Some(other) = sources.iter().find(|s| s.replica() == replica) {
            let (one, two) = (other.data.path().display(), path.display());
            return refused(format!("{one} and {two} are both of {replica}; give each one's once"));
        }
        let behind = outdated(cluster, &recorded_keys(&data.records()?))?;
        if let Some(replica) = behind.first() {
            return refused(format!(
                "the cluster file is out of date: the key of {replica} was replaced; write what \
                 `quorate admin replace-key` printed into the file first"
            ));
        }
        // Such a replica answers nobody, since it lacks something that it may have answered.
        let damage = data.stored(Some(cluster.ensemble.n()))?.damage;
        let lacks = match (data.mark().disk, damage) {
            (_, Some(damage)) => Some(format!("the log of rounds is damaged: {damage}")),
            (DiskState::Replaced, None) => Some("it stands in for a disk that is lost".to_owned()),
            (DiskState::New | DiskState::Known, None) => None,
        };
        if let Some(lacks) = lacks {
            let (name, number) = (path.display(), replica.number());
            return refused(format!(
                "{name} ({replica}) does not count: {lacks}; repair it (`quorate log repair`), or \
                 leave it out with --lost {number} if what it had may be lost"
            ));
        }
        let proofs = std::fs::read_dir(path.join("evidence")).map_or(0, Iterator::count);
        sources.push(Source { data, proofs, _claim: claim });
    }
    let (wanted, given) = (cluster.ensemble.majority(), sources.len());
    if given < wanted {
        return refused(format!(
            "at least t + 1 = {wanted} data directories are needed, and {given} given"
        ));
    }
    let is_given = |replica: &ReplicaId| sources.iter().any(|s| s.replica() == *replica);
    let missing = cluster.ensemble.replicas().find(|r| !is_given(r) && !lost.contains(r));
    if let Some(replica) = missing {
        return refused(format!(
            "the data directory of {replica} is missing: what a client was told may be on it alone \
             of all that do not lie; give it, or --lost {} if it is gone for good, or lies",
            replica.number()
        ));
    }
    Ok(sources)
}

fn play(
    cluster: &Cluster,
    source: &Source,
    service: Box<dyn Service>,
) -> Result<Player<Ed25519>, ConvertError> {
    Ok(source.data.player(cluster, service, (Watch::NOTHING, 1))?)
}

type MakeBox<'a> = &'a dyn Fn() -> Box<dyn Service>;

/// The histories of the voting group, and what so many of them agree on.
fn histories(
    cluster: &Cluster,
    sources: &[Source],
    (wanted, make): (usize, MakeBox<'_>),
) -> Result<(Agreed, Vec<Executed>), ConvertError> {
    let mut executed = Vec::new();
    for source in sources {
        let found = Executed::all(&mut play(cluster, source, make())?);
        executed.push(found.map_err(|why| {
            let name = source.name();
            ConvertError::Refused(format!("{name}: {why}; leave it out if t + 1 others are well"))
        })?);
    }
    let Some(found) = agreed(wanted, &executed) else {
        let ends = sources.iter().zip(&executed);
        let ends = ends.map(|(s, e)| format!("{} to round {}", s.name(), e.end));
        return refused(format!(
            "no t + 1 of these have the same history: {}; `quorate replay --data ONE --against \
             OTHER` names the first difference",
            ends.collect::<Vec<_>>().join(", ")
        ));
    };
    if let Some((i, round)) = found.differ.first() {
        let (name, of) = (sources[*i].name(), sources[found.of].name());
        return refused(format!(
            "{name} has another state than {of} in round {round}, or none to compare; \
             if it lies or is broken leave it out, otherwise start the cluster once more as it \
             was, so that all come to the same state"
        ));
    }
    Ok((found, executed))
}

/// The state after all that is on this disk.
fn carried(
    cluster: &Cluster,
    source: &Source,
    service: Box<dyn Service>,
) -> Result<Carried, ConvertError> {
    let mut player = play(cluster, source, service)?;
    while player.next().is_some() {}
    let none = || ConvertError::Refused(format!("{}: there is no state at its end", source.name()));
    player.carried().ok_or_else(none)
}

fn of_voters(
    cluster: &Cluster,
    sources: &[Source],
    make: &MakeService,
) -> Result<TakenOver, ConvertError> {
    let wanted = cluster.ensemble.majority();
    let (found, executed) = histories(cluster, sources, (wanted, &*make.0))?;
    if let Some((i, more)) = found.beyond.first() {
        let name = sources[*i].name();
        return refused(format!(
            "{name} holds {more} request(s) after round {}, which t + 1 replicas do not have: a \
             client may know of them; start the cluster once more as it was, without clients, \
             until all have executed the same, and stop it again; or leave it out if it lies",
            found.round
        ));
    }
    if let Some(i) = executed.iter().position(|e| !e.is_settled) {
        let name = sources[i].name();
        return refused(format!(
            "{name} ends with requests under way, of which others may have answered: start the \
             cluster once more as it was, without clients, until all have executed the same, and \
             stop it again"
        ));
    }
    let disks = sources.iter().zip(&executed).map(|(source, executed)| {
        source.found(format!("executed again to round {}", executed.end))
    });
    let disks = disks.collect();
    let at = format!("round {}, which {} replicas agree on", found.round, found.by.len());
    let mut carried = carried(cluster, &sources[found.of], (make.0)())?;
    // The others may have gone on by steps without requests.
    let times = found.by.iter().map(|i| executed[*i].time);
    carried.time = times.fold(carried.time, AgreedTime::max);
    Ok(TakenOver { carried, disks, at })
}

/// The last configuration that the master has given.
fn last_config(cluster: &Cluster, sources: &[Source]) -> Result<ChainConfig, ConvertError> {
    let master = || -> Box<dyn Service> { Box::new(master_of(cluster)) };
    // Nobody lies: the longest history has all that a member was told.
    let (found, _) = histories(cluster, sources, (1, &master))?;
    let state = carried(cluster, &sources[found.of], master())?;
    let mut master: Master = master_of(cluster);
    let read = master.restore(&state.service);
    read.map_err(|e| ConvertError::Refused(format!("the state of the chain's master: {e}")))?;
    let show = Command::Show { chain: only_chain(cluster)? }.encode();
    let answer = master.query(AgreedTime(0), &ClientId([0; 32]), &show);
    match Answer::parse(&answer) {
        Ok(Answer::Chain { config, .. }) => Ok(config),
        Ok(Answer::Refused(why)) => refused(why),
        Err(e) => refused(format!("the state of the chain's master: {e}")),
    }
}

fn of_chain(
    cluster: &Cluster,
    sources: &[Source],
    lost: &[ReplicaId],
    make: &MakeService,
) -> Result<TakenOver, ConvertError> {
    let config = last_config(cluster, sources)?;
    let number = config.number;
    let (mut members, mut whose) = (Vec::new(), Vec::new());
    for member in config.members.iter().filter(|m| !lost.contains(&m.replica)) {
        let replica = member.replica;
        let Some(i) = sources.iter().position(|s| s.replica() == replica) else {
            return refused(format!(
                "{replica} is a member of the chain's last configuration ({number}); give its data \
                 directory, or --lost {} if that is gone for good",
                replica.number()
            ));
        };
        members.push(recover(cluster, &sources[i], (number, member.incarnation), make)?);
        whose.push(i);
    }
    if members.is_empty() {
        return refused("all members of the chain's last configuration are lost: no state is left");
    }
    let whole = whole_chain(members).map_err(|unlike| {
        let (name, beside) =
            (sources[whose[unlike.of]].name(), sources[whose[unlike.beside]].name());
        let why = unlike.why;
        let remedy =
            "if its disk was replaced or put back from a copy, say --lost N and leave it out";
        ConvertError::Refused(format!("{name}, beside {beside}: {why}; {remedy}"))
    })?;
    let disks = sources.iter().enumerate().map(|(i, source)| {
        let what = match whose.iter().position(|member| *member == i) {
            None => "a spare: only what the master knows was read".to_owned(),
            Some(at) if whole.dropped[at] > 0 => format!(
                "a member: up to update {}; {} behind that were never committed",
                whole.shared[at], whole.dropped[at]
            ),
            Some(at) => format!("a member: up to update {}", whole.shared[at]),
        };
        source.found(what)
    });
    let disks = disks.collect();
    let last = whole.state.last().number;
    let at = format!("update {last}, of the chain's configuration {number}");
    Ok(TakenOver { carried: whole.state.carried(), disks, at })
}

/// What a member's disk has of the chain.
fn recover(
    cluster: &Cluster,
    source: &Source,
    (config, life): (u64, u64),
    make: &MakeService,
) -> Result<Recovered, ConvertError> {
    let (path, mark) = (source.data.path(), source.data.mark());
    let chain = only_chain(cluster)?;
    let (found, own) = chain_disk::look(path, (cluster.id(), mark.replica, chain))?;
    let (name, number) = (source.name(), mark.replica.number());
    if own < life {
        return refused(format!(
            "{name} is an older copy: this replica was a member of the chain in a later life; give \
             the directory that it ran on, or --lost {number} if that is gone for good"
        ));
    }
    let is_empty = found.state.is_none() && found.log.is_empty();
    if is_empty && config > 0 {
        return refused(format!(
            "{name} holds nothing of the chain, of which it was a member; say --lost {number} if \
             there is nothing else"
        ));
    }
    let mut service = (make.0)();
    let initial = initial::load(path, cluster, &mut *service)?;
    let begins = chained::beginning_with(make.clone(), initial);
    let bounds = (cluster.limits, cluster.context(GroupId::of_chain(chain)));
    let recovered = Recovered::new(begins, bounds, &found);
    recovered.map_err(|why| {
        let remedy = format!("say --lost {number} if the other members are well");
        ConvertError::Refused(format!("{name}: {why}; {remedy}"))
    })
}

/// What was done with a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It was there, and lies under this name now; a new one begins with the state.
    Aside(PathBuf),
    /// There was none.
    New,
    /// It had the state before.
    Before,
}

/// Gives a replica a data directory that begins with the state that the cluster file names. One
/// that is there is moved aside, and nothing of it is lost. May be repeated after an interruption.
///
/// # Errors
/// If the cluster file names another state; if the directory is in use, is no replica's, or cannot
/// be moved.
pub fn install(
    directory: &Path,
    cluster: &Cluster,
    state: &InitialState,
    dry_run: bool,
) -> Result<Installed, ConvertError> {
    // With a slash at its end the other name would be below it.
    let directory = &directory.components().collect::<PathBuf>();
    initial::is_named(directory, cluster, state)?;
    let (_, carried) = state.parts().map_err(|e| ConvertError::Refused(e.to_string()))?;
    let id = cluster.id().to_hex();
    let mut name = directory.as_os_str().to_owned();
    name.push(format!(".before-{}", &id[..8]));
    let aside = PathBuf::from(name);
    let failed = |path: &Path, reason: String| DaemonError::Data { path: path.to_owned(), reason };
    // Held until it has its other name.
    let claim = directory.is_dir().then(|| Claim::take(directory)).transpose()?;
    let installed = match claim.as_ref().map(|_| mark::read(directory)).transpose()?.flatten() {
        Some(mark) if mark.cluster == cluster.id() => return Ok(Installed::Before),
        Some(mark) => {
            is_as_it_was(directory, mark, carried.as_ref())?;
            Installed::Aside(aside)
        }
        None if initial::has(directory, state) => return Ok(Installed::Before),
        None if claim.is_none() || is_empty(directory) => Installed::New,
        None => {
            let what = "holds files, but no cluster.mark, so no replica has started on it; give \
                        the data directory of a replica, or a new one, with --data";
            return Err(failed(directory, what.to_owned()).into());
        }
    };
    if let Installed::Aside(aside) = &installed {
        if aside.exists() {
            let what = "is there already, so the directory cannot be moved to this name: move it \
                        elsewhere first";
            return Err(failed(aside, what.to_owned()).into());
        }
        if !dry_run {
            let moved = files::rename(directory, aside);
            moved.map_err(|e| failed(directory, format!("cannot be moved aside: {e}")))?;
        }
    }
    drop(claim);
    if !dry_run {
        initial::prepare(directory, cluster, state)?;
    }
    Ok(installed)
}

/// Whether a directory still is what the state was taken from.
fn is_as_it_was(
    directory: &Path,
    mark: Mark,
    carried: Option<&Carried>,
) -> Result<(), ConvertError> {
    let Some(carried) = carried else { return Ok(()) };
    let (name, replica) = (directory.display(), mark.replica);
    if mark.cluster != carried.from {
        return refused(format!(
            "{name} is of cluster {}, and the state was taken from {}: give a data directory of \
             that one, or a new one",
            mark.cluster, carried.from
        ));
    }
    let starts = carried.starts.iter().find(|(of, _)| *of == replica).map(|(_, starts)| *starts);
    match starts.filter(|starts| mark.incarnation > *starts) {
        None => Ok(()),
        Some(_) => refused(format!(
            "{name}: {replica} has been started on it since the state was taken, so it may hold \
             more: stop all replicas and take the state anew (`quorate convert --to`)"
        )),
    }
}

/// Whether there is nothing in it but what an interrupted installation left.
fn is_empty(directory: &Path) -> bool {
    let left = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(".initial.state.");
    std::fs::read_dir(directory).is_ok_and(|mut entries| {
        entries.all(|entry| entry.is_ok_and(|entry| left(&entry.file_name())))
    })
}
