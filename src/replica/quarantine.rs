//! What a replica does about divergence (docs/protocol.md §6): it keeps the evidence, gives up its
//! own state if that is the wrong one, and stops if the service is not deterministic.

use super::difference::{Found, Search};
use super::divergence::{Compared, Judge, Place, Verdict};
use super::outputs::StepOutputs;
use super::replica::{Replica, to_peer};
use super::{Action, Actions, Event, Lane};
use crate::crypto::{Scheme, Unverified, Verified};
use crate::ordering::Step;
use crate::proof::{Attested, DivergenceFile};
use crate::service::sessions::Lookup;
use crate::service::words::{self, in_words};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Digest, Ensemble, Instant, Members, Now, ReplicaId, Round};
use crate::wire::{Header, Leaves, Message, Outcome, RequestBody, WantLeaves};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

/// The state is rebuilt so often within [`WITHIN`], less once: then it is of no use.
const MOST: usize = 3;
const WITHIN: Duration = Duration::from_secs(3600);
/// Files of evidence about one replica, since the start.
const FILES: u32 = 8;
/// While another has other outputs, requests are kept for so many rounds more, to name the first.
const HELD: u64 = 64;

/// Whether this replica has given up a wrong state, and what it knows of others' differences.
#[derive(Debug)]
pub(super) struct Quarantine {
    /// Replicas whose attestation differs from ours.
    pub(super) diverged: Members,
    /// How far others' outputs are ours.
    pub(super) compared: Compared,
    /// Who is in the minority.
    judge: Judge,
    /// Where that was found, until there is another state.
    found: Option<Round>,
    /// When each began.
    begun: VecDeque<Instant>,
    /// Files of evidence about each replica.
    files: BTreeMap<ReplicaId, u32>,
    /// The search for the first difference, once all have stopped.
    search: Option<Search>,
    /// Why all have stopped, before anything was found.
    split: String,
}

impl Quarantine {
    pub(super) fn new(ensemble: Ensemble) -> Self {
        Self {
            diverged: Members::NONE,
            compared: Compared::new(ensemble.n()),
            judge: Judge::new(ensemble),
            found: None,
            begun: VecDeque::new(),
            files: BTreeMap::new(),
            search: None,
            split: String::new(),
        }
    }

    /// Whether this replica has no state since its own was wrong.
    pub(super) fn is_on(&self) -> bool {
        self.found.is_some()
    }

    /// The round at which that was found.
    pub(super) fn found(&self) -> Option<Round> {
        self.found
    }

    /// It begins now; whether once more is too often.
    fn begin(&mut self, now: Instant, round: Round) -> bool {
        self.found = Some(round);
        self.begun.retain(|at| now.since(*at) < WITHIN);
        self.begun.push_back(now);
        self.begun.len() >= MOST
    }

    pub(super) fn next_wake(&self, every: Duration) -> Option<Instant> {
        self.search.as_ref()?.next_wake(every)
    }
}

impl<S: Scheme> Replica<S> {
    /// A vector is committed: does it show that somebody has another state than the others?
    pub(super) fn look_for_divergence(&mut self, now: Now, step: &Step, out: &mut Actions) {
        if self.journal.is_replaying() || self.executor.halted().is_some() {
            return;
        }
        for verdict in self.quarantine.judge.hear(&step.proposals) {
            match verdict {
                Verdict::Minority { replica, place, statements } => {
                    self.keep_divergence(Some(replica), place, statements, out);
                    if replica == self.id {
                        self.quarantine(now, place.round(), out);
                    }
                }
                Verdict::Split { place, said, statements } => {
                    self.keep_divergence(None, place, statements, out);
                    self.split(now, place, &said, out);
                    return;
                }
            }
        }
    }

    fn keep_divergence(
        &mut self,
        whom: Option<ReplicaId>,
        place: Place,
        statements: Vec<Verified<Header>>,
        out: &mut Actions,
    ) {
        if let Some(replica) = whom {
            let files = self.quarantine.files.entry(replica).or_default();
            *files += 1;
            if *files > FILES {
                return;
            }
        }
        let about = match place {
            Place::Step(position) => Attested::Outputs(position),
            Place::Checkpoint(round) => Attested::State(round),
        };
        let statements = statements.into_iter().map(Unverified::from).collect();
        let file = DivergenceFile::new(about, statements, &self.keyring);
        self.counters.evidence += 1;
        let (name, bytes) = (file.name(whom), file.to_bytes().into());
        out.push(Action::Evidence { name, bytes });
    }

