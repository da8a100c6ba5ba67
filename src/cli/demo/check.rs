//! Whether the accepted answers can be what one correct service gave, one request after the other.

use super::model::{Model, is_same};
use super::workload::Entry;
use crate::service::kv::Output;
use crate::types::{Digest, Round};
use std::collections::BTreeMap;

/// Mistakes of each kind that are told at most; there may be thousands.
const TOLD: usize = 3;

/// What is wrong with a history.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Outputs that the model gives otherwise.
    pub(super) wrong_outputs: usize,
    /// Breaches of the order: two requests at one place, two vectors in one round, a request
    /// placed before one that had been answered when it was made.
    pub(super) disorder: usize,
    /// The first ones, in sentences.
    pub(super) told: Vec<String>,
}

/// Puts the entries in the order that their positions say, and checks that order and the outputs.
pub(super) fn check(entries: &mut [Entry]) -> Findings {
    entries.sort_by_key(place);
    let mut findings = Findings::default();
    let disorder = [places(entries), vectors(entries), real_time(entries)];
    findings.disorder = disorder.iter().map(Vec::len).sum();
    for kind in disorder {
        findings.told.extend(kind.into_iter().take(TOLD));
    }
    let wrong = outputs(entries);
    findings.wrong_outputs = wrong.len();
    findings.told.extend(wrong.into_iter().take(TOLD));
    findings
}

fn place(entry: &Entry) -> (Round, u32) {
    (entry.answer.position.round, entry.answer.index)
}

// For sentences.
fn named(entry: &Entry) -> String {
    let ops: Vec<String> = entry.ops.iter().map(ToString::to_string).collect();
    let (round, index) = place(entry);
    let client = entry.client + 1;
    format!("`{}` of client {client} at round {round}, index {index}", ops.join("; "))
}

// No place is given twice.
fn places(entries: &[Entry]) -> Vec<String> {
    let pairs = entries.windows(2).filter(|w| place(&w[0]) == place(&w[1]));
    pairs.map(|w| format!("{} shares its place with {}", named(&w[0]), named(&w[1]))).collect()
}

// A round has one vector.
fn vectors(entries: &[Entry]) -> Vec<String> {
    let mut vectors: BTreeMap<Round, Digest> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in entries {
        let position = entry.answer.position;
        let first = *vectors.entry(position.round).or_insert(position.vector);
        if first != position.vector {
            let (one, other) = (first, position.vector);
            wrong.push(format!("{} has vector {other}, the round had {one}", named(entry)));
        }
    }
    wrong
}

// What was asked after an answer had come stands behind that answer's request.
fn real_time(entries: &[Entry]) -> Vec<String> {
    let mut wrong = Vec::new();
    // The latest invoked of all that stand before.
    let mut latest: Option<&Entry> = None;
    for entry in entries {
        if let Some(before) = latest.filter(|b| entry.completed < b.invoked) {
            let (done, late) = (named(entry), named(before));
            wrong.push(format!("{done} was answered before {late} was asked, but stands behind"));
        }
        if latest.is_none_or(|l| l.invoked < entry.invoked) {
            latest = Some(entry);
        }
    }
    wrong
}

fn outputs(entries: &[Entry]) -> Vec<String> {
    let mut model = Model::default();
    let mut wrong = Vec::new();
    for entry in entries {
        let given = &entry.answer.outputs;
        if given.len() != entry.ops.len() {
            wrong.push(format!("{} has {} outputs", named(entry), given.len()));
        }
        for (number, op) in entry.ops.iter().enumerate() {
            // Applied in any case: later ones build on it.
            let expected = model.apply(op);
            let Some(bytes) = given.get(number) else { continue };
            match Output::parse(bytes) {
                Ok(output) if is_same(&expected, &output) => {}
                Ok(output) => wrong.push(format!(
                    "{}: `{op}` gave {output:?}, the model says {expected:?}",
                    named(entry)
                )),
                Err(e) => wrong.push(format!("{}: `{op}` gave no output: {e}", named(entry))),
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::super::model::Op;
    use super::*;
    use crate::client::{Answer, Explanation};
    use crate::types::{ClientId, RequestId, SessionId};
    use crate::wire::StepPosition;
    use std::time::{Duration, Instant};

    fn put(key: &str, value: &str) -> Op {
        Op::Put(key.to_owned(), value.to_owned())
    }

    fn get(key: &str) -> Op {
        Op::Get(key.to_owned())
    }

    /// Made and answered at these milliseconds, executed at this place.
    fn entry(
        started: Instant,
        (from, to): (u64, u64),
        (round, index): (u64, u32),
        op: Op,
        output: Output,
    ) -> Entry {
        let id = RequestId { client: ClientId([0; 32]), session: SessionId(1), number: 1 };
        let vector = Digest([u8::try_from(round).unwrap(); 32]);
        let answer = Answer {
            request: id,
            outputs: vec![output.encode().into()],
            position: StepPosition { round: Round(round), vector },
            index,
            explanation: Explanation::default(),
        };
        let at = |ms| started + Duration::from_millis(ms);
        Entry { client: 0, ops: vec![op], invoked: at(from), completed: at(to), answer }
    }

    fn good() -> Vec<Entry> {
        let now = Instant::now();
        let value = |text: &str| Output::Value(text.to_owned().into());
        vec![
            entry(now, (30, 40), (3, 0), get("a"), value("2")),
            entry(now, (0, 10), (1, 0), put("a", "1"), Output::Done),
            entry(now, (5, 25), (2, 7), put("a", "2"), Output::Done),
            // At the same time as the one before: either order is right, the place decides.
            entry(now, (12, 24), (2, 3), get("a"), value("1")),
        ]
    }

    #[test]
    fn a_good_history_is_clean_whatever_order_it_comes_in() {
        assert_eq!(check(&mut good()), Findings::default());
    }

    #[test]
    fn a_wrong_output_is_found_and_told() {
        let mut entries = good();
        entries[0].answer.outputs[0] = Output::Value("1".into()).encode().into();
        let found = check(&mut entries);
        assert_eq!((found.wrong_outputs, found.disorder), (1, 0));
        assert!(found.told[0].contains("`get a` of client 1 at round 3, index 0"), "{found:?}");
        for bytes in [vec![], vec![99]] {
            let mut entries = good();
            entries[1].answer.outputs[0] = bytes.into();
            assert_eq!(check(&mut entries).wrong_outputs, 1);
        }
        let mut entries = good();
        entries[1].answer.outputs.clear();
        assert_eq!(check(&mut entries).wrong_outputs, 1);
    }

    #[test]
    fn a_place_given_twice_is_found() {
        let mut entries = good();
        entries[3].answer.index = 7;
        assert!(check(&mut entries).told[0].contains("shares its place"));
    }

    #[test]
    fn two_vectors_in_one_round_are_found() {
        let mut entries = good();
        entries[2].answer.position.vector = Digest([9; 32]);
        assert_eq!(check(&mut entries).disorder, 1);
    }

    #[test]
    fn an_order_against_real_time_is_found() {
        let mut entries = good();
        // Answered before the write at round 2, index 7 was asked, and yet behind it.
        entries[1].answer.position = StepPosition { round: Round(4), vector: Digest([4; 32]) };
        let found = check(&mut entries);
        assert_eq!(found.disorder, 1, "{found:?}");
        assert!(found.told[0].contains("was answered before"), "{found:?}");
    }
}
