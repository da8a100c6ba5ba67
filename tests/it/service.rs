//! The built-in services and the session table against models that are too simple to be wrong.

use bytes::Bytes;
use proptest::prelude::*;
use quorate::service::kv::{Command, Kv, Output};
use quorate::service::sessions::{Admission, Lookup, SessionLimits, SessionTable, StoredReply};
use quorate::service::{Frozen, Service};
use quorate::types::{AgreedTime, ClientId, Digest, Round, SessionId};
use quorate::wire::{Refusal, StepPosition, Writer};
use std::collections::{BTreeMap, BTreeSet};

const NOBODY: ClientId = ClientId([0; 32]);

// The key-value service.

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A command that owns its parts.
#[derive(Clone, Debug)]
enum Op {
    Put(Vec<u8>, Vec<u8>),
    Get(Vec<u8>),
    Delete(Vec<u8>),
    Cas(Vec<u8>, Option<Vec<u8>>, Vec<u8>),
    Incr(Vec<u8>, i64),
    Scan(Vec<u8>, Vec<u8>, u32),
    Ping,
}

impl Op {
    fn command(&self) -> Command<'_> {
        match self {
            Op::Put(k, v) => Command::put(k, v),
            Op::Get(k) => Command::get(k),
            Op::Delete(k) => Command::delete(k),
            Op::Cas(k, old, new) => Command::cas(k, old.as_deref(), new),
            Op::Incr(k, by) => Command::incr(k, *by),
            Op::Scan(p, after, limit) => Command::scan_after(p, after, *limit),
            Op::Ping => Command::ping("payload"),
        }
    }
}

/// What the service should do, in the plainest words.
fn model(map: &mut Map, time: u64, op: &Op) -> Output {
    let bytes = |v: &Vec<u8>| Bytes::from(v.clone());
    match op {
        Op::Put(k, v) => {
            map.insert(k.clone(), v.clone());
            Output::Done
        }
        Op::Get(k) => map.get(k).map_or(Output::Missing, |v| Output::Value(bytes(v))),
        Op::Delete(k) => map.remove(k).map_or(Output::Missing, |_| Output::Done),
        Op::Cas(k, old, new) if map.get(k) == old.as_ref() => {
            map.insert(k.clone(), new.clone());
            Output::Done
        }
        Op::Cas(k, ..) => Output::Mismatch { current: map.get(k).map(bytes) },
        Op::Incr(k, by) => {
            let text = map.get(k).map_or("0".into(), |v| String::from_utf8_lossy(v).into_owned());
            match text.parse::<i128>().map(|n| n + i128::from(*by)).map(i64::try_from) {
                Ok(Ok(n)) => {
                    map.insert(k.clone(), n.to_string().into_bytes());
                    Output::Number(n)
                }
                Ok(Err(_)) => {
                    Output::Error("the sum does not fit into a whole number of 64 bits".into())
                }
                Err(_) => {
                    Output::Error("the value is not a whole number of 64 bits in decimal".into())
                }
            }
        }
        Op::Scan(prefix, after, limit) => {
            let fits = map.iter().filter(|(k, _)| k.starts_with(prefix) && *k > after);
            let all: Vec<_> = fits.map(|(k, v)| (bytes(k), bytes(v))).collect();
            let n = all.len().min(*limit as usize);
            Output::Entries { more: n < all.len(), entries: all[..n].to_vec() }
        }
        Op::Ping => Output::Time(AgreedTime(time)),
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few keys, so that they are met again; some are prefixes of others.
    prop::sample::select(vec!["a", "aa", "ab", "b", "b\0", "\u{7f}"]).prop_map(Vec::from)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec!["", "0", "7", "-3", "x", "9223372036854775807"]).prop_map(Vec::from)
}

