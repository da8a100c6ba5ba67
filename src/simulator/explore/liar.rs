//! What liars do: as honest ones would, until they do not.

use super::moves::{Move, Msg, Say};
use super::world::{Habit, World, request, signer};
use crate::crypto::{Signable, Verified};
use crate::ordering::{Checked, Core, Input};
use crate::types::{Call, Digest, Epoch, Members, ReplicaId, Root, Round};
use crate::wire::{
    Attestation, Blame, BlameStep, Candidate, Lacks, Proposal, Report, ReportHeader, Restarted,
    Stalled,
};
use std::sync::Arc;

type Keyed = crate::crypto::Keyed;

/// What a liar does of itself: it proposes and reports to those to whom it does not withhold that.
pub(super) fn habitual(world: &World) -> Option<Move> {
    for liar in world.options.liars.iter() {
        for to in world.up().iter() {
            let Some(core) = world.core_of(to) else { continue };
            let Habit { withholds, mute } = world.habits[liar.index()];
            let step = (core.epoch(), core.complete().next());
            let propose = !withholds.contains(to) && !world.said.contains(&(liar, to, step));
            if propose && let Some(p) = proposals(world, liar, core, step.1).into_iter().next() {
                let (msg, habit) = (Arc::new(Msg::Proposal(p)), Some(step));
                return Some(Move::Say(Say { liar, to, msg, habit }));
            }
            let Some(call) = core.promised() else { continue };
            let step = (call.number(), Round(0));
            let report = !mute.contains(to) && !world.said.contains(&(liar, to, step));
            if report && let Some(r) = mimic(world, liar, &call) {
                let (msg, habit) = (Arc::new(Msg::Report(r)), Some(step));
                return Some(Move::Say(Say { liar, to, msg, habit }));
            }
        }
    }
    None
}

/// Everything else that a liar may do next.
pub(super) fn deviations(world: &World, out: &mut Vec<Move>) {
    for liar in world.options.liars.iter() {
        for to in world.up().iter() {
            let Some(core) = world.core_of(to) else { continue };
            let habit = world.habits[liar.index()];
            out.push(Move::Withhold { liar, to, on: !habit.withholds.contains(to) });
            out.push(Move::Mute { liar, to, on: !habit.mute.contains(to) });
            let mut say = |msg: Msg, habit: Option<(Epoch, Round)>| {
                out.push(Move::Say(Say { liar, to, msg: Arc::new(msg), habit }));
            };
            for round in [core.complete().next(), core.complete()] {
                for p in proposals(world, liar, core, round) {
                    if core.is_news(&p) {
                        say(Msg::Proposal(p), Some((core.epoch(), round)));
                    }
                }
            }
            for input in words(world, liar, core, to) {
                say(Msg::Evidence(vec![input]), None);
            }
            for report in reports(world, liar, to) {
                say(Msg::Report(report), None);
            }
        }
    }
}

/// A liar has said something: others may pass it on, and it does not do so again of itself.
pub(super) fn remember(world: &mut World, say: &Say) {
    if let Some(step) = say.habit {
        world.said.insert((say.liar, say.to, step));
    }
    let book = Arc::make_mut(&mut world.book);
    let fine = match &*say.msg {
        Msg::Proposal(p) => book.proposal(p, false),
        Msg::Report(r) => {
            world.said.insert((say.liar, say.to, (r.header.call.number(), Round(0))));
            book.report(r, false)
        }
        _ => Ok(()),
    };
    fine.expect("liars may sign what they like");
}

/// Proposals for a round with a choice that somebody else makes there: the first as an honest
/// replica would, then one without candidates.
fn proposals(
    world: &World,
    liar: ReplicaId,
    core: &Core<Keyed>,
    round: Round,
) -> Vec<Arc<Verified<Proposal>>> {
    let of = (core.epoch(), core.members());
    if round == Round(0) || !of.1.contains(liar) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for choice in world.book.choices(of, round, core_id(world, core)) {
        for variant in 0..2 {
            out.push(Arc::new(proposal(world, liar, (of, round, choice.clone()), variant)));
        }
    }
    out
}

fn core_id(world: &World, core: &Core<Keyed>) -> ReplicaId {
    let same = |id: &ReplicaId| world.core_of(*id).is_some_and(|c| std::ptr::eq(&**c, core));
    world.up().iter().find(same).unwrap_or(ReplicaId::from_index(0))
}

type Place = ((Epoch, Members), Round, Vec<Digest>);

fn proposal(world: &World, liar: ReplicaId, place: Place, variant: u64) -> Verified<Proposal> {
    let ((epoch, members), round, choice) = place;
    let now = 10 * round.0 + variant;
    let all = (0..world.requests_given).map(request);
    // It has given candidates in the order of their clocks; all but the last are repetitions.
    let nth = (world.requests_given as u64).min(5);
    let clocks = (now + 1).saturating_sub(nth)..=now;
    let candidates = all.zip(clocks).map(|(request, clock)| Candidate { clock, request });
    let proposal = Proposal {
        epoch,
        members,
        round,
        replica: liar,
        choice,
        candidates: if variant == 0 { candidates.collect() } else { Vec::new() },
        now,
        attestation: Attestation::default(),
        changes: Vec::new(),
    };
    Verified::sign(proposal, &world.keyring, &signer(liar))
}