    /// `t + 1` others attest something else: nothing that is here can be relied on.
    fn quarantine(&mut self, now: Now, round: Round, out: &mut Actions) {
        if self.executor.is_lost() || self.core.is_astray() || planted("s6-quarantine-answers") {
            return;
        }
        mark("§6 a replica found itself in the minority");
        self.counters.quarantines += 1;
        let too_often = self.quarantine.begin(now.monotonic, round);
        let times = self.quarantine.begun.len() as u32;
        out.push(Action::Event(Event::Quarantined { round, times }));
        // It may have answered what it does not stand by any more.
        self.rolled.back(self.core.committed_epoch(), true);
        self.journal.forget_unsaid();
        self.shelf.forget();
        self.quarantine.compared.clear();
        self.executor.lose();
        self.fetch.end();
        self.attest();
        if too_often {
            let why = format!(
                "{times} times within an hour t + 1 others attested other results than this \
                 replica, the last time at round {}: its memory, its disk or its copy of the \
                 service is broken; replace the machine or the program, and start it again",
                round.0
            );
            return self.halt(why, out);
        }
        self.behind(out);
    }

    /// There is another state, that after this round.
    pub(super) fn released(&mut self, round: Round, out: &mut Actions) {
        self.quarantine.compared.clear();
        if self.quarantine.found.take().is_some() {
            mark("§6 a replica has a state again after a quarantine");
            self.quarantine.judge.rebuilt(self.id, round);
            out.push(Action::Event(Event::Released { round }));
        }
    }

    fn halt(&mut self, why: String, out: &mut Actions) {
        self.executor.halt(why.clone());
        if !std::mem::replace(&mut self.halt_reported, true) {
            out.push(Action::Event(Event::Halted { why }));
        }
    }

    // --- the service is not deterministic -------------------------------------------------------

    /// Nothing can have `t + 1` at this place: no answer is right any more, so none is given.
    fn split(&mut self, now: Now, place: Place, said: &[(ReplicaId, Digest)], out: &mut Actions) {
        mark("§6 no t + 1 can agree");
        let who: Vec<String> = said.iter().map(|(r, value)| format!("{r} {value}")).collect();
        let what = match place {
            Place::Step(_) => "results of all commands up to round",
            Place::Checkpoint(_) => "states after round",
        };
        let why = format!(
            "the service is not deterministic: of the {what} {} no t + 1 replicas can have the \
             same ({})",
            place.round().0,
            who.join(", ")
        );
        let mut search = Search::default();
        for replica in self.keyring.ensemble().replicas().filter(|r| *r != self.id) {
            if let Some((agreed, position, running)) = self.quarantine.compared.differs(replica) {
                let own = self.executor.outputs_since(agreed.next()).next();
                search.add(replica, (position, running), own);
            }
        }
        self.quarantine.search = Some(search);
        self.quarantine.split.clone_from(&why);
        out.push(Action::KeepHalted { words: why.clone() });
        self.halt(why, out);
        self.search_difference(now, out);
    }

    /// Asks the others for their results, or tells what came of it.
    pub(super) fn search_difference(&mut self, now: Now, out: &mut Actions) {
        let every = self.timing.patience;
        let Some(search) = &mut self.quarantine.search else { return };
        for (peer, want) in search.ask(now.monotonic, every) {
            out.push(to_peer(peer, Lane::Bulk, want.to_frame(self.group)));
        }
        if search.is_over() {
            let search = std::mem::take(&mut self.quarantine.search).expect("it was just there");
            let words = self.words_of(&search);
            self.executor.halt_for(words.clone());
            out.push(Action::Event(Event::Nondeterministic { words: words.clone() }));
            out.push(Action::KeepHalted { words });
        }
    }

    /// Another asks what came out of a step here.
    pub(super) fn want_leaves(&mut self, peer: ReplicaId, want: WantLeaves, out: &mut Actions) {
        let of = |step: &StepOutputs| {
            let leaves = step.leaves.iter().skip(want.first as usize).take(Leaves::MOST);
            Leaves {
                position: step.position,
                before: step.before,
                total: step.leaves.len() as u32,
                first: want.first.min(step.leaves.len() as u32),
                leaves: leaves.map(|leaf| (leaf.request, leaf.output)).collect(),
            }
        };
        let known = self.executor.outputs_since(want.round).next().map(of);
        let answer = known.unwrap_or_else(|| Leaves::unknown(want.round));
        let frame = answer.to_frame(self.group);
        if self.answers.may(super::answers::Asker::Peer(peer), frame.len()) {
            out.push(to_peer(peer, Lane::Bulk, frame));
        }
    }

