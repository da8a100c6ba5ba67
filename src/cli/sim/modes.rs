//! What goes wrong in a simulated run: a function of the mode and the seed.

use crate::adversary::{Lie, OrderingLie, ReceiptLie, ReplyLie, Sides, WholeLie};
use crate::simulator::{ClientLie, Dice, Fault, Given, NodeId, Options, RandomFaults};
use crate::simulator::{Receipts, Workload};
use crate::types::{ClockKind, Durability, MembershipLimits, OrderLimits, ReplicaId};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The stream of the seed that decides on what goes wrong; the simulator has those below.
const STREAM: u64 = 1 << 32;
/// The stream that decides on the load.
const LOAD: u64 = STREAM + 1;

/// The stream that decides on what is on disk.
const DISK: u64 = STREAM + 2;

/// The stream that decides on how patient clients are.
const PATIENCE: u64 = STREAM + 3;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    /// Anything at all
    Random,
    /// Nothing
    Calm,
    /// The network: loss, broken links, one-way cuts, delays around Δ
    Network,
    /// Clocks that jump and run wrong
    Clocks,
    /// Replicas that stand still for a while
    Pause,
    /// Replicas that crash, also around each write to their disk, and slow disks
    Crash,
    /// All replicas without power at once
    Power,
    /// Power cuts and crashes so close together that they hit a group that is not whole again
    Outages,
    /// The same with disks slower than Δ, many requests under way, and clients that give up
    SlowOutages,
    /// Replicas and clients that lie
    Liars,
    /// Replicas that lie about the order; it must be fair
    Fair,
    /// Clients that read without ordering, while replicas crash, stand still, are cut off, and
    /// tell what is over
    Reads,
    /// Replicas that lie, as often as not two with one key, on a network that does not keep to Δ;
    /// clients make receipts of whatever any replica answers. No two strong ones may contradict
    /// each other; others do
    Receipts,
    /// Large results, which one replica sends whole and the others by a digest, while those lie
    /// about them, crash, stand still or are cut off
    Large,
}

/// How many replicas lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liars {
    /// So many.
    Count(u8),
    /// As many as may.
    T,
    /// One more than may.
    OneMore,
}

impl Liars {
    /// How many these are where `t` may be bad.
    pub(super) fn count(self, t: u8) -> u8 {
        match self {
            Liars::Count(count) => count,
            Liars::T => t,
            Liars::OneMore => t.saturating_add(1),
        }
    }
}

impl FromStr for Liars {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "t" => Ok(Liars::T),
            "t+1" => Ok(Liars::OneMore),
            _ => text.parse().map(Liars::Count).map_err(|_| "a number, t or t+1".to_owned()),
        }
    }
}

impl fmt::Display for Liars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Liars::Count(count) => write!(f, "{count}"),
            Liars::T => f.write_str("t"),
            Liars::OneMore => f.write_str("t+1"),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self);
        f.write_str(value.as_ref().map_or("", |v| v.get_name()))
    }
}

impl Mode {
    /// The options of one run. `liars` says how many lie, if that is not left to the mode.
    pub(super) fn options(self, seed: u64, t: u8, liars: Option<u8>) -> Options {
        let mut dice = Dice::new(seed, STREAM);
        let mut options = base(&mut dice, t);
        load(&mut options, &mut Dice::new(seed, LOAD));
        disk(&mut options, &mut Dice::new(seed, DISK));
        match self {
            Mode::Calm => {}
            Mode::Fair => fair(&mut options, &mut dice),
            Mode::Random => anything(&mut options, &mut dice),
            Mode::Network => network(&mut options, &mut dice),
            Mode::Clocks => clocks(&mut options, &mut dice),
            Mode::Pause => options.random_faults.pauses = few(&mut dice, 1, 8),
            Mode::Crash => crashes(&mut options, &mut dice),
            Mode::Power => options.random_faults.power_cuts = few(&mut dice, 1, 2),
            Mode::Outages => {
                outages(&mut options, &mut dice);
                patience(&mut options, &mut Dice::new(seed, PATIENCE));
            }
            Mode::SlowOutages => {
                outages(&mut options, &mut dice);
                slow(&mut options, &mut Dice::new(seed, PATIENCE));
            }
            Mode::Reads => reads(&mut options, &mut dice),
            Mode::Receipts => receipts(&mut options, &mut dice),
            Mode::Large => large(&mut options, &mut dice),
            Mode::Liars => {
                if dice.chance(500) {
                    options.lying_clients.push(*dice.pick(&ClientLie::ALL));
                }
            }
        }
        let usual = match self {
            Mode::Liars | Mode::Fair => u64::from(t),
            // Those with one key count, too.
            Mode::Receipts => u64::from(t).saturating_sub(options.doubled.len() as u64),
            Mode::Reads | Mode::Large if dice.chance(500) => u64::from(t),
            // Now and then more than are tolerated.
            Mode::Random if dice.chance(100) => u64::from(t) + 1,
            // Liars among all other faults are soon more than anything is promised for.
            Mode::Random if dice.chance(500) => 0,
            Mode::Random => dice.between(0, u64::from(t)),
            _ => 0,
        };
        let lies: Vec<Lie> = match self {
            Mode::Fair => OrderingLie::ALL.map(Lie::Ordering).into_iter().collect(),
            Mode::Reads if dice.chance(700) => vec![Lie::StaleRead],
            Mode::Receipts if dice.chance(500) => ReceiptLie::ALL.map(Lie::Receipt).into(),
            Mode::Large if dice.chance(700) => WholeLie::ALL.map(Lie::Whole).into_iter().collect(),
            Mode::Large => ReplyLie::ALL.map(Lie::Reply).into_iter().collect(),
            // Few runs fetch a state: those who lie about one would mostly be honest.
            _ => Lie::all().filter(|lie| !matches!(lie, Lie::Source(_))).collect(),
        };
        lie(&mut options, liars.map_or(usual, u64::from), &lies, &mut dice);
        if self == Mode::Fair && options.liars.len() <= usize::from(t) {
            // Everything is promised, and all of it is asked for.
            (options.by_cell, options.heal_at, options.heal_bound) = (false, None, None);
        }
        options
    }
}

