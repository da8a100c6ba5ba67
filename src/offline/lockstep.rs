//! Two executions side by side, and where they first differ.

use super::player::{Seen, SeenCommand, SeenStep};
use super::text;
use crate::types::{RequestId, Round};
use bytes::Bytes;
use std::collections::VecDeque;

/// The first difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The round of the step.
    pub round: Round,
    /// The request's place in the step, if it is about one.
    pub index: Option<u32>,
    /// The request.
    pub request: Option<RequestId>,
    /// The number of the command in the request, from 0, and its bytes.
    pub command: Option<(usize, Bytes)>,
    /// What differs.
    pub what: &'static str,
    /// What it is in the first and in the second execution, in words.
    pub values: [String; 2],
}

impl Difference {
    fn of_step(round: Round, what: &'static str, values: [String; 2]) -> Self {
        Self { round, index: None, request: None, command: None, what, values }
    }

    fn of_request(step: Round, seen: &Seen, what: &'static str, values: [String; 2]) -> Self {
        let (index, request) = (Some(seen.index), Some(seen.request));
        Self { round: step, index, request, command: None, what, values }
    }
}

/// Takes steps of two executions, of which one may be ahead, and compares those of the same round.
/// Rounds that only one of them has at its beginning are passed over: it began with an older
/// snapshot.
#[derive(Debug, Default)]
pub struct Lockstep {
    waiting: [VecDeque<SeenStep>; 2],
    begun: bool,
    compared: u64,
    last: Option<Round>,
}

impl Lockstep {
    /// Nothing is compared yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which of the two a step is needed of, 0 or 1.
    pub fn needs(&self) -> Option<usize> {
        self.waiting.iter().position(VecDeque::is_empty)
    }

    /// Takes a step of one of the two, 0 or 1, and gives the first difference if there is one by
    /// now.
    pub fn take(&mut self, which: usize, step: SeenStep) -> Option<Difference> {
        self.waiting[usize::from(which != 0)].push_back(step);
        while let [Some(a), Some(b)] = [self.waiting[0].front(), self.waiting[1].front()] {
            if !self.begun && a.position.round != b.position.round {
                let behind = usize::from(b.position.round < a.position.round);
                self.waiting[behind].pop_front();
                continue;
            }
            self.begun = true;
            let difference = difference(a, b);
            self.last = Some(a.position.round);
            self.compared += 1;
            self.waiting.iter_mut().for_each(|steps| drop(steps.pop_front()));
            if difference.is_some() {
                return difference;
            }
        }
        None
    }

    /// How many steps both have, and the last of their rounds.
    pub fn compared(&self) -> (u64, Option<Round>) {
        (self.compared, self.last)
    }
}

fn difference(a: &SeenStep, b: &SeenStep) -> Option<Difference> {
    let round = a.position.round.min(b.position.round);
    let differ =
        |what, one: String, two: String| Some(Difference::of_step(round, what, [one, two]));
    if a.position.round != b.position.round {
        let of = |step: &SeenStep| format!("a step of round {}", step.position.round);
        return differ("the next step", of(a), of(b));
    }
    if a.position.vector != b.position.vector {
        let of = |step: &SeenStep| step.position.vector.to_hex();
        return differ("the committed vector", of(a), of(b));
    }
    if a.time != b.time {
        return differ("the agreed time", a.time.0.to_string(), b.time.0.to_string());
    }
    for (one, two) in a.requests.iter().zip(&b.requests) {
        if let Some(found) = of_requests(round, one, two) {
            return Some(found);
        }
    }
    if a.requests.len() != b.requests.len() {
        let of = |step: &SeenStep| step.requests.len().to_string();
        return differ("the number of requests", of(a), of(b));
    }
    if a.running != b.running {
        return differ("the running root", a.running.to_hex(), b.running.to_hex());
    }
    match (a.checkpoint, b.checkpoint) {
        (Some((_, Some(one))), Some((_, Some(two)))) if one != two => {
            differ("the service's snapshot", one.to_hex(), two.to_hex())
        }
        (Some((one, _)), Some((two, _))) if one != two => {
            differ("the state at the checkpoint", one.to_hex(), two.to_hex())
        }
        _ => None,
    }
}

fn of_requests(round: Round, a: &Seen, b: &Seen) -> Option<Difference> {
    let differ =
        |what, one: String, two: String| Some(Difference::of_request(round, a, what, [one, two]));
    if a.digest != b.digest || a.index != b.index {
        let of = |seen: &Seen| format!("{} at {}", seen.request, seen.index);
        return differ("the request", of(a), of(b));
    }
    for (number, (one, two)) in a.commands.iter().zip(&b.commands).enumerate() {
        let found = of_commands(one, two);
        if let Some((what, values)) = found {
            let command = Some((number, one.command.clone()));
            return Some(Difference { command, ..Difference::of_request(round, a, what, values) });
        }
    }
    if a.outcome != b.outcome {
        return differ("the outcome", text(&a.outcome), text(&b.outcome));
    }
    None
}

fn of_commands(a: &SeenCommand, b: &SeenCommand) -> Option<(&'static str, [String; 2])> {
    if a.output != b.output {
        return Some(("the output", [text(&a.output), text(&b.output)]));
    }
    match (a.state, b.state) {
        (Some(one), Some(two)) if one != two => {
            Some(("the state behind it", [one.to_hex(), two.to_hex()]))
        }
        _ => None,
    }
}