/// Blames, Restarted and Stalled for where a replica is.
fn words(world: &World, liar: ReplicaId, core: &Core<Keyed>, to: ReplicaId) -> Vec<Input> {
    let mut out = Vec::new();
    let (epoch, members, complete) = (core.epoch(), core.members(), core.complete());
    let mut steps = vec![
        (epoch, members, BlameStep::Round(complete.next())),
        (epoch, members, BlameStep::Round(complete)),
    ];
    let call = world.ghost.calls[to.index()];
    if call.number() > Epoch::GENESIS {
        steps.push((call.number(), call.members(), BlameStep::Report));
    }
    for (epoch, members, step) in steps {
        for accused in members.iter().filter(|m| *m != liar) {
            let blame = Blame { epoch, members, step, accused, by: liar };
            out.push(Input::Blame(sign(world, liar, blame)));
        }
    }
    let restarted = Restarted { epoch, members, replica: liar, incarnation: 2 };
    out.push(Input::Restarted(sign(world, liar, restarted)));
    let stalled = Stalled { root: call.root, replica: liar };
    out.push(Input::Stalled(sign(world, liar, stalled)));
    out
}

fn sign<T: Signable>(world: &World, liar: ReplicaId, what: T) -> Arc<Verified<T>> {
    Arc::new(Verified::sign(what, &world.keyring, &signer(liar)))
}

/// The Report that an honest replica would send with what others reported.
fn mimic(world: &World, liar: ReplicaId, call: &Call) -> Option<Arc<Checked>> {
    if !call.members().contains(liar) {
        return None;
    }
    let mut others = call.members().iter().filter(|m| *m != liar);
    let model = others.find_map(|m| {
        world.book.reports_of(call.number(), m).iter().find(|r| r.header.call == *call)
    })?;
    let report = model.signed().message().clone();
    let header = ReportHeader { replica: liar, restarted: false, ..report.header };
    checked(world, liar, Report { header, ..report })
}

fn checked(world: &World, liar: ReplicaId, report: Report) -> Option<Arc<Checked>> {
    let signed = Verified::sign(report, &world.keyring, &signer(liar));
    Checked::new(signed, &world.keyring, u32::MAX).ok().map(Arc::new)
}

/// Reports for the call that a replica has taken and for others next to it, with every vector
/// that can be named.
fn reports(world: &World, liar: ReplicaId, to: ReplicaId) -> Vec<Arc<Checked>> {
    let mut out = Vec::new();
    for call in calls(world, to).into_iter().filter(|c| c.members().contains(liar)) {
        let genesis = (Epoch::GENESIS, world.ensemble().all(), super::world::genesis());
        let (entered, entered_members, opening) =
            world.book.entered_below(call.number()).unwrap_or(genesis);
        let certificate = match entered == Epoch::GENESIS {
            true => Vec::new(),
            false => match world.book.certificate(entered, entered_members) {
                Some(certificate) => certificate,
                None => continue,
            },
        };
        let context = world.keyring.context();
        let hidden = hidden(world, liar, (entered, entered_members));
        let vectors = world.book.vectors((entered, entered_members), &context, &hidden, 4);
        let mut named: Vec<(Round, Digest, Vec<_>)> = vectors
            .iter()
            .map(|v| (v.round, v.digest, v.proposals.iter().map(|p| p.header().into()).collect()))
            .collect();
        named.push((Round(0), Digest::ZERO, Vec::new()));
        for (round, vector, held) in named {
            let bare = ReportHeader::bare(call, liar, (entered, entered_members, opening));
            let header = ReportHeader { round, vector, ..bare };
            let certificate = certificate.iter().cloned().map(Into::into).collect();
            let lacks = Lacks::Some(Vec::new());
            let report = Report::new(header, certificate, held, Vec::new(), Vec::new(), lacks);
            out.extend(checked(world, liar, report));
        }
    }
    out
}

/// Proposals for the last rounds of an epoch that a liar signs and shows nobody: with the others'
/// it can name a vector that nobody else holds.
fn hidden(world: &World, liar: ReplicaId, of: (Epoch, Members)) -> Vec<Arc<Verified<Proposal>>> {
    let rounds = world.book.rounds(of).into_iter().take(2);
    let rounds = rounds.filter(|round| of.1.contains(liar) && !world.book.has(of, *round, liar));
    let mut out = Vec::new();
    for round in rounds {
        for choice in world.book.choices(of, round, liar) {
            out.push(Arc::new(proposal(world, liar, (of, round, choice), 0)));
        }
    }
    out
}

/// The call that a replica is in, with one more accused or another, and the reset after it.
fn calls(world: &World, to: ReplicaId) -> Vec<Call> {
    let here = world.ghost.calls[to.index()];
    let majority = world.ensemble().majority();
    let mut out = vec![here];
    for x in here.list.iter().filter(|x| *x != to) {
        let alone = Call { accused: [x].into_iter().collect(), ..here };
        let more = Call { accused: here.accused.union(alone.accused), ..here };
        out.extend([alone, more]);
    }
    let root = Root { resets: here.root.resets + 1, ..here.root };
    out.push(Call { root, list: world.ensemble().all(), accused: Members::NONE });
    out.retain(|c| c.members().len() >= majority && c.number() > Epoch::GENESIS);
    out.sort();
    out.dedup();
    out
}