/// The waits under the logical clock, in which an idle group makes a tick in a round or so: in such
/// proportions to each other as others have, and over before a run is.
const TICKS: MembershipLimits =
    MembershipLimits { join_wait: 10, join_wait_cap: 3_000, good_service: 6_000, join_lag: 1024 };

fn base(dice: &mut Dice, t: u8) -> Options {
    let ms = Duration::from_millis;
    let clocks = [ClockKind::Hybrid, ClockKind::RealTime, ClockKind::Logical];
    let clock = *dice.pick(&clocks);
    let mut limits = OrderLimits::default();
    if clock == ClockKind::Logical {
        limits.membership = TICKS;
    }
    Options {
        t,
        clock,
        limits,
        by_cell: true,
        heal_at: Some(ms(2500)),
        heal_bound: Some(ms(2500)),
        time_limit: ms(40_000),
        random_faults: RandomFaults { within: ms(2000), lasts: ms(400), ..RandomFaults::NONE },
        ..Options::named("sim")
    }
}

// Short runs: two sides that hear only what a liar says to each of them go on by themselves within
// a few hundred milliseconds, and are together again soon after.
fn receipts(options: &mut Options, dice: &mut Dice) {
    let ms = Duration::from_millis;
    options.receipts = Receipts::OfReplies;
    (options.heal_at, options.settle) = (Some(ms(1000)), ms(800));
    (options.clients, options.must_finish) = (2, false);
    let calls = dice.between(6, 12);
    options.workload = Workload {
        calls,
        pipeline: 3,
        // Half of that on the average, until the end.
        think: ms(3600 / calls),
        keys: 2,
        commands: 2,
        value_bytes: 0,
    };
    if dice.chance(300) {
        options.random_faults.crashes = few(dice, 1, 3);
        options.random_faults.power_cuts = few(dice, 0, 1);
        // Who forgets what it attested contradicts itself without any lie.
        options.durability = Durability::Reply;
    }
    if dice.chance(400) {
        return network(options, dice);
    }
    // All liars are two with one key each; the others are on one side or the other.
    let mut places: Vec<usize> = (0..2 * usize::from(options.t) + 1).collect();
    let mut take = |dice: &mut Dice| {
        places.swap_remove(usize::try_from(dice.below(places.len() as u64)).unwrap_or(0))
    };
    let liars: Vec<usize> = (0..options.t).map(|_| take(dice)).collect();
    let mut sides = [vec![take(dice)], vec![take(dice)]];
    places.into_iter().for_each(|other| sides[usize::from(dice.chance(500))].push(other));
    let node = |place: &usize| NodeId::Replica(ReplicaId::from_index(*place));
    let (at, lasts) = (ms(dice.between(50, 400)), ms(dice.between(200, 900)));
    // They are one until about then.
    options.lies_from = at - ms(dice.below(20));
    for (one, other) in sides[0].iter().flat_map(|a| sides[1].iter().map(move |b| (a, b))) {
        for (from, to) in [(node(one), node(other)), (node(other), node(one))] {
            let cut = Fault::Cut { from, to, lasts, breaks_after: None };
            options.faults.push((at, cut));
        }
    }
    let second = sides[1].iter().map(|place| ReplicaId::from_index(*place)).collect();
    let deaf = dice.chance(800);
    options.doubled.extend(liars.into_iter().map(|liar| (liar, Sides { second, deaf })));
}