    /// Another says what came out of a step there.
    pub(super) fn leaves(&mut self, now: Now, peer: ReplicaId, given: &Leaves, out: &mut Actions) {
        let Some(search) = &mut self.quarantine.search else { return };
        let own = self.executor.outputs_since(given.position.round).next();
        if let Some(next) = search.take(peer, given, own) {
            out.push(to_peer(peer, Lane::Bulk, next.to_frame(self.group)));
        }
        self.search_difference(now, out);
    }

    /// What people need to know.
    fn words_of(&self, search: &Search) -> String {
        let mut text = format!("{}.", self.quarantine.split);
        let Some(first) = search.first() else {
            for (replica, outcome) in search.outcomes() {
                let _ = write!(text, " {replica}: {}.", outcome.err().unwrap_or_default());
            }
            let _ = write!(
                text,
                " Which command it was does not show in what replicas answered: it was one after \
                 the last checkpoint that t + 1 agree on, of round {}. To find it, compare two \
                 replicas' logs: quorate replay --config CLUSTER --data ONE --against OTHER, and \
                 --check-determinism.",
                self.stable.0
            );
            return text;
        };
        let _ =
            write!(text, " The first command with different results is {}", self.name_of(first));
        for (replica, outcome) in search.outcomes() {
            match outcome {
                Ok(found) if (found.position, found.index) == (first.position, first.index) => {
                    let _ = write!(text, "; {replica} gave {}", found.theirs);
                }
                Ok(_) => {
                    let _ = write!(text, "; {replica} gave {} as well", first.ours);
                }
                Err(why) => {
                    let _ = write!(text, "; of {replica} it is not known: {why}");
                }
            }
        }
        text.push('.');
        text
    }

    /// The request in words: whose, which, what it asked for, and what came out here.
    fn name_of(&self, found: Found) -> String {
        let Found { position, index, request, ours, .. } = found;
        let mut text = format!("request {request} at round {}, index {index}", position.round.0);
        let Some(held) = self.bodies.get(&request) else {
            let round = position.round.0;
            let _ = write!(
                text,
                " (its commands: quorate log dump --data DIR --from {round} --to {round})"
            );
            let _ = write!(text, "; {} gave {ours}", self.id);
            return text;
        };
        let (session, number) = (held.request.session, held.request.number);
        let _ = write!(text, ", number {number} of session {session} of client {}", held.client);
        if let Ok(body) = RequestBody::parse(&held.request.body) {
            let service = self.executor.service_name();
            let commands = body.commands.iter().take(COMMANDS);
            let words: Vec<String> = commands.map(|c| in_words(service, &c.bytes)).collect();
            let more = body.commands.len().saturating_sub(COMMANDS);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let _ = write!(text, ": {}{more}", words.join(", "));
        }
        let _ = write!(text, "; {} gave {ours}", self.id);
        let stored = self.executor.stored(&held.client, &held.request, &request);
        if let Lookup::Reply(reply) = stored
            && let Ok(Outcome::Executed(outputs)) = Outcome::parse(&reply.outcome)
        {
            let outputs: Vec<String> =
                outputs.iter().take(COMMANDS).map(|o| words::text(o)).collect();
            let _ = write!(text, " ({})", outputs.join(", "));
        }
        text
    }

    /// Up to which round requests may go that all have executed: while somebody has other outputs
    /// than this replica, the request that shows it is kept for a while.
    pub(super) fn unneeded_until(&self, committed: Round) -> Round {
        let all = self.keyring.ensemble().replicas();
        let held = all
            .filter_map(|r| self.quarantine.compared.differs(r))
            .filter_map(|(agreed, at, _)| (committed.0 < at.round.0 + HELD).then_some(agreed));
        held.min().map_or(self.bodies_needed_until(), |held| held.min(self.bodies_needed_until()))
    }
}

/// Commands of a request that are shown.
const COMMANDS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_time_within_an_hour_is_too_often() {
        let at = |minutes: u64| Instant(0) + Duration::from_secs(60 * minutes);
        let mut quarantine = Quarantine::new(Ensemble::new(1).unwrap());
        assert!(!quarantine.begin(at(0), Round(5)) && quarantine.is_on());
        assert!(!quarantine.begin(at(10), Round(8)) && !quarantine.begin(at(61), Round(9)));
        assert_eq!(quarantine.found(), Some(Round(9)));
        assert!(quarantine.begin(at(69), Round(11)), "three in an hour");
    }
}
