//! Everything that was ever signed: what a liar knows, and what convicts whom.

use crate::crypto::{Context, Verified};
use crate::ordering::Checked;
use crate::proof::find;
use crate::types::{Digest, Epoch, Members, ReplicaId, Round};
use crate::wire::{Proposal, Record, ReportHeader, vector_hash};
use std::collections::BTreeMap;
use std::sync::Arc;

type Held = Arc<Verified<Proposal>>;

/// The proposals and Reports of all replicas.
#[derive(Clone, Debug, Default)]
pub struct Book {
    proposals: BTreeMap<(Epoch, Members, Round, ReplicaId), Vec<Held>>,
    reports: BTreeMap<(Epoch, ReplicaId), Vec<Arc<Checked>>>,
    /// Epochs that somebody has entered: members and the hash of the opening.
    epochs: BTreeMap<Epoch, Vec<(Members, Digest)>>,
    print: u128,
}

/// A complete vector: its round, its hash and its proposals.
pub(super) struct Whole {
    pub(super) round: Round,
    pub(super) digest: Digest,
    pub(super) proposals: Vec<Held>,
}

impl Book {
    /// Writes a proposal down; says what is wrong with it if its signer is honest.
    pub(super) fn proposal(&mut self, p: &Held, honest: bool) -> Result<(), String> {
        let key = (p.epoch, p.members, p.round, p.replica);
        let same = self.proposals.entry(key).or_default();
        if same.iter().any(|q| q.digest() == p.digest()) {
            return Ok(());
        }
        same.push(p.clone());
        self.mark(p.digest());
        if !honest {
            return Ok(());
        }
        if self.proposals[&key].len() > 1 {
            return Err(format!("{} signed two proposals for {:?} of {}", key.3, key.2, key.0));
        }
        let header = p.header();
        if find::in_proposal(&header, u32::MAX).is_some() {
            return Err(format!("{}'s proposal for {:?} is invalid", p.replica, p.round));
        }
        for q in self.all_of(p.replica) {
            if find::in_proposals(&q.header(), &header).is_some() {
                return Err(format!(
                    "{}'s proposals {:?}, {:?} clash",
                    p.replica, q.round, p.round
                ));
            }
        }
        self.judge_reports(p.replica)
    }

    /// Writes a Report down; says what is wrong with it if its signer is honest.
    pub(super) fn report(&mut self, report: &Arc<Checked>, honest: bool) -> Result<(), String> {
        let h = &report.header;
        let key = (h.call.number(), h.replica);
        let same = self.reports.entry(key).or_default();
        if same.iter().any(|r| r.digest() == report.digest()) {
            return Ok(());
        }
        same.push(report.clone());
        self.mark(report.digest());
        if !honest {
            return Ok(());
        }
        if self.reports[&key].len() > 1 {
            return Err(format!("{} signed two Reports for {}", h.replica, key.0));
        }
        self.judge_reports(h.replica)
    }

    /// What a replica wrote on its disk of an epoch.
    pub(super) fn record(&mut self, record: &Record) {
        if let Record::Entered { epoch, members, opening, .. } = record {
            let known = self.epochs.entry(*epoch).or_default();
            if !known.contains(&(*members, *opening)) {
                known.push((*members, *opening));
                self.mark(*opening);
            }
        }
    }

    /// No proposal and no Report of an honest replica together prove a lie.
    fn judge_reports(&self, who: ReplicaId) -> Result<(), String> {
        let reports = self.reports.iter().filter(|((_, r), _)| *r == who);
        for report in reports.flat_map(|(_, all)| all) {
            let header = report.signed().header();
            for p in self.all_of(who) {
                let before = self.proposals.iter().filter(|((e, m, r, _), _)| {
                    (*e, *m, r.next()) == (p.epoch, p.members, p.round)
                });
                let chosen =
                    before.flat_map(|(_, all)| all).find(|q| p.choice.contains(&q.digest()));
                let chosen = chosen.map(|q| q.header());
                if find::in_report(&header, &p.header(), chosen.as_ref()).is_some() {
                    let (call, round, epoch) = (report.header.call, p.round, p.epoch);
                    let what = format!("{who}'s Report for {call} claims less than its proposal");
                    return Err(format!("{what} {round:?} of {epoch}"));
                }
            }
        }
        Ok(())
    }

    fn all_of(&self, who: ReplicaId) -> impl Iterator<Item = &Held> {
        let own = self.proposals.iter().filter(move |((.., r), _)| *r == who);
        own.flat_map(|(_, all)| all)
    }

    fn mark(&mut self, digest: Digest) {
        let bytes = digest.0.first_chunk::<16>().expect("a digest has 32 bytes");
        self.print ^= u128::from_le_bytes(*bytes);
    }