// Most reads meet with writes under way, which are few and about few keys.
fn reads(options: &mut Options, dice: &mut Dice) {
    options.queries = few(dice, 300, 850);
    options.workload.keys = dice.between(1, 2);
    options.workload.commands = dice.between(1, 2);
    if dice.chance(500) {
        // Many at a time.
        options.workload.think /= 20;
        options.workload.calls *= 3;
    }
    match dice.below(8) {
        0 => {}
        // One hears late from another what all have chosen, though not too late.
        6 | 7 => one_lags(options, dice),
        1 => network(options, dice),
        2 => options.random_faults.pauses = few(dice, 1, 4),
        3 => crashes(options, dice),
        4 => options.random_faults.power_cuts = few(dice, 1, 2),
        _ => clocks(options, dice),
    }
}

// C3: values as large as the digested results of a real cluster, or small ones that are taken for
// large.
fn large(options: &mut Options, dice: &mut Dice) {
    options.queries = few(dice, 0, 700);
    let bytes = usize::try_from(dice.between(1000, 6000)).unwrap_or(0);
    match dice.chance(300) {
        true => options.workload.value_bytes = bytes,
        false => options.quotas.whole_bytes = few(dice, 0, 30),
    }
    match dice.below(8) {
        0..3 => {}
        3 | 4 => network(options, dice),
        5 => options.random_faults.pauses = few(dice, 1, 6),
        6 => crashes(options, dice),
        _ => options.random_faults.power_cuts = few(dice, 1, 2),
    }
}

fn one_lags(options: &mut Options, dice: &mut Dice) {
    let n = 2 * u64::from(options.t) + 1;
    let to = dice.below(n);
    let node =
        |place: u64| NodeId::Replica(ReplicaId::from_index(usize::try_from(place).unwrap_or(0)));
    let delta = u64::try_from(options.timing.delta.as_micros()).unwrap_or(u64::MAX);
    for from in (0..n).filter(|from| *from != to) {
        if dice.chance(600) {
            let takes = Duration::from_micros(dice.between(delta / 4, delta * 9 / 10));
            let (from, to, below) = (node(from), node(to), true);
            let lasts = Duration::from_millis(2500);
            let edge = Fault::Edge { from, to, takes, below, lasts };
            options.faults.push((Duration::from_millis(5), edge));
        }
    }
}

// Most runs carry few requests, over the time of the faults and beyond it: what goes wrong goes
// wrong as often as under load, and a run costs a tenth. One of eight is busy.
fn load(options: &mut Options, dice: &mut Dice) {
    let busy = dice.below(8) == 0;
    let (clients, calls) = match busy {
        true => (few(dice, 2, 4), dice.between(20, 150)),
        false => (few(dice, 1, 3), dice.between(3, 7)),
    };
    options.clients = clients;
    options.client_acts = if busy { 30 } else { few(dice, 3, 8) };
    options.workload = Workload {
        calls,
        pipeline: usize::try_from(dice.between(1, 6)).unwrap_or(1),
        // Calls go on for a while after the faults are over.
        think: Duration::from_millis(dice.between(6000, 9000) / calls),
        keys: dice.between(1, 6),
        commands: dice.between(1, 4),
        value_bytes: 0,
    };
}

// With a log as it is usual, now and then with a snapshot every few rounds; or with none.
fn disk(options: &mut Options, dice: &mut Dice) {
    if dice.chance(400) {
        return;
    }
    options.durability = Durability::Reply;
    if dice.chance(500) {
        // Slow enough for much to be under way when the power goes.
        options.world.disk.max_delay = Duration::from_millis(dice.between(5, 40));
    }
    if dice.chance(400) {
        options.limits.checkpoint_every = dice.between(2, 16);
        options.quotas.log_bytes = dice.between(1000, 20_000);
    }
}

fn anything(options: &mut Options, dice: &mut Dice) {
    if dice.chance(500) {
        network(options, dice);
    }
    if dice.chance(300) {
        clocks(options, dice);
    }
    if dice.chance(300) {
        options.random_faults.pauses = few(dice, 1, 4);
    }
    if dice.chance(400) {
        crashes(options, dice);
    }
    if dice.chance(100) {
        options.random_faults.power_cuts = 1;
    }
    if dice.chance(300) {
        options.lying_clients.push(*dice.pick(&ClientLie::ALL));
    }
}

