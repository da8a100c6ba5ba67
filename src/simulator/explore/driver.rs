//! The driver of the cores: it does their actions, and nothing else.

use super::ghost::Violation;
use super::moves::Msg;
use super::world::{DELTA, Packet, World, request};
use crate::ordering::{Action, Event, Fingerprint, Input, Statement};
use crate::types::{Instant, ReplicaId, Round};
use crate::wire::{Attestation, Evidence, Record};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

type Done = Result<(), Violation>;

impl World {
    /// Hands one event to a core and does what it asks for.
    pub(super) fn feed(&mut self, to: ReplicaId, input: Input) -> Done {
        let mut inputs = VecDeque::from([input]);
        let now = self.clock();
        while let Some(input) = inputs.pop_front() {
            let Some(core) = self.nodes[to.index()].core.as_mut() else { return Ok(()) };
            let core = Arc::make_mut(core);
            let mut actions = Vec::new();
            let words = format!("{input:?}");
            let ran = catch_unwind(AssertUnwindSafe(|| core.handle(now, input, &mut actions)));
            if ran.is_err() {
                let words: String = words.chars().take(300).collect();
                return Err(Violation { what: "no panic", how: format!("{to} on {words}") });
            }
            for action in actions {
                self.act(to, action, &mut inputs)?;
            }
        }
        Ok(())
    }

    fn act(&mut self, who: ReplicaId, action: Action, inputs: &mut VecDeque<Input>) -> Done {
        match action {
            // Replicas there start again without their logs.
            Action::Log(_) => {}
            Action::Broadcast(p) => {
                let wrong = Arc::make_mut(&mut self.book).proposal(&p, true);
                wrong.map_err(|how| Violation { what: "signs once", how })?;
                self.send_all(who, Msg::Proposal(p));
            }
            Action::Send { to, proposal } => self.send(who, to, Arc::new(Msg::Proposal(proposal))),
            Action::Ask(want) => self.send_all(who, Msg::Want(want)),
            Action::Committed(step) => {
                Arc::make_mut(&mut self.ghost).committed(who, &step)?;
                let position = step.position;
                inputs.push_back(Input::Attest(Attestation { position, ..Attestation::default() }));
            }
            Action::TellAll(what) => {
                let msg = self.message(who, what)?;
                self.send_all(who, msg);
            }
            Action::Tell { to, what } | Action::Show { to, what } => {
                let msg = self.message(who, what)?;
                self.send(who, to, Arc::new(msg));
            }
            Action::AskHistory { from, after } => {
                self.send(who, from, Arc::new(Msg::WantHistory(after)));
            }
            Action::Gone { to } => self.send(who, to, Arc::new(Msg::Gone)),
            Action::Persist { sequence, records } => {
                for record in records.iter().filter_map(|r| Record::parse(r).ok()) {
                    Arc::make_mut(&mut self.book).record(&record);
                }
                let node = &mut self.nodes[who.index()];
                node.writing.push_back((sequence, records));
                node.sync_due = self.now + DELTA / 2;
                if !node.slow_disk {
                    inputs.extend(self.written(who));
                }
            }
            Action::Count { .. } => inputs.push_back(Input::Lacks(Vec::new())),
            Action::NeedBodies { opening, .. } => inputs.push_back(Input::Bodies { opening }),
            Action::Opened(opened) => Arc::make_mut(&mut self.ghost).opened(who, &opened)?,
            // They have no logs to execute again.
            Action::Astray { .. } => {}
            Action::Behind => self.nodes[who.index()].behind = true,
            Action::Event(event) => self.on_event(who, &event)?,
        }
        Ok(())
    }

    /// All that a replica has been writing is on its disk.
    pub(super) fn written(&mut self, who: ReplicaId) -> Vec<Input> {
        let node = &mut self.nodes[who.index()];
        let done: Vec<_> = node.writing.drain(..).collect();
        let disk = Arc::make_mut(&mut node.disk);
        let mut inputs = Vec::new();
        for (sequence, records) in done {
            disk.extend(records);
            inputs.push(Input::Synced { sequence });
        }
        inputs
    }

    fn message(&mut self, who: ReplicaId, what: Statement) -> Result<Msg, Violation> {
        Ok(match what {
            Statement::Proposal(p) => Msg::Proposal(p),
            Statement::Blame(b) => Msg::Evidence(vec![Input::Blame(b)]),
            Statement::Restarted(r) => Msg::Evidence(vec![Input::Restarted(r)]),
            Statement::Stalled(s) => Msg::Evidence(vec![Input::Stalled(s)]),
            Statement::Report(r) => {
                let own = r.header.replica == who;
                let wrong = Arc::make_mut(&mut self.book).report(&r, own);
                wrong.map_err(|how| Violation { what: "reports once", how })?;
                Msg::Report(r)
            }
            Statement::Call(_, evidence) => {
                let all = evidence.into_iter().filter_map(|e| self.checked(e)).collect();
                Msg::Evidence(Input::together(all))
            }
            Statement::Change(change) => Msg::Change(change),
        })
    }

    fn checked(&self, evidence: Evidence) -> Option<Input> {
        let keyring = &self.keyring;
        Some(match evidence {
            Evidence::Blame(b) => Input::Blame(Arc::new(b.verify(keyring).ok()?)),
            Evidence::Restarted(r) => Input::Restarted(Arc::new(r.verify(keyring).ok()?)),
            Evidence::Stalled(s) => Input::Stalled(Arc::new(s.verify(keyring).ok()?)),
            Evidence::Proof(p) => Input::Proof(p),
        })
    }

