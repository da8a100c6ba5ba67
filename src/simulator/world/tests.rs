use super::*;
use crate::replica::Lane;
use crate::types::{GroupId, Instant, Now};
use crate::wire::{Hello, Message, Ping};

/// Sends a numbered ping to everybody every millisecond and notes what comes.
struct Mock {
    peers: Vec<NodeId>,
    next: Instant,
    sent: u64,
    due: Instant,
    garbage: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Note {
    Got(NodeId, u64),
    Up(NodeId),
    Down(NodeId),
    Tick(u64),
    Batch(usize),
}

impl Mock {
    fn new() -> Self {
        Self { peers: Vec::new(), next: Instant(0), sent: 0, due: Instant(0), garbage: false }
    }
}

impl Node for Mock {
    type Note = Note;

    fn handle(&mut self, now: Now, arrival: Arrival, out: &mut Vec<Effect<Note>>) {
        match arrival {
            Arrival::Up { peer, hello, .. } => {
                assert!(hello.is_none());
                self.peers.push(peer);
                out.push(Effect::Note(Note::Up(peer)));
            }
            Arrival::Down { peer, .. } => {
                self.peers.retain(|p| *p != peer);
                out.push(Effect::Note(Note::Down(peer)));
            }
            Arrival::Frames { peer, frames, .. } => {
                out.push(Effect::Note(Note::Batch(frames.len())));
                for f in frames {
                    let n = Ping::from_body(&f.body).unwrap().sent;
                    out.push(Effect::Note(Note::Got(peer, n)));
                }
            }
            Arrival::Tick if now.monotonic < self.next => {}
            Arrival::Tick => {
                assert!(now.monotonic >= self.due, "never early");
                out.push(Effect::Note(Note::Tick(now.wall.0)));
                self.sent += 1;
                for &to in &self.peers {
                    let mut frame = Ping { sent: self.sent, wall: 0 }.to_frame(GroupId::MAIN);
                    if self.garbage {
                        frame[4] = 99;
                    }
                    let lane = Lane::Protocol;
                    out.push(Effect::Send { to, lane, frame: frame.into() });
                }
                self.next = now.monotonic + Duration::from_millis(1);
                self.due = self.next;
            }
            Arrival::Synced { .. } | Arrival::Encoded { .. } | Arrival::Drained => {}
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        Some(self.next)
    }

    fn hello(&self) -> Option<Hello> {
        None
    }
}

const MS: u64 = 1_000_000;

fn world(seed: u64, options: WorldOptions) -> World<Mock> {
    let mut w = World::new(Dice::new(seed, 0), options);
    for i in 0..3 {
        w.add(NodeId::replica(i), Mock::new(), Clock::default());
    }
    w.add(NodeId::Client(0), Mock::new(), Clock::default());
    w
}

fn notes(w: &mut World<Mock>, until: u64) -> Vec<(u64, NodeId, Note)> {
    let mut out = Vec::new();
    let stopped = w.run_until(until, &mut |n| {
        out.push((n.time, n.node, n.note));
        true
    });
    assert_eq!(stopped, Stopped::Time);
    out
}

fn lossy() -> WorldOptions {
    let network = NetworkOptions {
        drop_per_mille: 100,
        duplicate_per_mille: 100,
        reorder: true,
        ..NetworkOptions::default()
    };
    WorldOptions { network, ..WorldOptions::default() }
}

fn numbers(notes: &[(u64, NodeId, Note)], at: NodeId, from: NodeId) -> Vec<u64> {
    let got = notes.iter().filter_map(|(_, node, n)| match n {
        Note::Got(peer, n) if (*node, *peer) == (at, from) => Some(*n),
        _ => None,
    });
    got.collect()
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_another() {
    let run = |seed| {
        let mut w = world(seed, lossy());
        w.schedule(20 * MS, Fault::Isolate(NodeId::replica(1), Duration::from_millis(7)));
        let n = notes(&mut w, 100 * MS);
        (n, w.trace_hash())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).1, run(2).1);
}

#[test]
fn a_stream_is_reliable_and_in_order() {
    let mut w = world(3, WorldOptions::default());
    let all = notes(&mut w, 200 * MS);
    for (at, from) in [(0, 1), (1, 0), (2, 0)] {
        let got = numbers(&all, NodeId::replica(at), NodeId::replica(from));
        assert!(got.len() > 150);
        assert!(got.windows(2).all(|p| p[1] == p[0] + 1), "{got:?}");
    }
    assert!(w.fired().is_empty());
}

#[test]
fn a_lossy_link_loses_doubles_and_reorders_but_never_for_clients() {
    let mut w = world(3, lossy());
    let all = notes(&mut w, 300 * MS);
    let got = numbers(&all, NodeId::replica(0), NodeId::replica(1));
    let jumps = |f: fn(u64, u64) -> bool| got.windows(2).any(|p| f(p[0], p[1]));
    assert!(jumps(|a, b| b > a + 1) && jumps(|a, b| b <= a), "{got:?}");
    let to_client = numbers(&all, NodeId::Client(0), NodeId::replica(1));
    assert!(to_client.windows(2).all(|p| p[1] == p[0] + 1));
    for kind in ["frame dropped", "frame doubled", "frame reordered"] {
        assert!(w.fired()[kind] > 0, "{kind}");
    }
}

#[test]
fn a_broken_link_tells_both_sides_loses_what_flies_and_comes_back() {
    let (a, b) = (NodeId::replica(0), NodeId::replica(1));
    let mut w = world(5, WorldOptions::default());
    w.schedule(50 * MS, Fault::Break(a, b, Duration::from_millis(20)));
    let all = notes(&mut w, 120 * MS);
    let times = |at, what: Note| -> Vec<u64> {
        all.iter().filter(|(_, n, x)| *n == at && *x == what).map(|(t, _, _)| *t).collect()
    };
    assert_eq!((times(a, Note::Down(b)), times(b, Note::Down(a))), (vec![50 * MS], vec![50 * MS]));
    let ups = times(a, Note::Up(b));
    assert!(ups.len() == 2 && ups[1] > 70 * MS, "{ups:?}");
    let during = all.iter().filter(|(t, n, x)| {
        *n == a && matches!(x, Note::Got(p, _) if *p == b) && (50 * MS..ups[1]).contains(t)
    });
    assert_eq!(during.count(), 0);
    let got = numbers(&all, a, b);
    assert!(got.windows(2).any(|p| p[1] > p[0] + 1), "what was in flight is lost");
}

#[test]
fn a_paused_node_gets_everything_at_once_afterwards() {
    let r = NodeId::replica(2);
    let mut w = world(6, WorldOptions::default());
    w.schedule(30 * MS, Fault::Pause(r, Duration::from_millis(40)));
    let all = notes(&mut w, 100 * MS);
    let silent = all.iter().filter(|(t, n, _)| *n == r && (30 * MS..70 * MS).contains(t)).count();
    assert_eq!(silent, 0);
    let back =
        all.iter().filter(|(t, n, x)| (*t, *n) == (70 * MS, r) && matches!(x, Note::Got(..)));
    assert!(back.count() > 100);
    let got = numbers(&all, r, NodeId::replica(0));
    assert!(got.windows(2).all(|p| p[1] == p[0] + 1), "nothing is lost");
}

#[test]
fn a_stopped_node_is_gone_until_it_starts_again() {
    let (a, b) = (NodeId::replica(0), NodeId::replica(1));
    let mut w = world(7, WorldOptions::default());
    w.schedule(20 * MS, Fault::Stop(b));
    let before = notes(&mut w, 60 * MS);
    assert!(before.iter().all(|(t, n, _)| *n != b || *t < 20 * MS));
    assert!(before.iter().any(|(t, n, x)| (*t, *n, x) == (20 * MS, a, &Note::Down(b))));
    w.start(b, Mock::new());
    let after = notes(&mut w, 100 * MS);
    assert!(after.iter().any(|(_, n, x)| *n == a && *x == Note::Up(b)));
    assert!(!numbers(&after, a, b).is_empty());
}

#[test]
fn clocks_run_apart_and_can_be_stepped() {
    let mut w = World::new(Dice::new(1, 0), WorldOptions::default());
    let r = NodeId::replica(0);
    let clock =
        Clock { monotonic_offset: 12_345, wall_offset: -700, drift_ppm: 1000, ..Clock::default() };
    w.add(r, Mock::new(), clock);
    w.schedule(51 * MS, Fault::Step(r, 5_000_000));
    let all = notes(&mut w, 100 * MS);
    let walls: Vec<(u64, u64)> = all
        .iter()
        .filter_map(|(t, _, n)| if let Note::Tick(w) = n { Some((*t, *w)) } else { None })
        .collect();
    for (time, wall) in walls {
        let step = if time >= 51 * MS { 5_000_000 } else { 0 };
        let micros = time / 1000;
        assert_eq!(wall, Clock::EPOCH_US + micros + micros / 1000 - 700 + step);
    }
}

#[test]
fn what_is_no_frame_breaks_the_link() {
    let mut w = world(9, WorldOptions::default());
    w.node_mut(NodeId::replica(0)).unwrap().garbage = true;
    let all = notes(&mut w, 100 * MS);
    assert!(numbers(&all, NodeId::replica(1), NodeId::replica(0)).is_empty());
    assert!(w.fired()["malformed frame"] > 0);
}

#[test]
fn a_node_that_never_sleeps_is_named() {
    struct Sleepless;
    impl Node for Sleepless {
        type Note = ();
        fn handle(&mut self, _: Now, _: Arrival, _: &mut Vec<Effect<()>>) {}
        fn next_wake(&self) -> Option<Instant> {
            Some(Instant(5))
        }
        fn hello(&self) -> Option<Hello> {
            None
        }
    }
    let mut w = World::new(Dice::new(1, 0), WorldOptions::default());
    w.add(NodeId::replica(0), Sleepless, Clock::default());
    assert_eq!(w.run_until(u64::MAX - 1, &mut |_| true), Stopped::Spinning(NodeId::replica(0)));
}

#[test]
fn several_frames_come_in_one_read() {
    let network = NetworkOptions { grain: Duration::from_millis(5), ..NetworkOptions::default() };
    let mut w = world(4, WorldOptions { network, ..WorldOptions::default() });
    let all = notes(&mut w, 60 * MS);
    assert!(all.iter().any(|(_, _, n)| matches!(n, Note::Batch(k) if *k > 3)));
}
