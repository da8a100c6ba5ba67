//! What clients asked and were told, and whether a service that runs one command after the other,
//! each once, can have told it.
//!
//! Three kinds of keys are used. *Registers* are put, read and compared-and-set, each time to a
//! value that nobody else ever writes. *Numbers* grow by amounts that are all different, so that
//! the answers themselves say which increment came after which. *Tags* are keys of one operation
//! each, which adds 1: what is read there in the end says how often it ran.

use quorate::simulator::linear::{Operation, Verdict, search};
use quorate::simulator::model::{KvModel, KvOp, KvOut};
use std::collections::BTreeMap;

/// Keys that begin so are tags.
pub const TAG: &str = "tag/";

/// Steps of the search for one key. It needs a few for each operation; a search that needs so
/// many has met something that it was not made for.
const MAX_STEPS: u64 = 200_000;

/// What came of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was answered.
    Answered(KvOut),
    /// Its client gave up: it may have run, may run later, or not at all.
    Unknown,
    /// The client says that it did not run and never will.
    Never,
}

/// One operation of one client.
#[derive(Clone, Debug)]
pub struct Event {
    pub op: KvOp,
    /// Nanoseconds of the one clock of this process, taken before the call.
    pub invoked: u64,
    /// The same, taken after it had ended.
    pub ended: u64,
    pub outcome: Outcome,
}

/// All that clients did, and what was read in the end.
#[derive(Debug, Default)]
pub struct History {
    pub events: Vec<Event>,
    /// All tags that there are in the end with their numbers, read after all else had ended.
    pub tags: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub answered: usize,
    pub unknown: usize,
    /// Operations of unknown outcome of which the tags say that they ran.
    pub ran_unknown: usize,
}

impl History {
    /// Checks everything.
    ///
    /// # Errors
    /// What cannot be: a key whose answers no order explains, with its operations; a tag that is
    /// lost, or ran twice, or ran although its client was told otherwise.
    pub fn check(&self) -> Result<Checked, String> {
        for (key, events) in self.by_key() {
            Self::check_key(&key, &events)?;
        }
        let ran_unknown = self.check_tags()?;
        let count = |outcome: fn(&Outcome) -> bool| {
            self.events.iter().filter(|e| outcome(&e.outcome)).count()
        };
        Ok(Checked {
            answered: count(|o| matches!(o, Outcome::Answered(_))),
            unknown: count(|o| *o == Outcome::Unknown),
            ran_unknown,
        })
    }

    // Each operation here has one key.
    fn by_key(&self) -> BTreeMap<Vec<u8>, Vec<&Event>> {
        let mut keys: BTreeMap<Vec<u8>, Vec<&Event>> = BTreeMap::new();
        for event in &self.events {
            keys.entry(key(&event.op)).or_default().push(event);
        }
        keys
    }

    fn check_key(key: &[u8], events: &[&Event]) -> Result<(), String> {
        let could_run = events.iter().filter(|e| e.outcome != Outcome::Never);
        let history: Vec<Operation<KvModel>> = could_run
            .map(|e| Operation {
                invoked: e.invoked,
                answered: match &e.outcome {
                    Outcome::Answered(out) => Some((e.ended, out.clone())),
                    Outcome::Unknown | Outcome::Never => None,
                },
                op: e.op.clone(),
            })
            .collect();
        let problem = match search(&history, MAX_STEPS) {
            Verdict::Linearizable => return Ok(()),
            Verdict::NotLinearizable(_) => "no order explains",
            Verdict::Unknown => "the search takes too long for",
        };
        let key = String::from_utf8_lossy(key);
        let told: Vec<String> = events.iter().map(|e| tell(e)).collect();
        Err(format!("{problem} what happened to {key}:\n{}", told.join("\n")))
    }

