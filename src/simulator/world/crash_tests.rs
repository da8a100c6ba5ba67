//! Crashes, disks and what is left of them.

use super::*;
use crate::replica::Lane;
use crate::types::{GroupId, Instant, Now};
use crate::wire::{Hello, Message, Ping};

const MS: u64 = 1_000_000;

/// Writes a numbered record every millisecond; sends its number to all once it is durable.
struct Writer {
    peers: Vec<NodeId>,
    next: Instant,
    sequence: u64,
    record: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum Note {
    Wrote(u64),
    Synced(u64),
    Got(NodeId, u64),
    Down(NodeId),
    Up(NodeId),
}

impl Writer {
    fn from(disk: &[Bytes]) -> Self {
        let record = disk.len() as u64;
        Self { peers: Vec::new(), next: Instant(0), sequence: 0, record }
    }
}

impl Node for Writer {
    type Note = Note;

    fn handle(&mut self, now: Now, arrival: Arrival, out: &mut Vec<Effect<Note>>) {
        match arrival {
            Arrival::Up { peer, .. } => {
                self.peers.push(peer);
                out.push(Effect::Note(Note::Up(peer)));
            }
            Arrival::Down { peer, .. } => {
                self.peers.retain(|p| *p != peer);
                out.push(Effect::Note(Note::Down(peer)));
            }
            Arrival::Frames { peer, frames, .. } => out.extend(frames.iter().map(|f| {
                let sent = Ping::from_body(&f.body).unwrap().sent;
                Effect::Note(Note::Got(peer, sent))
            })),
            Arrival::Tick if now.monotonic >= self.next => {
                self.next = now.monotonic + Duration::from_millis(1);
                self.sequence += 1;
                self.record += 1;
                let records = vec![Bytes::from(self.record.to_le_bytes().to_vec())];
                out.push(Effect::Persist { sequence: self.sequence, records });
                out.push(Effect::Note(Note::Wrote(self.record)));
            }
            Arrival::Synced { sequence } => {
                out.push(Effect::Note(Note::Synced(sequence)));
                for &to in &self.peers {
                    let frame = Ping { sent: sequence, wall: 0 }.to_frame(GroupId::MAIN).into();
                    out.push(Effect::Send { to, lane: Lane::Protocol, frame });
                }
            }
            Arrival::Tick | Arrival::Drained | Arrival::Encoded { .. } => {}
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        Some(self.next)
    }

    fn hello(&self) -> Option<Hello> {
        None
    }
}

type Seen = Vec<(u64, NodeId, Note, usize)>;

fn world(seed: u64) -> World<Writer> {
    let mut w = World::new(Dice::new(seed, 0), WorldOptions::default());
    (0..3).for_each(|i| w.add(NodeId::replica(i), Writer::from(&[]), Clock::default()));
    w
}

/// Runs the world and starts again what crashed: what was seen, crashes and boots.
fn play(w: &mut World<Writer>, until: u64) -> (Seen, Vec<(u64, Stopped)>) {
    let (mut seen, mut news) = (Vec::new(), Vec::new());
    loop {
        let stopped = w.run_until(until, &mut |n| {
            seen.push((n.time, n.node, n.note, n.durable));
            true
        });
        match stopped {
            Stopped::Time => return (seen, news),
            Stopped::Boot(id) => w.start(id, Writer::from(w.disk(id))),
            Stopped::Crashed(_) => {}
            other => panic!("{other:?}"),
        }
        news.push((w.now(), stopped));
    }
}

fn numbers(disk: &[Bytes]) -> Vec<u64> {
    disk.iter().map(|r| u64::from_le_bytes(r[..].try_into().unwrap())).collect()
}

#[test]
fn a_sync_takes_its_time_and_notes_know_what_is_durable() {
    let mut w = world(1);
    let (seen, _) = play(&mut w, 50 * MS);
    let me = NodeId::replica(0);
    let mine = || seen.iter().filter(|s| s.1 == me);
    let time = |what: Note| mine().find(|s| s.2 == what).unwrap().0;
    assert!(time(Note::Synced(1)) >= time(Note::Wrote(1)) + 200_000);
    for (_, _, note, durable) in mine() {
        if let Note::Synced(n) = note {
            assert!(*durable >= *n as usize, "{note:?} with {durable}");
        }
    }
    assert!(mine().any(|(_, _, note, durable)| match note {
        Note::Wrote(n) => (*durable as u64) < *n,
        _ => false,
    }));
    let disk = numbers(w.disk(me));
    assert!(disk.len() > 40 && disk.iter().zip(1..).all(|(a, b)| *a == b), "{disk:?}");
}

#[test]
fn a_crashed_node_starts_again_with_what_its_disk_holds() {
    let (mut lost, mut survived) = (0, 0);
    for seed in 0..40 {
        let (mut w, me) = (world(seed), NodeId::replica(1));
        w.schedule(20 * MS, Fault::Crash(me, Duration::from_millis(15)));
        w.schedule(21 * MS, Fault::Crash(me, Duration::from_millis(1)));
        let (seen, news) = play(&mut w, 60 * MS);
        let expected = [(20 * MS, Stopped::Crashed(me)), (35 * MS, Stopped::Boot(me))];
        assert_eq!(news, expected, "one that is down cannot crash");
        assert!(!seen.iter().any(|s| s.1 == me && (20 * MS + 1..35 * MS).contains(&s.0)));
        let synced = seen.iter().filter(|s| s.1 == me && s.0 <= 20 * MS);
        let synced = synced.filter(|s| matches!(s.2, Note::Synced(_))).count() as u64;
        let disk = numbers(w.disk(me));
        assert!(disk.iter().zip(1..).all(|(a, b)| *a == b), "a prefix, then it goes on: {disk:?}");
        assert!(disk.len() as u64 > synced + 20);
        // The new life is told of its own writes only.
        let after = seen.iter().find(|s| s.1 == me && s.0 > 35 * MS && s.2 == Note::Synced(1));
        assert!(after.is_some());
        lost += w.fired().get("unsynced record lost").copied().unwrap_or(0);
        survived += w.fired().get("unsynced record survived").copied().unwrap_or(0);
        for other in [0, 2].map(NodeId::replica) {
            assert!(seen.iter().any(|s| s.1 == other && s.2 == Note::Down(me)));
            assert!(seen.iter().any(|s| s.0 > 35 * MS && s.1 == other && s.2 == Note::Up(me)));
        }
    }
    assert!(lost > 0 && survived > 0, "{lost} {survived}");
}

#[test]
fn what_a_node_sent_before_it_crashed_may_arrive_or_not() {
    let mut arrived = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let (mut w, me) = (world(seed), NodeId::replica(1));
        w.schedule(20 * MS, Fault::Crash(me, Duration::from_millis(30)));
        let (seen, _) = play(&mut w, 60 * MS);
        let late = |s: &&(u64, NodeId, Note, usize)| {
            (20 * MS..50 * MS).contains(&s.0) && matches!(s.2, Note::Got(from, _) if from == me)
        };
        arrived.insert(seen.iter().filter(late).count() > 0);
        for other in [0, 2].map(NodeId::replica) {
            let at = |what: Note| seen.iter().rposition(|s| s.1 == other && s.2 == what);
            let got = |s: &(u64, NodeId, Note, usize)| {
                s.1 == other && s.0 < 50 * MS && matches!(s.2, Note::Got(from, _) if from == me)
            };
            assert!(at(Note::Down(me)) > seen.iter().rposition(got), "in order");
        }
    }
    assert_eq!(arrived.len(), 2);
}

#[test]
fn a_crash_can_be_laid_at_each_side_of_a_sync() {
    for point in CrashPoint::ALL {
        let (mut w, me) = (world(3), NodeId::replica(0));
        let down_for = Duration::from_millis(30);
        w.schedule(10 * MS, Fault::CrashAt { node: me, point, nth: 3, down_for });
        let (seen, news) = play(&mut w, 35 * MS);
        let (at, crashed) = news[0];
        assert_eq!(crashed, Stopped::Crashed(me));
        assert_eq!(w.fired()[point.name()], 1);
        let synced = |s: &&(u64, NodeId, Note, usize)| {
            s.1 == me && matches!(s.2, Note::Synced(_)) && (10 * MS..=at).contains(&s.0)
        };
        let told = seen.iter().filter(synced).count();
        let all = seen.iter().filter(|s| s.1 == me && matches!(s.2, Note::Synced(_)));
        let (told_ever, durable) = (all.count(), w.disk(me).len());
        match point {
            CrashPoint::Before => assert_eq!(told, 2),
            CrashPoint::Untold => assert!(told == 2 && durable > told_ever),
            CrashPoint::After => assert!(told == 3 && durable >= told_ever),
        }
    }
}

#[test]
fn a_power_cut_takes_all_replicas_and_they_come_back_one_by_one() {
    let mut w = world(5);
    let (from, to) = (Duration::from_millis(5), Duration::from_millis(50));
    w.schedule(20 * MS, Fault::PowerCut { from, to });
    let (_, news) = play(&mut w, 100 * MS);
    let crashed = news.iter().filter(|(t, n)| *t == 20 * MS && matches!(n, Stopped::Crashed(_)));
    assert_eq!(crashed.count(), 3);
    let boots: Vec<u64> =
        news.iter().filter(|(_, n)| matches!(n, Stopped::Boot(_))).map(|(t, _)| *t).collect();
    assert!(boots.len() == 3 && boots[0] != boots[1] && boots[1] != boots[2], "{boots:?}");
    assert!(boots.iter().all(|t| (25 * MS..=70 * MS).contains(t)));
}

#[test]
fn a_slow_disk_is_late_with_every_sync() {
    let (mut w, me) = (world(6), NodeId::replica(0));
    let (extra, lasts) = (Duration::from_millis(40), Duration::from_millis(20));
    w.schedule(5 * MS, Fault::SlowDisk { node: me, extra, lasts });
    let (seen, _) = play(&mut w, 100 * MS);
    let quiet = |s: &&(u64, NodeId, Note, usize)| {
        s.1 == me && matches!(s.2, Note::Synced(_)) && (10 * MS..44 * MS).contains(&s.0)
    };
    assert_eq!(seen.iter().filter(quiet).count(), 0);
    assert!(w.disk(me).len() > 80, "nothing is lost");
}

#[test]
fn when_all_faults_end_everybody_is_back_and_what_was_held_arrives() {
    let (a, b, c) = (NodeId::replica(0), NodeId::replica(1), NodeId::replica(2));
    let mut w = world(8);
    let long = Duration::from_secs(3600);
    w.schedule(10 * MS, Fault::Crash(a, long));
    let cut = |breaks_after| Fault::Cut { from: b, to: c, lasts: long, breaks_after };
    w.schedule(10 * MS, cut(None));
    w.schedule(15 * MS, Fault::Pause(c, long));
    w.schedule(16 * MS, Fault::Rate(b, 300_000));
    w.schedule(30 * MS, Fault::PowerCut { from: long, to: long });
    play(&mut w, 20 * MS);
    w.heal();
    let (seen, news) = play(&mut w, 60 * MS);
    assert!(news.len() == 1 && matches!(news[0], (t, Stopped::Boot(id)) if t < 22 * MS && id == a));
    let got: Vec<u64> = seen
        .iter()
        .filter_map(|s| match s.2 {
            Note::Got(from, n) if s.1 == c && from == b => Some(n),
            _ => None,
        })
        .collect();
    assert!(got[0] < 14 && got.len() > 30, "{got:?}");
    assert!(got.windows(2).all(|p| p[1] == p[0] + 1), "in order, nothing is lost: {got:?}");
    assert!(seen.iter().any(|s| s.1 == c && s.2 == Note::Up(a)));
    assert_eq!(w.clock(b).unwrap().rate_ppm, 0);
    assert!(!w.fired().contains_key("power cut"), "nothing strikes any more");
}

#[test]
fn a_cut_holds_one_direction_or_breaks_the_link_after_a_while() {
    let (a, b) = (NodeId::replica(0), NodeId::replica(1));
    for breaks_after in [None, Some(Duration::from_millis(20))] {
        let mut w = world(9);
        let lasts = Duration::from_millis(50);
        w.schedule(20 * MS, Fault::Cut { from: a, to: b, lasts, breaks_after });
        let (seen, _) = play(&mut w, 100 * MS);
        let got = |at, from, range: std::ops::Range<u64>| {
            let got = |s: &&(u64, NodeId, Note, usize)| {
                let note = matches!(s.2, Note::Got(who, _) if who == from);
                s.1 == at && note && range.contains(&s.0)
            };
            seen.iter().filter(got).count()
        };
        assert_eq!(got(b, a, 25 * MS..70 * MS), 0, "held");
        assert!(got(a, b, 25 * MS..40 * MS) > 10, "the other direction goes on");
        let down = seen.iter().filter(|s| s.2 == Note::Down(a)).count();
        match breaks_after {
            None => assert!(down == 0 && got(b, a, 70 * MS..71 * MS) > 40),
            Some(_) => {
                let broken = seen.iter().find(|s| s.1 == b && s.2 == Note::Down(a)).unwrap();
                assert_eq!(broken.0, 40 * MS);
                assert_eq!(got(a, b, 41 * MS..70 * MS), 0);
                assert!(got(b, a, 71 * MS..100 * MS) > 10, "it comes up again");
            }
        }
    }
}

#[test]
fn a_fixed_delay_is_that_and_the_meter_has_it() {
    let (a, b) = (NodeId::replica(0), NodeId::replica(1));
    let mut w = world(10);
    let (takes, lasts) = (Duration::from_millis(19), Duration::from_millis(50));
    w.schedule(20 * MS, Fault::Edge { from: a, to: b, takes, below: true, lasts });
    let ids = [a, b].map(|n| match n {
        NodeId::Replica(r) => r,
        NodeId::Client(_) => unreachable!(),
    });
    let all = || ids.into_iter().collect();
    let delta = Duration::from_millis(15);
    play(&mut w, 20 * MS);
    assert_eq!(w.meter().late(all(), delta), []);
    play(&mut w, 60 * MS);
    assert_eq!(w.meter().late(all(), delta), [(ids[0], ids[1])]);
    // Both sync for up to 3 ms, and frames arrive on a grain of time.
    assert_eq!(w.meter().late(all(), Duration::from_millis(26)), []);
}