fn op() -> impl Strategy<Value = Op> {
    let by = prop::sample::select(vec![1, -1, 0, i64::MAX, i64::MIN]);
    let prefix = prop_oneof![Just(Vec::new()), key()];
    prop_oneof![
        3 => (key(), value()).prop_map(|(k, v)| Op::Put(k, v)),
        1 => key().prop_map(Op::Get),
        2 => key().prop_map(Op::Delete),
        2 => (key(), prop::option::of(value()), value()).prop_map(|(k, o, n)| Op::Cas(k, o, n)),
        2 => (key(), by).prop_map(|(k, by)| Op::Incr(k, by)),
        1 => (prefix.clone(), prefix, 1u32..8)
            .prop_map(|(p, after, limit)| Op::Scan(p, after, limit)),
        1 => Just(Op::Ping),
    ]
}

fn run(kv: &mut Kv, time: u64, op: &Op) -> Output {
    let bytes = kv.execute(AgreedTime(time), &NOBODY, &op.command().encode());
    Output::parse(&bytes.into()).expect("the service answers in its own encoding")
}

/// The bytes of a frozen state.
fn written(frozen: &dyn Frozen) -> Vec<u8> {
    let mut out = Writer::new();
    frozen.write(&mut out);
    out.into_bytes()
}

/// A service that came to this state by nothing but puts.
fn put_together(map: &Map) -> Kv {
    let mut kv = Kv::new();
    for (k, v) in map {
        run(&mut kv, 0, &Op::Put(k.clone(), v.clone()));
    }
    kv
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kv_answers_as_a_plain_map_would(
        ops in prop::collection::vec((op(), any::<bool>()), 0..60),
    ) {
        let (mut kv, mut map) = (Kv::new(), Map::new());
        for (time, (op, checkpoint)) in ops.iter().enumerate() {
            let time = time as u64;
            let asked = kv.query(AgreedTime(time), &NOBODY, &op.command().encode());
            let answer = run(&mut kv, time, op);
            if op.command().is_read_only() {
                prop_assert_eq!(&answer.encode(), &asked, "{:?} as a query", op);
            }
            prop_assert_eq!(answer, model(&mut map, time, op), "{:?}", op);
            if *checkpoint {
                kv.digest();
            }
        }
        // Another history with the same end has the same digest and the same snapshot.
        let mut other = put_together(&map);
        prop_assert_eq!(kv.digest(), other.digest());
        prop_assert_eq!(kv.snapshot(), other.snapshot());
        let mut restored = Kv::new();
        run(&mut restored, 0, &Op::Put(b"other".to_vec(), b"state".to_vec()));
        restored.digest();
        restored.restore(&kv.snapshot()).unwrap();
        prop_assert_eq!(restored.digest(), kv.digest());
        prop_assert_eq!(restored.len(), map.len());
        // And the digest stays right for what comes after.
        let more = Op::Put(b"a".to_vec(), b"later".to_vec());
        run(&mut restored, 0, &more);
        run(&mut other, 0, &more);
        prop_assert_eq!(restored.digest(), other.digest());
    }

    #[test]
    fn a_frozen_kv_gives_the_bytes_of_its_time_whatever_comes_later(
        ops in prop::collection::vec((op(), 0u8..4), 0..80),
    ) {
        let (mut kv, mut frozen) = (Kv::new(), Vec::new());
        for (op, moment) in &ops {
            run(&mut kv, 0, op);
            if *moment == 0 {
                frozen.push((kv.freeze(), kv.snapshot(), kv.digest()));
            }
        }
        // In the other order than they were taken in.
        while let Some((frozen, bytes, digest)) = frozen.pop() {
            prop_assert_eq!(frozen.size_hint(), bytes.len());
            prop_assert_eq!(&written(&*frozen), &bytes);
            let mut restored = Kv::new();
            restored.restore(&bytes).unwrap();
            prop_assert_eq!(restored.digest(), digest);
        }
    }

    #[test]
    fn any_single_change_of_kv_shows_in_its_digest(
        ops in prop::collection::vec(op(), 0..30),
        change in op(),
    ) {
        let (mut kv, mut map) = (Kv::new(), Map::new());
        for op in &ops {
            run(&mut kv, 0, op);
            model(&mut map, 0, op);
        }
        let (before, old) = (kv.digest(), map.clone());
        run(&mut kv, 0, &change);
        model(&mut map, 0, &change);
        prop_assert_eq!(kv.digest() != before, map != old);
    }

    #[test]
    fn kv_answers_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40), tag in 0u8..9) {
        let mut kv = put_together(&Map::from([(b"a".to_vec(), b"1".to_vec())]));
        for bytes in [bytes.clone(), [&[tag], &bytes[..]].concat()] {
            let executed = kv.execute(AgreedTime(1), &NOBODY, &bytes);
            prop_assert!(Output::parse(&executed.into()).is_ok());
            // What parses has only this encoding.
            if let Ok(command) = Command::parse(&bytes) {
                prop_assert_eq!(command.encode(), bytes.clone());
            }
            let bytes = Bytes::from(bytes);
            if let Ok(output) = Output::parse(&bytes) {
                prop_assert_eq!(output.encode(), bytes);
            }
        }
    }
}