    /// All that is in it as one number.
    pub(super) fn print(&self) -> u128 {
        self.print
    }

    // --- what a liar reads in it ----------------------------------------------------------------

    /// The different choices that proposals of a round make, that of `first` first.
    pub(super) fn choices(
        &self,
        (epoch, members): (Epoch, Members),
        round: Round,
        first: ReplicaId,
    ) -> Vec<Vec<Digest>> {
        let mut all: Vec<(bool, &Vec<Digest>)> = Vec::new();
        for member in members.iter() {
            for p in self.proposals.get(&(epoch, members, round, member)).into_iter().flatten() {
                all.push((member != first, &p.choice));
            }
        }
        all.sort();
        let mut choices: Vec<Vec<Digest>> = all.into_iter().map(|(_, c)| c.clone()).collect();
        choices.dedup();
        choices
    }

    /// The Reports of one replica for one number.
    pub(super) fn reports_of(&self, number: Epoch, who: ReplicaId) -> &[Arc<Checked>] {
        self.reports.get(&(number, who)).map_or(&[], |all| &all[..])
    }

    /// The highest epoch below `number` that anybody has entered, with members and opening.
    pub(super) fn entered_below(&self, number: Epoch) -> Option<(Epoch, Members, Digest)> {
        let (epoch, of) = self.epochs.range(..number).next_back()?;
        of.first().map(|(members, opening)| (*epoch, *members, *opening))
    }

    /// The certificate of an epoch: a Report of each member for one call.
    pub(super) fn certificate(
        &self,
        epoch: Epoch,
        members: Members,
    ) -> Option<Vec<Verified<ReportHeader>>> {
        let first = members.iter().next()?;
        let call = self.reports_of(epoch, first).first()?.header.call;
        let of = |m| self.reports_of(epoch, m).iter().find(|r| r.header.call == call);
        members.iter().map(|m| of(m).map(|r| r.signed().header())).collect()
    }

    /// The rounds of an epoch that anybody has proposed in, the latest first.
    pub(super) fn rounds(&self, (epoch, members): (Epoch, Members)) -> Vec<Round> {
        let of_epoch = self.proposals.keys().filter(|k| (k.0, k.1) == (epoch, members));
        let mut rounds: Vec<Round> = of_epoch.map(|k| k.2).collect();
        rounds.dedup();
        rounds.reverse();
        rounds
    }

    /// Whether a replica has shown anybody a proposal for a round.
    pub(super) fn has(&self, of: (Epoch, Members), round: Round, who: ReplicaId) -> bool {
        self.proposals.contains_key(&(of.0, of.1, round, who))
    }

    /// Complete vectors of an epoch that can be put together, the latest first: of its two last
    /// rounds, at most `most`. `hidden` are proposals that nobody has been shown.
    pub(super) fn vectors(
        &self,
        (epoch, members): (Epoch, Members),
        context: &Context,
        hidden: &[Held],
        most: usize,
    ) -> Vec<Whole> {
        let rounds = self.rounds((epoch, members));
        let mut out = Vec::new();
        let mut with_any = 0;
        for round in rounds {
            let before = out.len();
            for choice in
                self.choices((epoch, members), round, members.iter().next().expect("some"))
            {
                let hidden = hidden.iter().filter(|p| p.round == round).collect::<Vec<_>>();
                self.wholes((epoch, members), round, &choice, (context, &hidden), &mut out);
            }
            with_any += usize::from(out.len() > before);
            if with_any == 2 || out.len() >= most {
                break;
            }
        }
        out.truncate(most);
        out
    }

    fn wholes(
        &self,
        (epoch, members): (Epoch, Members),
        round: Round,
        choice: &[Digest],
        (context, hidden): (&Context, &[&Held]),
        out: &mut Vec<Whole>,
    ) {
        let mut partial: Vec<Vec<Held>> = vec![Vec::new()];
        for member in members.iter() {
            let all = self.proposals.get(&(epoch, members, round, member));
            let hidden = hidden.iter().copied().filter(|p| p.replica == member);
            let all = all.into_iter().flatten().chain(hidden);
            let fits: Vec<&Held> = all.filter(|p| p.choice == choice).collect();
            partial = partial
                .iter()
                .flat_map(|so_far| {
                    fits.iter().map(|p| {
                        let mut more = so_far.clone();
                        more.push(Held::clone(p));
                        more
                    })
                })
                .collect();
        }
        for proposals in partial {
            let hashes: Vec<Digest> = proposals.iter().map(|p| p.digest()).collect();
            let digest = vector_hash(context, epoch, round, &hashes);
            out.push(Whole { round, digest, proposals });
        }
    }
}
