//! Whether a service is deterministic: what a disk holds is executed twice at the same time, in
//! two threads.

use super::DaemonError;
use crate::crypto::Scheme;
use crate::offline::{Difference, Lockstep, Player, SeenStep};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Steps that the one execution may be ahead of the other.
const AHEAD: usize = 256;

/// What two executions came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Steps and commands that were compared.
    pub compared: (u64, u64),
    /// Where the two first differ.
    pub difference: Option<Difference>,
    /// Why the one or the other did not get on: a service that panics, an entry that cannot be
    /// used.
    pub failed: Option<String>,
}

/// Executes the same commands twice and compares outputs, digests and snapshots.
///
/// `make` is called twice, with the numbers 1 and 2, each time in a thread of its own: there
/// [`std::collections::HashMap`] has another random seed, and memory other addresses. It gives the
/// execution of one disk with a new service, with [`crate::offline::Watch::ALL`] and the number as
/// the seed; see [`super::DataDirectory::player`].
///
/// It finds what depends on random seeds, addresses, clocks that are read often enough, and state
/// outside of the service. What is the same in every run on this machine and differs on another,
/// such as floating point or a path, it does not find.
///
/// ```no_run
/// use quorate::daemon::{DataDirectory, check_determinism};
/// use quorate::offline::Watch;
/// use quorate::service::counter::Counter;
///
/// let cluster = quorate::files::load_cluster("quorate.toml".as_ref()).expect("a cluster file");
/// let data = DataDirectory::look("data/replica-1".as_ref()).expect("a data directory");
/// let runs = check_determinism(&|seed| {
///     // Your service goes here.
///     data.player(&cluster, Box::new(Counter::default()), (Watch::ALL, seed))
/// })
/// .expect("a disk that can be read");
/// assert_eq!(runs.difference, None);
/// ```
///
/// # Errors
/// Whatever `make` gives.
pub fn check_determinism<S: Scheme>(
    make: &(dyn Fn(u64) -> Result<Player<S>, DaemonError> + Sync),
) -> Result<Runs, DaemonError> {
    std::thread::scope(|scope| {
        let mut ends = Vec::new();
        let mut threads = Vec::new();
        for number in 1..=2u64 {
            let (to, from) = sync_channel(AHEAD);
            ends.push(from);
            threads.push(scope.spawn(move || play(make, number, &to)));
        }
        let (compared, difference) = compare(&ends);
        // Whoever is ahead need not go on.
        drop(ends);
        let mut failed = None;
        for thread in threads {
            let ended = thread.join();
            let why = ended.unwrap_or_else(|_| Ok(Some("a thread has panicked".to_owned())))?;
            failed = failed.or(why);
        }
        // One that ended early is a difference that its reason explains.
        Ok(Runs { compared, difference, failed })
    })
}

fn play<S: Scheme>(
    make: &(dyn Fn(u64) -> Result<Player<S>, DaemonError> + Sync),
    number: u64,
    to: &SyncSender<SeenStep>,
) -> Result<Option<String>, DaemonError> {
    // So that what is allocated from here on does not lie where it does in the other thread.
    let ballast = vec![0u8; 4099 * usize::try_from(number).unwrap_or(1)];
    let mut player = make(number)?;
    for step in player.by_ref() {
        if to.send(step).is_err() {
            return Ok(None);
        }
    }
    drop(ballast);
    Ok(player.failed().map(str::to_owned))
}

fn compare(ends: &[Receiver<SeenStep>]) -> ((u64, u64), Option<Difference>) {
    let (mut lockstep, mut commands) = (Lockstep::new(), 0);
    while let Some(which) = lockstep.needs() {
        let Some(Ok(step)) = ends.get(which).map(Receiver::recv) else { break };
        if which == 0 {
            commands += step.requests.iter().map(|r| r.commands.len() as u64).sum::<u64>();
        }
        let difference = lockstep.take(which, step);
        if difference.is_some() {
            return ((lockstep.compared().0, commands), difference);
        }
    }
    ((lockstep.compared().0, commands), None)
}