#[test]
fn damaged_kv_bytes_are_refused_or_mean_another_state() {
    let map = Map::from([(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"".to_vec())]);
    let mut kv = put_together(&map);
    let (whole, digest) = (kv.snapshot(), kv.digest());
    damage(&whole, |damaged| {
        let mut other = kv.clone();
        match other.restore(damaged) {
            Ok(()) => assert!(other.digest() != digest && other.snapshot() == damaged),
            Err(_) => assert!(other.digest() == digest && other.snapshot() == whole),
        }
    });
    for op in [
        Op::Put(b"key".to_vec(), b"value".to_vec()),
        Op::Cas(b"key".to_vec(), Some(b"old".to_vec()), b"new".to_vec()),
        Op::Incr(b"key".to_vec(), 5),
        Op::Scan(b"k".to_vec(), b"ke".to_vec(), 7),
        Op::Ping,
    ] {
        let whole = op.command().encode();
        damage(&whole, |damaged| {
            assert!(damaged.len() == whole.len() || Command::parse(damaged).is_err());
        });
    }
}

/// Calls `check` with every truncation and every flip of one bit, and with a trailing byte.
fn damage(whole: &[u8], mut check: impl FnMut(&[u8])) {
    (0..whole.len()).for_each(|n| check(&whole[..n]));
    check(&[whole, &[0]].concat());
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        check(&flipped);
    }
}

// The session table (rule O6).

const LIMITS: SessionLimits =
    SessionLimits { max_sessions: 4, window: 5, reply_bytes: 12 * (192 + 10) };

/// One ordered request.
#[derive(Clone, Debug)]
struct Ordered {
    client: u8,
    session: u64,
    number: u64,
    low: u64,
    digest: u8,
    outcome: usize,
}

/// The table as one would write it down first: lists, searched from end to end.
#[derive(Default)]
struct Sessions {
    /// Least recently used first.
    list: Vec<ModelSession>,
    /// Clients of which one went.
    evicted: BTreeSet<u8>,
}

