//! Linearizability, checked in two ways that share nothing.
//!
//! [`witness`] takes the order in which a good replica executed and checks that order: fast, and
//! complete for that order. [`search`] trusts nobody's order and looks for one (Wing and Gong's
//! search with Lowe's memo), for histories of clients alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// A sequential object: what the service should be, told independently of it.
pub trait Model {
    /// What can be asked of it.
    type Op: Clone + Debug;
    /// What it answers.
    type Out: Clone + Debug + PartialEq;
    /// Its state.
    type State: Clone + Ord + Default;

    /// Runs one operation.
    fn apply(state: &mut Self::State, op: &Self::Op) -> Self::Out;

    /// The parts of the state that an operation touches: histories over disjoint parts are
    /// searched one by one. `None`: it touches everything.
    fn keys(op: &Self::Op) -> Option<Vec<Vec<u8>>>;
}

/// One operation as its client saw it.
#[derive(Clone, Debug)]
pub struct Operation<M: Model> {
    /// When it was invoked.
    pub invoked: u64,
    /// When it was answered and what; `None`: never, so it may have happened at any time after
    /// its invocation, or not at all.
    pub answered: Option<(u64, M::Out)>,
    /// What was asked.
    pub op: M::Op,
}

/// The verdict on a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An order explains every answer.
    Linearizable,
    /// None does; the places of the operations that have none among them.
    NotLinearizable(Vec<usize>),
    /// The limit on steps came first. To be treated as a failure: the history is too hard.
    Unknown,
}

/// Searches for an order that explains every answer, in at most so many steps altogether.
pub fn search<M: Model>(history: &[Operation<M>], max_steps: u64) -> Verdict {
    let mut steps = max_steps;
    for component in components(history) {
        let mut part: Vec<usize> = component.clone();
        part.sort_by_key(|&i| (history[i].invoked, i));
        let operations: Vec<&Operation<M>> = part.iter().map(|&i| &history[i]).collect();
        match search_part(&operations, &mut steps) {
            Some(true) => {}
            Some(false) => return Verdict::NotLinearizable(component),
            None => return Verdict::Unknown,
        }
    }
    Verdict::Linearizable
}

// Groups operations that touch a common key, directly or through others.
fn components<M: Model>(history: &[Operation<M>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(BTreeSet<Vec<u8>>, Vec<usize>)> = Vec::new();
    for (i, operation) in history.iter().enumerate() {
        let Some(keys) = M::keys(&operation.op) else { return vec![(0..history.len()).collect()] };
        let mut merged = (keys.into_iter().collect::<BTreeSet<_>>(), vec![i]);
        groups.retain_mut(|(theirs, members)| {
            let apart = theirs.is_disjoint(&merged.0);
            if !apart {
                merged.0.append(theirs);
                merged.1.append(members);
            }
            apart
        });
        groups.push(merged);
    }
    let mut parts: Vec<Vec<usize>> = groups.into_iter().map(|(_, members)| members).collect();
    parts.iter_mut().for_each(|p| p.sort_unstable());
    parts
}

// Where the search stands: all before `low` are placed, and these beyond it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place<S> {
    low: usize,
    beyond: BTreeSet<usize>,
    state: S,
}

// `operations` in the order of their invocations. `None` when the steps run out.
fn search_part<M: Model>(operations: &[&Operation<M>], steps: &mut u64) -> Option<bool> {
    let start = Place { low: 0, beyond: BTreeSet::new(), state: M::State::default() };
    let mut visited = BTreeSet::from([start.clone()]);
    let mut stack = vec![start];
    while let Some(place) = stack.pop() {
        if explained(operations, &place) {
            return Some(true);
        }
        // In reverse, so that what was invoked first is tried first: mostly that is right.
        for i in candidates(operations, &place).into_iter().rev() {
            *steps = steps.checked_sub(1)?;
            let mut state = place.state.clone();
            let out = M::apply(&mut state, &operations[i].op);
            if operations[i].answered.as_ref().is_some_and(|(_, said)| *said != out) {
                continue;
            }
            let mut next = Place { low: place.low, beyond: place.beyond.clone(), state };
            next.beyond.insert(i);
            while next.beyond.remove(&next.low) {
                next.low += 1;
            }
            if visited.insert(next.clone()) {
                stack.push(next);
            }
        }
    }
    Some(false)
}

fn explained<M: Model>(operations: &[&Operation<M>], place: &Place<M::State>) -> bool {
    let rest = operations.iter().enumerate().skip(place.low);
    rest.filter(|(i, _)| !place.beyond.contains(i)).all(|(_, o)| o.answered.is_none())
}

// Which may come next: those invoked before (or when) any other that is left was answered.
fn candidates<M: Model>(operations: &[&Operation<M>], place: &Place<M::State>) -> Vec<usize> {
    let (mut first_answer, mut out) = (u64::MAX, Vec::new());
    for (i, operation) in operations.iter().enumerate().skip(place.low) {
        if operation.invoked > first_answer {
            break;
        }
        if !place.beyond.contains(&i) {
            out.push(i);
            let answered = operation.answered.as_ref().map_or(u64::MAX, |(at, _)| *at);
            first_answer = first_answer.min(answered);
        }
    }
    out
}

/// What an executed request did, according to the replica whose order is the witness.
#[derive(Clone, Debug, PartialEq)]
pub enum Effected<O> {
    /// Ran, and answered this, one output an operation.
    Answered(Vec<O>),
    /// Ran; the outputs were withheld.
    Ran,
    /// Had no effect.
    Nothing,
}