    fn on_event(&mut self, who: ReplicaId, event: &Event) -> Done {
        Arc::make_mut(&mut self.ghost).event(who, event);
        if let Event::Proven { replica, .. } = event
            && self.honest().contains(*replica)
        {
            let how = format!("{who} holds a proof against {replica}");
            return Err(Violation { what: "no false proof", how });
        }
        let good = self.honest().minus(self.ghost.gone);
        if !self.options.strict || !good.contains(who) {
            return Ok(());
        }
        match event {
            Event::Blamed { accused, .. } if good.contains(*accused) => {
                let how = format!("{who} blames {accused}: {event:?}");
                Err(Violation { what: "no good replica is blamed", how })
            }
            Event::Called { call } if !call.accused.both(good).is_empty() => {
                let how = format!("{who} takes the call {call}");
                Err(Violation { what: "no good replica is accused", how })
            }
            _ => Ok(()),
        }
    }

    // --- messages -------------------------------------------------------------------------------

    fn send_all(&mut self, from: ReplicaId, msg: Msg) {
        let msg = Arc::new(msg);
        for to in self.honest().iter().filter(|to| *to != from) {
            self.send(from, to, msg.clone());
        }
    }

    pub(super) fn send(&mut self, from: ReplicaId, to: ReplicaId, msg: Arc<Msg>) {
        if !self.up().contains(to) {
            return;
        }
        let mut f = Fingerprint::new(Instant(0), 0);
        f.add(&msg);
        // Δ is for delay and handling together.
        let most = if self.nodes[from.index()].slow_disk { DELTA / 2 } else { DELTA };
        let deadline = if self.options.within_delta { self.now + most } else { u64::MAX };
        self.link_mut(from, to).packets.push_back(Packet { msg, deadline, print: f.value() });
    }

    /// A message arrives.
    pub(super) fn arrive(&mut self, from: ReplicaId, to: ReplicaId, msg: &Msg) -> Done {
        let Some(core) = self.core_of(to) else { return Ok(()) };
        match msg {
            Msg::Proposal(p) => {
                let (ahead, news) = (core.is_ahead(p), core.is_news(p));
                if ahead {
                    let (epoch, round) = (p.epoch, p.round);
                    self.feed(to, Input::Ahead { peer: from, epoch, round })?;
                }
                if news {
                    self.feed(to, Input::Proposal(p.clone()))?;
                }
                Ok(())
            }
            Msg::Report(r) => self.feed(to, Input::Report(r.clone())),
            Msg::Evidence(all) => all.iter().try_for_each(|input| self.feed(to, input.clone())),
            Msg::Want(want) => self.feed(to, Input::Want { from, want: *want }),
            Msg::WantHistory(after) => self.feed(to, Input::WantHistory { from, after: *after }),
            Msg::Change(change) => self.feed(to, Input::Change(*change)),
            Msg::Gone => self.feed(to, Input::Gone { from }),
            Msg::Up(complete) => self.feed(to, Input::PeerUp { peer: from, complete: *complete }),
        }
    }

    /// The replica goes on once nothing waits that must have arrived by now.
    pub(super) fn drain(&mut self, at: ReplicaId) -> Done {
        match self.must_arrive(at) {
            true => Ok(()),
            false => self.feed(at, Input::Drained),
        }
    }

    /// Whether something that was sent to this replica must arrive before its timers go off.
    pub(super) fn must_arrive(&self, at: ReplicaId) -> bool {
        let mut from = self.honest().iter();
        from.any(|f| self.link(f, at).packets.front().is_some_and(|p| p.deadline <= self.now))
    }

    /// Requests that are due come to all replicas that are up.
    pub(super) fn give_requests(&mut self) -> Done {
        while self.next_request().is_some_and(|at| at <= self.now) {
            let digest = request(self.requests_given);
            self.requests_given += 1;
            for to in self.up().iter() {
                self.feed(to, Input::Seen { request: digest })?;
            }
            for to in self.up().iter() {
                self.drain(to)?;
            }
        }
        Ok(())
    }

    /// Clients send again what has not been answered.
    pub(super) fn see_all(&mut self, at: ReplicaId) -> Done {
        let all = (0..self.requests_given).map(request).chain(self.last_request);
        all.collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|request| self.feed(at, Input::Seen { request }))
    }

    /// A replica that asked for it takes over the latest state that can be had.
    pub(super) fn transfer(&mut self, to: ReplicaId) -> Done {
        let Some((from, checkpoint, position)) = self.state_for(to) else { return Ok(()) };
        self.nodes[to.index()].behind = false;
        Arc::make_mut(&mut self.ghost).installed(to, from);
        let attestation = Attestation { position, ..Attestation::default() };
        self.feed(to, Input::Attest(attestation))?;
        self.feed(to, Input::Install { state: checkpoint.state, position })?;
        self.see_all(to)?;
        self.drain(to)
    }

    pub(super) fn state_for(
        &self,
        to: ReplicaId,
    ) -> Option<(ReplicaId, crate::ordering::Checkpoint, crate::wire::StepPosition)> {
        let core = self.core_of(to)?;
        let round = (core.committed() > Round(0)).then(|| core.committed());
        let mut from = self.up();
        from.remove(to);
        let liars = self.options.liars.len();
        self.ghost.state_above(round, (from, liars, self.ensemble().majority()))
    }
}
