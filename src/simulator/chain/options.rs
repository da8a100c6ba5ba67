//! What is to be played, and what came of it.

use crate::chain::{ChainLimits, Stats};
use std::time::Duration;

/// A run.
#[derive(Clone, Debug)]
pub struct ChainOptions {
    /// Replicas that there are; the first ones are the chain's first members, the rest spares.
    pub replicas: u8,
    /// Members that the chain begins with, and that it should have.
    pub length: u8,
    /// Whether queries go to any replica (CH-Q2), or to the tail alone.
    pub reads_any: bool,
    /// Clients, each with one request at a time.
    pub clients: u8,
    /// Clients with the core that programs use, each with several requests at a time.
    pub callers: u8,
    /// Requests of each.
    pub calls: u32,
    /// More clients of the first kind, which ask without a pause in the second third of
    /// [`ChainOptions::within`], and never again.
    pub burst: u8,
    /// Keys that all of them ask for.
    pub keys: u64,
    /// Replicas that stop and lose what is not synced; they start again a little later.
    pub crashes: u32,
    /// Outages that hit all replicas at once.
    pub outages: u32,
    /// Replicas that stand still for a while and go on.
    pub pauses: u32,
    /// Links between replicas that break and come back.
    pub breaks: u32,
    /// Replicas that the master does not hear for a while: it takes them out, and they live.
    pub cuts: u32,
    /// Times that the master itself does not answer.
    pub master_stops: u32,
    /// Thousandths of messages to and from clients and the master that are lost.
    pub loss: u32,
    /// How long a message to the master, or from it, takes at most.
    pub master_delay: Duration,
    /// Orders of members that an operator changes.
    pub reorders: u32,
    /// Disks that are lost: of one replica while all members live, or of one while all are down.
    /// It starts on an empty one, and an operator strikes it out if the chain waits for it. Not to
    /// be played with other stops: if another member starts again before the master has noticed,
    /// the lost one is the last member, and nobody knows that it had nothing that others lack.
    pub losses: u32,
    /// Whether a replica on an empty disk does not know whether one was lost, as where the master
    /// is a group of its own; otherwise it is told ([`crate::chain::Setup::unsure`]).
    pub unsure: bool,
    /// Wall clocks that jump, forwards or back.
    pub jumps: u32,
    /// Disks on which a state or a record rots while their replica is stopped. Like losses not to
    /// be played with other stops.
    pub rots: u32,
    /// Times that the writes of a replica take long.
    pub slows: u32,
    /// Times that a link carries few bytes in a second, in one direction.
    pub narrows: u32,
    /// Whether all links do so all the time.
    pub narrow: bool,
    /// Faults happen within this time from the start; after it all is well.
    pub within: Duration,
    /// When everything must be done.
    pub time_limit: Duration,
    /// A lease.
    pub lease: Duration,
    /// Its margin, at both ends.
    pub margin: Duration,
    /// How much faster or slower clocks run at most, in thousandths.
    pub drift: u64,
    /// Bounds of the replicas: small ones, so that they are reached.
    pub limits: ChainLimits,
}

impl ChainOptions {
    /// A chain of this length without any faults, and one spare.
    pub fn quiet(length: u8) -> Self {
        Self {
            replicas: length + 1,
            length,
            reads_any: true,
            clients: 3,
            callers: 0,
            calls: 30,
            burst: 0,
            keys: 3,
            crashes: 0,
            outages: 0,
            pauses: 0,
            breaks: 0,
            cuts: 0,
            master_stops: 0,
            loss: 20,
            master_delay: Duration::from_millis(6),
            reorders: 0,
            losses: 0,
            unsure: false,
            jumps: 0,
            rots: 0,
            slows: 0,
            narrows: 0,
            narrow: false,
            within: Duration::from_millis(3000),
            time_limit: Duration::from_secs(60),
            lease: Duration::from_millis(400),
            margin: Duration::from_millis(40),
            drift: 20,
            limits: ChainLimits {
                pending: 16,
                pending_bytes: 4096,
                per_client: 4,
                window: 8,
                window_bytes: 300,
                batch_bytes: 400,
                kept: 6,
                kept_bytes: 250,
                close: 2,
                log_bytes: 1200,
                queries: 16,
                snapshot_bytes: 1 << 20,
            },
        }
    }

    /// The same with faults of every kind.
    pub fn rough(length: u8) -> Self {
        Self {
            crashes: 4,
            outages: 1,
            pauses: 3,
            breaks: 5,
            cuts: 2,
            master_stops: 1,
            reorders: 2,
            jumps: 3,
            slows: 2,
            narrows: 2,
            calls: 60,
            ..Self::quiet(length)
        }
    }
}

/// What a run did: so that tests can see that what they are about has happened.
#[derive(Clone, Debug, Default)]
pub struct ChainReport {
    /// Events of the world.
    pub events: u64,
    /// When the last client was done, in microseconds.
    pub done: u64,
    /// Updates executed.
    pub updates: u64,
    /// When clients of the first kind were answered that are not of a burst, in microseconds.
    pub answers: Vec<u64>,
    /// Bytes of the records on one disk at most.
    pub log_bytes: usize,
    /// Updates of callers answered.
    pub answered: u64,
    /// Requests that callers sent to another replica because they had learnt something.
    pub moved: u64,
    /// Requests of callers that were refused.
    pub refused: u64,
    /// Queries answered.
    pub queries: u64,
    /// The number of the last configuration.
    pub configs: u64,
    /// How often an update's number was asked for again by its client.
    pub repeats: u64,
    /// Times that a state that was reached by several was compared.
    pub states_compared: u64,
    /// Disks that were lost.
    pub losses: u64,
    /// Times that an operator struck a lost disk out of a chain that waited for it.
    pub struck: u64,
    /// Disks on which something has rotted.
    pub rots: u64,
    /// Starts from an older state, since the newest was damaged.
    pub older: u64,
    /// Frames that waited for a link that was narrow.
    pub held_up: u64,
    /// Updates that were on their way over one link at a time at most.
    pub on_the_way: u64,
    /// The same in bytes.
    pub bytes_on_the_way: usize,
    /// Starts that were refused since what was needed was damaged; an operator replaced the disk.
    pub replaced: u64,
    /// Counters of all lives of all replicas together.
    pub stats: Stats,
}