/// One request in the witness's order.
#[derive(Clone, Debug)]
pub struct Placed<K, M: Model> {
    /// Names the request.
    pub request: K,
    /// Its operations, which run in this order with nothing between them.
    pub ops: Vec<M::Op>,
    /// What came of it.
    pub effect: Effected<M::Out>,
}

/// One request as its correct client saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<O> {
    /// When it was invoked.
    pub invoked: u64,
    /// When it was answered and what, if it was; `Nothing` for a refusal.
    pub answered: Option<(u64, Effected<O>)>,
}

/// Checks a good replica's order against what correct clients saw. Requests that no correct
/// client sent may stand anywhere in it: they could have been invoked at any time.
///
/// # Errors
/// What does not fit: an output that the model does not give, an answer that was not the
/// executed one, a request executed twice or answered and not executed, or an order that
/// contradicts real time.
pub fn witness<K: Ord + Debug, M: Model>(
    order: &[Placed<K, M>],
    calls: &BTreeMap<K, Call<M::Out>>,
) -> Result<(), String> {
    let mut state = M::State::default();
    let mut places: BTreeMap<&K, usize> = BTreeMap::new();
    let mut latest: Option<(u64, &K)> = None;
    for (at, placed) in order.iter().enumerate() {
        replay(&mut state, placed)?;
        if let Some(before) = places.insert(&placed.request, at) {
            return Err(format!("{:?} executed twice, as {before} and {at}", placed.request));
        }
        let Some(call) = calls.get(&placed.request) else { continue };
        if let Some((answered, said)) = &call.answered {
            if *said != placed.effect {
                let (request, effect) = (&placed.request, &placed.effect);
                return Err(format!("{request:?} was answered {said:?}, executed as {effect:?}"));
            }
            if let Some((invoked, earlier)) = latest.filter(|(invoked, _)| invoked > answered) {
                return Err(format!(
                    "{earlier:?}, invoked at {invoked}, stands before {:?}, answered at {answered}",
                    placed.request
                ));
            }
        }
        if latest.is_none_or(|(invoked, _)| call.invoked > invoked) {
            latest = Some((call.invoked, &placed.request));
        }
    }
    let lost = calls.iter().find(|(k, c)| c.answered.is_some() && !places.contains_key(k));
    lost.map_or(Ok(()), |(k, _)| Err(format!("{k:?} was answered and stands nowhere")))
}

/// A read that stands in no order: what a correct client asked and was told, and when.
#[derive(Clone, Debug)]
pub struct Read<M: Model> {
    /// When it was invoked.
    pub invoked: u64,
    /// When it was answered.
    pub answered: u64,
    /// What was asked, and what was told.
    pub told: Vec<(M::Op, M::Out)>,
}

/// Checks that reads show the states that a good replica's order leads to, each one at a place that
/// real time allows: behind all that was answered before the read was invoked, other reads too, and
/// before all that was invoked after it was answered.
///
/// The first place that fits is as good as any: whatever comes later has to stand behind it at
/// most.
///
/// # Errors
/// Which read has no place.
pub fn reads<K: Ord + Debug, M: Model>(
    order: &[Placed<K, M>],
    calls: &BTreeMap<K, Call<M::Out>>,
    mut reads: Vec<Read<M>>,
) -> Result<(), String> {
    if reads.is_empty() {
        return Ok(());
    }
    let mut states = vec![M::State::default()];
    for placed in order {
        let mut state = states.last().cloned().unwrap_or_default();
        replay(&mut state, placed)?;
        states.push(state);
    }
    let of = |placed: &Placed<K, M>| {
        let call = calls.get(&placed.request)?;
        Some((call.invoked, call.answered.as_ref().map_or(u64::MAX, |(at, _)| *at)))
    };
    reads.sort_by_key(|read| read.answered);
    let mut done: Vec<(u64, usize)> = Vec::new();
    for read in reads {
        let before = |p: &Placed<K, M>| of(p).is_some_and(|(_, answered)| answered < read.invoked);
        let after = |p: &Placed<K, M>| of(p).is_some_and(|(invoked, _)| invoked > read.answered);
        let behind_writes = order.iter().rposition(before).map_or(0, |at| at + 1);
        let earlier = done.iter().filter(|(at, _)| *at < read.invoked).map(|(_, place)| *place);
        let first = earlier.max().unwrap_or(0).max(behind_writes);
        let last = order.iter().position(after).unwrap_or(order.len());
        let fits = |place: &usize| {
            let mut state = states[*place].clone();
            read.told.iter().all(|(op, out)| M::apply(&mut state, op) == *out)
        };
        let Some(place) = (first..=last).find(fits) else {
            return Err(format!(
                "{:?}, asked at {} and told at {}, fits no place from {first} to {last} of {}",
                read.told,
                read.invoked,
                read.answered,
                order.len()
            ));
        };
        done.push((read.answered, place));
    }
    Ok(())
}

fn replay<K: Debug, M: Model>(state: &mut M::State, placed: &Placed<K, M>) -> Result<(), String> {
    if placed.effect == Effected::Nothing {
        return Ok(());
    }
    let outs: Vec<M::Out> = placed.ops.iter().map(|op| M::apply(state, op)).collect();
    match &placed.effect {
        Effected::Answered(said) if *said != outs => Err(format!(
            "{:?} {:?} gave {said:?}, a correct machine gives {outs:?}",
            placed.request, placed.ops
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