fn network(options: &mut Options, dice: &mut Dice) {
    let links = &mut options.world.network;
    links.max_delay = Duration::from_micros(dice.between(500, 8000));
    links.jitter = Duration::from_micros(dice.between(100, 4000));
    links.grain = Duration::from_micros(dice.between(1, 1000));
    links.bulk_jitter = Duration::from_millis(dice.between(0, 10));
    links.reorder = dice.chance(300);
    links.unruly_bulk = dice.chance(300);
    let rates = [
        &mut links.drop_per_mille,
        &mut links.duplicate_per_mille,
        &mut links.resend_per_mille,
        &mut links.break_per_mille,
    ];
    for (rate, most) in rates.into_iter().zip([30, 30, 50, 3]) {
        if dice.chance(400) {
            *rate = few(dice, 1, most);
        }
    }
    let faults = &mut options.random_faults;
    faults.breaks = few(dice, 0, 6);
    faults.slows = few(dice, 0, 6);
    faults.cuts = few(dice, 0, 4);
    faults.edges = few(dice, 0, 4);
    faults.isolations = few(dice, 0, 2);
}

fn clocks(options: &mut Options, dice: &mut Dice) {
    options.clock_spread = Duration::from_millis(dice.between(0, 500));
    options.drift_ppm = dice.between(0, 100_000);
    options.rate_ppm = dice.between(0, 20_000);
    let faults = &mut options.random_faults;
    faults.steps = few(dice, 0, 6);
    faults.drifts = few(dice, 0, 3);
    faults.rates = few(dice, 0, 3);
}

fn crashes(options: &mut Options, dice: &mut Dice) {
    options.world.disk.max_delay = Duration::from_millis(dice.between(1, 10));
    let faults = &mut options.random_faults;
    faults.crashes = few(dice, 0, 3);
    faults.crash_points = few(dice, 0, 3);
    faults.slow_disks = few(dice, 0, 3);
}

// What a log is for: whoever is hit again has had no time to come back from the last time.
fn outages(options: &mut Options, dice: &mut Dice) {
    options.durability = Durability::Reply;
    // The same network with a disk that is sometimes slower than Δ.
    options.world.disk.max_delay = Duration::from_millis(dice.between(1, 30));
    let faults = &mut options.random_faults;
    faults.power_cuts = few(dice, 2, 4);
    faults.crashes = few(dice, 0, 3);
    faults.crash_points = few(dice, 0, 3);
}

// A client that does not wait for the end of an outage: what it sent nobody sends again.
fn patience(options: &mut Options, dice: &mut Dice) {
    if dice.chance(300) {
        options.clients = options.clients.max(2);
        options.impatience = Some(Duration::from_millis(dice.between(100, 1500)));
    }
}

// Disks are slower than Δ, and a client gives up before a group that stopped is whole again.
fn slow(options: &mut Options, dice: &mut Dice) {
    let ms = Duration::from_millis;
    options.clients = options.clients.max(2);
    // A throw that `patience` decides by; kept, since the seeds of tests stand on what follows.
    let _ = dice.chance(1000);
    options.impatience = Some(ms(dice.between(100, 300)));
    let load = &mut options.workload;
    (load.calls, load.pipeline, load.think) = (load.calls.max(40), 6, ms(40));
    (options.world.disk.min_delay, options.world.disk.max_delay) = (ms(10), ms(60));
    // Each change of the epoch waits for three syncs.
    options.heal_bound = Some(ms(4000));
}

// What fairness is promised for: clocks that hardly differ, and nobody with a backlog.
fn fair(options: &mut Options, dice: &mut Dice) {
    options.fairness = true;
    options.clock = ClockKind::RealTime;
    options.clock_spread = Duration::from_micros(500);
    options.world.network.max_delay = Duration::from_millis(dice.between(1, 8));
    options.workload.think = options.workload.think.max(Duration::from_millis(12));
}

fn lie(options: &mut Options, count: u64, lies: &[Lie], dice: &mut Dice) {
    let n = 2 * usize::from(options.t) + 1;
    let mut places: Vec<usize> = (0..n).collect();
    for _ in 0..count.min(n as u64) {
        let at = usize::try_from(dice.below(places.len() as u64)).unwrap_or(0);
        options.liars.push((places.swap_remove(at), *dice.pick(lies)));
    }
    options.bodies = (count > 0 && dice.chance(200)).then_some(Given::Nothing);
}

fn few(dice: &mut Dice, low: u64, high: u64) -> u32 {
    u32::try_from(dice.between(low, high)).unwrap_or(0)
}
