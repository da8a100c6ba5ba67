//! What is asked of this replica, and how fast it is given: to all fetchers together no more bytes
//! in a second than the quota says, so that ordering keeps its share of processor and network.
//!
//! Questions wait in a short line for each peer and are answered in turn. Whoever asks for more
//! than its line takes gets no answer.

use crate::types::{Instant, ReplicaId};
use crate::wire::WantSnapshot;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Questions of one peer that wait at most: what it can have in flight by default, twice.
const LINE: usize = 64;
/// Bytes that go out at once after a while without any, before what they cost is waited for.
const BURST: u64 = 512 * 1024;

/// Questions that wait, and when the next answer may go out.
#[derive(Debug)]
pub(in crate::replica) struct Pacer {
    /// Bytes in a second.
    rate: u64,
    lines: BTreeMap<ReplicaId, VecDeque<WantSnapshot>>,
    /// Who was answered last.
    last: Option<ReplicaId>,
    /// When everything that went out so far is paid for.
    paid: Instant,
}

impl Pacer {
    pub(in crate::replica) fn new(rate: u64) -> Self {
        let lines = BTreeMap::new();
        Self { rate: rate.max(1), lines, last: None, paid: Instant(0) }
    }

    /// How long so many bytes take.
    fn cost(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Puts a question in its peer's line. Gives whether there was room.
    pub(super) fn push(&mut self, peer: ReplicaId, want: WantSnapshot) -> bool {
        let line = self.lines.entry(peer).or_default();
        let room = line.len() < LINE;
        if room {
            line.push_back(want);
        }
        room
    }

    /// The link to a peer is gone: nobody waits for the answers.
    pub(super) fn forget(&mut self, peer: ReplicaId) {
        self.lines.remove(&peer);
    }

    /// The next question to be answered now, if any may be. Each peer has its turn.
    pub(super) fn next(&mut self, now: Instant) -> Option<(ReplicaId, WantSnapshot)> {
        if now < self.free() {
            return None;
        }
        let waits = |(peer, line): (&ReplicaId, &VecDeque<_>)| (!line.is_empty()).then_some(*peer);
        let after = |r: &ReplicaId| (self.last.is_some_and(|last| *r <= last), *r);
        let peer = self.lines.iter().filter_map(waits).min_by_key(after)?;
        self.last = Some(peer);
        let want = self.lines.get_mut(&peer)?.pop_front()?;
        Some((peer, want))
    }

    /// So many bytes go out now.
    pub(super) fn charge(&mut self, bytes: usize, now: Instant) {
        self.paid = self.paid.max(now) + self.cost(bytes as u64);
    }

    /// When [`Pacer::next`] has something.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.lines.values().any(|line| !line.is_empty()).then(|| self.free())
    }

    fn free(&self) -> Instant {
        self.paid - self.cost(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Round;
    use crate::wire::Piece;

    const RATE: u64 = 1 << 20;

    fn id(number: u8) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    fn want(chunk: u32) -> WantSnapshot {
        WantSnapshot { round: Round(8), piece: Piece::Chunk(chunk) }
    }

    /// How many bytes go out until then, asked as often as they may.
    fn sent(pacer: &mut Pacer, until: Instant) -> u64 {
        let mut sent = 0;
        while let Some(at) = pacer.next_wake().filter(|at| *at <= until) {
            let now = at.max(Instant(1 << 40));
            while pacer.next(now).is_some() {
                pacer.charge(64 * 1024, now);
                sent += 64 * 1024;
            }
        }
        sent
    }

    #[test]
    fn answers_go_out_at_the_rate_that_the_quota_allows_and_to_each_peer_in_turn() {
        let mut pacer = Pacer::new(RATE);
        for chunk in 0..40 {
            assert!([1, 2].iter().all(|peer| pacer.push(id(*peer), want(chunk))));
        }
        let start = Instant(1 << 40);
        let second = start + Duration::from_secs(1);
        let all = sent(&mut pacer, second);
        assert!((RATE..=RATE + BURST + 128 * 1024).contains(&all), "{all} bytes in a second");
        let left = |pacer: &Pacer, peer| pacer.lines[&id(peer)].len();
        assert!(left(&pacer, 1).abs_diff(left(&pacer, 2)) <= 1, "both get the same");
        assert_eq!(pacer.next(start), None, "a clock that seems to go back gives nothing");
        pacer.forget(id(1));
        assert_eq!(pacer.next(Instant(u64::MAX)).map(|(peer, _)| peer), Some(id(2)));
    }

    #[test]
    fn a_peer_that_asks_for_more_than_its_line_takes_is_not_answered() {
        let mut pacer = Pacer::new(RATE);
        let taken = (0..1000).filter(|chunk| pacer.push(id(1), want(*chunk))).count();
        assert_eq!(taken, LINE);
        assert!(pacer.push(id(2), want(0)), "that is nothing to another");
        assert_eq!(Pacer::new(RATE).next_wake(), None);
    }
}
