//! What can go wrong in a world, and when.

use super::NodeId;
use std::time::Duration;

/// Something bad that happens at a given time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The link of two nodes breaks and stays down for so long.
    Break(NodeId, NodeId, Duration),
    /// All links of a node break and stay down for so long.
    Isolate(NodeId, Duration),
    /// A node does nothing for so long; what comes waits for it. Its clocks go on.
    Pause(NodeId, Duration),
    /// A node's machine is suspended for so long: as a pause, but its monotonic clock stands still
    /// meanwhile (D16). What it thinks has just happened was long ago.
    Suspend(NodeId, Duration),
    /// Messages of one direction take so much longer, for so long.
    Slow {
        /// Sender.
        from: NodeId,
        /// Receiver.
        to: NodeId,
        /// How much longer.
        extra: Duration,
        /// For how long.
        lasts: Duration,
    },
    /// A node's wall clock is set forward or back by so many microseconds.
    Step(NodeId, i64),
    /// A node stops for ever, or until [`super::World::start`]; its links are gone at once.
    Stop(NodeId),
    /// A node stops at once, as by `kill -9` or without power: what it has not synced may be lost
    /// in part or in whole, and so may what it has just sent. It is started again after so long.
    Crash(NodeId, Duration),
    /// A node stops as in a crash, and its disk is gone: it is started again after so long on an
    /// empty one (D18).
    LoseDisk(NodeId, Duration),
    /// A node crashes when it has written to its disk for the n-th time from now on.
    CrashAt {
        /// Which node.
        node: NodeId,
        /// Where exactly.
        point: CrashPoint,
        /// At which write from now, from 1.
        nth: u64,
        /// When it is started again.
        down_for: Duration,
    },
    /// What one node sends another is held back for so long, while the other direction goes on.
    Cut {
        /// Sender.
        from: NodeId,
        /// Receiver.
        to: NodeId,
        /// For how long; then what was held back arrives.
        lasts: Duration,
        /// When the link breaks by that, with all that is held back, if it does. It stays down
        /// until the end of the cut.
        breaks_after: Option<Duration>,
    },
    /// Messages of one direction take just so long, for so long.
    Edge {
        /// Sender.
        from: NodeId,
        /// Receiver.
        to: NodeId,
        /// How long each takes, a little more or less than Δ.
        takes: Duration,
        /// Whether that is less than Δ.
        below: bool,
        /// For how long.
        lasts: Duration,
    },
    /// A node's wall clock runs too fast by so many parts per million from now on.
    Drift(NodeId, i64),
    /// A node's monotonic clock runs too fast by so many parts per million from now on.
    Rate(NodeId, i64),
    /// All replicas crash. Each is started again after a time of its own between these two.
    PowerCut {
        /// The least.
        from: Duration,
        /// The most.
        to: Duration,
    },
    /// A replica's disk takes so much longer for each write, for so long.
    SlowDisk {
        /// Whose.
        node: NodeId,
        /// How much longer.
        extra: Duration,
        /// For how long.
        lasts: Duration,
    },
}

/// A place around a write to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// Before the write is durable: it may be lost.
    Before,
    /// The write is durable and the node does not know it yet.
    Untold,
    /// The node knows it and has acted on it.
    After,
}

/// What can strike by the choice of the seed, by name: kinds of [`Fault`], places of a
/// [`CrashPoint`], and what links and disks do by themselves.
pub const KINDS: [&str; 27] = [
    "crash laid at a sync",
    "crashed after a sync, untold",
    "crashed after acting on a sync",
    "crashed before a sync",
    "delay just above the bound",
    "delay just below the bound",
    "direction cut",
    "direction cut until the link breaks",
    "disk slowed",
    "frame doubled",
    "frame dropped",
    "frame reordered",
    "frame sent again",
    "link broken",
    "link broken by loss",
    "link closed by a node",
    "link slowed",
    "malformed frame",
    "monotonic clock drifts",
    "node crashed",
    "node isolated",
    "node paused",
    "power cut",
    "unsynced record lost",
    "unsynced record survived",
    "wall clock drifts",
    "wall clock stepped",
];

impl CrashPoint {
    /// All of them.
    pub const ALL: [CrashPoint; 3] = [CrashPoint::Before, CrashPoint::Untold, CrashPoint::After];

    /// Its name in the table of faults that have struck.
    pub fn name(self) -> &'static str {
        match self {
            CrashPoint::Before => "crashed before a sync",
            CrashPoint::Untold => "crashed after a sync, untold",
            CrashPoint::After => "crashed after acting on a sync",
        }
    }
}

impl Fault {
    /// Its name in the table of faults that have struck.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Break(..) => "link broken",
            Fault::Isolate(..) => "node isolated",
            Fault::Pause(..) => "node paused",
            Fault::Suspend(..) => "node suspended",
            Fault::Slow { .. } => "link slowed",
            Fault::Step(..) => "wall clock stepped",
            Fault::Stop(..) => "node stopped",
            Fault::Crash(..) => "node crashed",
            Fault::LoseDisk(..) => "disk lost",
            Fault::CrashAt { .. } => "crash laid at a sync",
            Fault::Cut { breaks_after: None, .. } => "direction cut",
            Fault::Cut { .. } => "direction cut until the link breaks",
            Fault::Edge { below: true, .. } => "delay just below the bound",
            Fault::Edge { .. } => "delay just above the bound",
            Fault::Drift(..) => "wall clock drifts",
            Fault::Rate(..) => "monotonic clock drifts",
            Fault::PowerCut { .. } => "power cut",
            Fault::SlowDisk { .. } => "disk slowed",
        }
    }
}