    fn check_tags(&self) -> Result<usize, String> {
        let mut tags = self.tags.clone();
        let mut ran_unknown = 0;
        let of_tags = self.events.iter().filter(|e| key(&e.op).starts_with(TAG.as_bytes()));
        for event in of_tags {
            let read = tags.remove(&key(&event.op));
            let problem = match (read.as_deref(), &event.outcome) {
                (Some(b"1"), Outcome::Answered(KvOut::Number(1))) => continue,
                (Some(b"1"), Outcome::Unknown) => {
                    ran_unknown += 1;
                    continue;
                }
                (None, Outcome::Unknown | Outcome::Never) => continue,
                (None, Outcome::Answered(_)) => "was accepted and is lost",
                (Some(_), Outcome::Never) => "ran although its client was told otherwise",
                (Some(_), _) => "did not run once",
            };
            let read = read.map(|r| String::from_utf8_lossy(&r).into_owned());
            return Err(format!("{} {problem}; in the end there is {read:?}", tell(event)));
        }
        let unasked = tags.into_keys().next();
        unasked.map_or(Ok(ran_unknown), |tag| {
            Err(format!("{} is there and nobody asked for it", String::from_utf8_lossy(&tag)))
        })
    }
}

/// The key of an operation.
pub fn key(op: &KvOp) -> Vec<u8> {
    match op {
        KvOp::Put(key, _) | KvOp::Get(key) | KvOp::Cas(key, ..) | KvOp::Incr(key, _) => key.clone(),
        other => panic!("{other:?} is not asked by these clients"),
    }
}

fn tell(event: &Event) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let of = |value: &Option<Vec<u8>>| value.as_deref().map_or("nothing".to_owned(), text);
    let op = match &event.op {
        KvOp::Put(k, v) => format!("put {} {}", text(k), text(v)),
        KvOp::Get(k) => format!("get {}", text(k)),
        KvOp::Cas(k, old, new) => format!("cas {} {} {}", text(k), of(old), text(new)),
        KvOp::Incr(k, by) => format!("incr {} {by}", text(k)),
        other => format!("{other:?}"),
    };
    let outcome = match &event.outcome {
        Outcome::Answered(KvOut::Value(value)) => text(value),
        Outcome::Answered(KvOut::Mismatch(current)) => format!("mismatch: {}", of(current)),
        Outcome::Answered(out) => format!("{out:?}"),
        other => format!("{other:?}"),
    };
    let ms = |at: u64| at as f64 / 1e6;
    format!("  {:>12.3} to {:>12.3} ms  {op}  ->  {outcome}", ms(event.invoked), ms(event.ended))
}

mod tests {
    use super::*;

    fn event(op: KvOp, (invoked, ended): (u64, u64), outcome: Outcome) -> Event {
        Event { op, invoked, ended, outcome }
    }

    fn put(value: &str, at: (u64, u64), outcome: Outcome) -> Event {
        event(KvOp::Put(b"a".to_vec(), value.into()), at, outcome)
    }

    fn get(value: &str, at: (u64, u64)) -> Event {
        let read = Outcome::Answered(KvOut::Value(value.into()));
        event(KvOp::Get(b"a".to_vec()), at, read)
    }

    fn add(by: i64, at: (u64, u64), sum: Option<i64>) -> Event {
        let outcome = sum.map_or(Outcome::Unknown, |n| Outcome::Answered(KvOut::Number(n)));
        event(KvOp::Incr(b"n".to_vec(), by), at, outcome)
    }

    fn tag(name: &str, outcome: Outcome) -> Event {
        event(KvOp::Incr(format!("{TAG}{name}").into(), 1), (1, 2), outcome)
    }

    fn done() -> Outcome {
        Outcome::Answered(KvOut::Done)
    }

    fn history(events: Vec<Event>, tags: &[(&str, &str)]) -> History {
        let tags = tags.iter().map(|(k, v)| (format!("{TAG}{k}").into(), (*v).into())).collect();
        History { events, tags }
    }

    fn problem(events: Vec<Event>, tags: &[(&str, &str)]) -> String {
        history(events, tags).check().unwrap_err()
    }