struct ModelSession {
    name: (u8, u64),
    low: u64,
    opening: StoredReply,
    /// Number, digest, and the reply unless it was given up.
    executed: Vec<(u64, u8, Option<StoredReply>)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Said {
    Open,
    Fresh,
    Repeat(StoredReply),
    Nothing,
    Refused(Refusal),
}

impl ModelSession {
    fn bytes(&self) -> u64 {
        let kept = self.executed.iter().filter_map(|(_, _, r)| r.as_ref());
        kept.map(|r| 192 + r.outcome.len() as u64).sum()
    }
}

impl Sessions {
    fn order(&mut self, o: &Ordered, reply: StoredReply) -> Said {
        let name = (o.client, o.session);
        match self.list.iter().position(|s| s.name == name) {
            None if o.number != 0 => return Said::Refused(Refusal::UnknownSession),
            None if o.low > 0 && self.evicted.contains(&o.client) => {
                return Said::Refused(Refusal::UnknownSession);
            }
            None => {
                if self.list.len() == LIMITS.max_sessions as usize {
                    let has = |client: u8| self.list.iter().filter(|s| s.name.0 == client).count();
                    let most = self.list.iter().map(|s| s.name.0).max_by_key(|c| (has(*c), *c));
                    let first = self.list.iter().position(|s| Some(s.name.0) == most);
                    self.evicted.insert(self.list.remove(first.unwrap()).name.0);
                }
                self.list.push(ModelSession { name, low: 1, opening: reply, executed: vec![] });
                return Said::Open;
            }
            Some(at) => {
                let used = self.list.remove(at);
                self.list.push(used);
            }
        }
        let session = self.list.last_mut().unwrap();
        if o.number == 0 {
            return Said::Repeat(session.opening.clone());
        }
        if o.number < session.low {
            return Said::Refused(Refusal::BelowLowWater);
        }
        if let Some((_, digest, reply)) = session.executed.iter().find(|e| e.0 == o.number) {
            let same = reply.as_ref().filter(|_| *digest == o.digest);
            return same.map_or(Said::Nothing, |reply| Said::Repeat(reply.clone()));
        }
        let low = session.low.max(o.low);
        if o.number < low {
            return Said::Refused(Refusal::BelowLowWater);
        }
        if u128::from(o.number) >= u128::from(low) + u128::from(LIMITS.window) {
            return Said::Refused(Refusal::BeyondWindow);
        }
        session.low = low;
        session.executed.retain(|e| e.0 >= low);
        session.executed.push((o.number, o.digest, Some(reply)));
        self.give_up();
        Said::Fresh
    }

    fn bytes(&self) -> u64 {
        self.list.iter().map(ModelSession::bytes).sum()
    }