    #[test]
    fn what_one_machine_can_have_told_is_accepted() {
        let one = Outcome::Answered(KvOut::Number(1));
        let events = vec![
            put("x", (1, 2), done()),
            // It took effect long after its client had given up,
            put("late", (3, 4), Outcome::Unknown),
            get("x", (5, 6)),
            get("late", (7, 8)),
            // and this one never did.
            put("lost", (7, 9), Outcome::Unknown),
            get("late", (20, 21)),
            add(5, (1, 9), Some(12)),
            add(7, (2, 8), Some(7)),
            add(100, (3, 4), None),
            add(3, (30, 31), Some(115)),
            tag("a", one),
            tag("b", Outcome::Unknown),
            tag("c", Outcome::Unknown),
            tag("d", Outcome::Never),
        ];
        let checked = history(events, &[("a", "1"), ("b", "1")]).check().unwrap();
        assert_eq!(checked, Checked { answered: 8, unknown: 5, ran_unknown: 1 });
    }

    #[test]
    fn a_stale_read_is_found() {
        let (x, y) = (put("x", (1, 2), done()), put("y", (3, 4), done()));
        let told = problem(vec![x.clone(), y.clone(), get("x", (5, 6))], &[]);
        assert!(told.contains("no order explains what happened to a"), "{told}");
        // While the second is under way either is right.
        history(vec![x, y, get("x", (3, 6))], &[]).check().unwrap();
    }

    #[test]
    fn a_lost_write_is_found() {
        let read = event(KvOp::Get(b"a".to_vec()), (5, 6), Outcome::Answered(KvOut::Missing));
        let told = problem(vec![put("x", (1, 2), done()), read.clone()], &[]);
        assert!(told.contains("no order explains"), "{told}");
        // Nobody was told that this one is there.
        history(vec![put("x", (1, 2), Outcome::Unknown), read], &[]).check().unwrap();
        let told = problem(vec![tag("a", Outcome::Answered(KvOut::Number(1)))], &[]);
        assert!(told.contains("was accepted and is lost"), "{told}");
    }

    #[test]
    fn what_ran_twice_is_found() {
        let told = problem(vec![add(5, (1, 2), Some(5)), add(7, (3, 4), Some(17))], &[]);
        assert!(told.contains("no order explains what happened to n"), "{told}");
        // One whose client gave up, too: 100 is there once, and cannot be there again.
        let twice =
            vec![add(100, (1, 2), None), add(5, (3, 4), Some(105)), add(7, (5, 6), Some(212))];
        assert!(problem(twice, &[]).contains("no order explains"));
        let one = || Outcome::Answered(KvOut::Number(1));
        for outcome in [one(), Outcome::Unknown] {
            let told = problem(vec![tag("a", outcome)], &[("a", "2")]);
            assert!(told.contains("did not run once"), "{told}");
        }
        // The second run was the one that answered.
        let told = problem(vec![tag("a", Outcome::Answered(KvOut::Number(2)))], &[("a", "2")]);
        assert!(told.contains("no order explains what happened to tag/a"), "{told}");
    }

    #[test]
    fn what_ran_and_should_not_have_is_found() {
        let told = problem(vec![tag("a", Outcome::Never)], &[("a", "1")]);
        assert!(told.contains("its client was told otherwise"), "{told}");
        assert!(problem(vec![], &[("a", "1")]).contains("nobody asked for it"));
        let told = problem(vec![put("x", (1, 2), Outcome::Never), get("x", (3, 4))], &[]);
        assert!(told.contains("no order explains"), "{told}");
    }

    #[test]
    fn a_history_that_is_too_hard_is_no_success() {
        // Twenty that may each have run or not, and a sum that no choice of them gives.
        let mut events: Vec<Event> = (0..20).map(|i| add(1 << (2 * i), (1, 2), None)).collect();
        events.push(add(1, (3, 4), Some(1 << 50)));
        let told = problem(events, &[]);
        assert!(told.contains("the search takes too long for"), "{told}");
    }
}