    fn give_up(&mut self) {
        if self.bytes() <= LIMITS.reply_bytes {
            return;
        }
        while self.bytes() > LIMITS.reply_bytes - LIMITS.reply_bytes / 8 {
            let largest = self.list.iter_mut().max_by_key(|s| (s.bytes(), s.name)).unwrap();
            let kept = largest.executed.iter_mut().filter(|e| e.2.is_some());
            kept.min_by_key(|e| e.0).unwrap().2 = None;
        }
    }
}

fn order(table: &mut SessionTable, o: &Ordered, reply: StoredReply) -> Said {
    let (client, session, digest) = names(o);
    let said = match table.admit(&client, session, o.number, o.low, &digest) {
        Admission::Open => Said::Open,
        Admission::Fresh => Said::Fresh,
        Admission::Repeat(reply) => Said::Repeat(reply.clone()),
        Admission::Nothing => Said::Nothing,
        Admission::Refused(why) => Said::Refused(why),
    };
    if matches!(said, Said::Open | Said::Fresh) {
        table.record(&client, session, o.number, &digest, reply);
    }
    said
}

fn names(o: &Ordered) -> (ClientId, SessionId, Digest) {
    (ClientId([o.client; 32]), SessionId(o.session), Digest([o.digest; 32]))
}

fn reply(step: usize, bytes: usize) -> StoredReply {
    let position = StepPosition { round: Round(step as u64), vector: Digest([3; 32]) };
    StoredReply { position, index: step as u32 % 3, outcome: Bytes::from(vec![1; bytes]) }
}

fn ordered() -> impl Strategy<Value = Ordered> {
    let near = || 1u64..12;
    let far = prop::sample::select(vec![u64::MAX, u64::MAX - 1, 1 << 63, 0]);
    let number = prop_oneof![3 => Just(0), 20 => near(), 1 => far.clone()];
    let low = prop_oneof![20 => 0u64..6, 3 => near(), 1 => far];
    let outcome = prop_oneof![8 => Just(10), 1 => Just(1200), 1 => Just(5000usize)];
    (0u8..2, 0u64..3, number, low, 1u8..4, outcome).prop_map(
        |(client, session, number, low, digest, outcome)| Ordered {
            client,
            session,
            number,
            low,
            digest,
            outcome,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// K1 to K3 and K11: equivocated and reused numbers, gaps, regress, the largest numbers, and
    /// more sessions than there is room for.
    #[test]
    fn the_session_table_does_as_plain_lists_would(
        requests in prop::collection::vec((ordered(), any::<bool>()), 0..150),
    ) {
        let (mut table, mut model) = (SessionTable::new(LIMITS), Sessions::default());
        let mut frozen = Vec::new();
        let mut lazy = SessionTable::new(LIMITS);
        for (step, (o, checkpoint)) in requests.iter().enumerate() {
            let reply = reply(step, o.outcome);
            let expected = model.order(o, reply.clone());
            prop_assert_eq!(order(&mut table, o, reply.clone()), expected, "{}: {:?}", step, o);
            order(&mut lazy, o, reply);
            prop_assert_eq!(table.reply_bytes(), model.bytes());
            prop_assert_eq!(table.len(), model.list.len());
            let (client, session, _) = names(o);
            let same = model.list.iter().find(|s| s.name == (o.client, o.session));
            prop_assert_eq!(table.low(&client, session), same.map(|s| s.low));
            let executed = same.and_then(|s| s.executed.iter().find(|e| e.0 == o.number));
            if o.number > 0 {
                let found = match table.lookup(&client, session, o.number, &Digest::ZERO) {
                    Lookup::Nothing => None,
                    Lookup::Reply(reply) | Lookup::Another(reply) => Some(reply),
                };
                prop_assert_eq!(found, executed.and_then(|e| e.2.as_ref()));
            }
            if *checkpoint {
                // A replica that was given the state goes on as the others do.
                let digest = table.digest();
                frozen.push((table.freeze(), table.snapshot()));
                let mut restored = SessionTable::new(LIMITS);
                restored.restore(&table.snapshot()).unwrap();
                prop_assert_eq!(restored.snapshot(), table.snapshot());
                prop_assert_eq!(restored.digest(), digest);
                table = restored;
            }
        }
        // Those that were frozen on the way have stayed as they were.
        for (frozen, bytes) in &frozen {
            prop_assert_eq!(&written(frozen), bytes);
        }
        // One that never took a digest or a snapshot on the way has the same.
        prop_assert_eq!(table.digest(), lazy.digest());
        prop_assert_eq!(table.snapshot(), lazy.snapshot());
    }

    #[test]
    fn no_request_runs_twice(requests in prop::collection::vec(ordered(), 0..150)) {
        let mut table = SessionTable::new(LIMITS);
        let mut ran = Vec::new();
        for (step, o) in requests.iter().enumerate() {
            match order(&mut table, o, reply(step, o.outcome)) {
                // A session that is opened again after its eviction is a new one.
                Said::Open => ran.retain(|(c, s, _)| (*c, *s) != (o.client, o.session)),
                Said::Fresh => {
                    let name = (o.client, o.session, o.number);
                    prop_assert!(!ran.contains(&name), "{:?}", o);
                    ran.push(name);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn damaged_session_tables_are_refused_or_mean_another_table() {
    let mut table = SessionTable::new(LIMITS);
    for (step, (session, number, low)) in
        [(1, 0, 0), (2, 0, 0), (1, 2, 1), (1, 4, 2), (2, u64::MAX, u64::MAX), (2, 1, 1)]
            .into_iter()
            .enumerate()
    {
        let o = Ordered { client: 1, session, number, low, digest: 1, outcome: 10 };
        order(&mut table, &o, reply(step, 10));
    }
    let (whole, digest) = (table.snapshot(), table.digest());
    damage(&whole, |damaged| {
        let mut other = table.clone();
        match other.restore(damaged) {
            Ok(()) => {
                assert!(other.digest() != digest && other.snapshot() == damaged);
                // Whatever was restored can be used without a panic.
                let o =
                    Ordered { client: 1, session: 1, number: 5, low: 3, digest: 1, outcome: 10 };
                order(&mut other, &o, reply(9, 10));
            }
            Err(_) => assert!(other.digest() == digest && other.snapshot() == whole),
        }
    });
}
