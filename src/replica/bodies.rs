//! The requests behind the digests: from when they are seen until their effect is safe (O7).

use crate::types::{ClientId, Digest, DigestMap, LinkId, Quotas, Round};
use crate::wire::Request;
use std::collections::{BTreeMap, VecDeque};

/// A request that is held.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) client: ClientId,
    pub(super) request: Request,
    /// The client's link that brought it last: where its reply goes.
    pub(super) origin: Option<LinkId>,
    /// Executed already; kept for replicas that lack the body.
    pub(super) executed: bool,
    /// It is in the log already, behind the last place where that may begin: with an own candidate
    /// ([`crate::types::Durability::Strict`]).
    pub(super) logged: bool,
    /// Its client has sent it more than once: the reply goes out whole (C3).
    pub(super) again: bool,
}

impl Held {
    /// True. To read a byte of a body brings it into the processor's cache, which it has left since
    /// it came: those of a whole step come at the same time if each is asked for before the first
    /// runs, and one after the other if not.
    pub(super) fn is_within_reach(&self) -> bool {
        std::hint::black_box(self.request.body.first());
        true
    }
}

/// All requests held, within the process's quotas.
#[derive(Debug)]
pub(super) struct Bodies {
    quotas: Quotas,
    held: DigestMap<Held>,
    /// Not executed yet, by client: how many and how many bytes.
    outstanding: BTreeMap<ClientId, (u32, u64)>,
    outstanding_total: u32,
    outstanding_bytes: u64,
    /// Executed ones in the order of their execution.
    kept: VecDeque<(Round, Digest)>,
    kept_bytes: u64,
}

impl Bodies {
    pub(super) fn new(quotas: Quotas, seed: u64) -> Self {
        Self {
            quotas,
            held: DigestMap::new(seed),
            outstanding: BTreeMap::new(),
            outstanding_total: 0,
            outstanding_bytes: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
        }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<&Held> {
        self.held.get(digest)
    }

    pub(super) fn get_mut(&mut self, digest: &Digest) -> Option<&mut Held> {
        self.held.get_mut(digest)
    }

    pub(super) fn outstanding(&self) -> u32 {
        self.outstanding_total
    }

    /// Whether the quotas leave room for one more request of this client: its own share first,
    /// then everybody's (§10).
    pub(super) fn has_room(&self, client: &ClientId, bytes: usize) -> bool {
        let (count, own) = self.outstanding.get(client).copied().unwrap_or_default();
        let bytes = bytes as u64 + OVERHEAD;
        count < self.quotas.per_client
            && own + bytes <= (self.quotas.body_bytes / CLIENT_SHARE).max(bytes)
            && self.outstanding_total < self.quotas.global
            && self.outstanding_bytes + bytes <= self.quotas.body_bytes
    }

    /// Holds a request that is not held yet.
    pub(super) fn insert(&mut self, digest: Digest, held: Held) {
        self.charge(held.client, size(&held));
        let before = self.held.insert(digest, held);
        assert!(before.is_none(), "a request is inserted once");
    }

    /// Marks a request as executed and keeps its body for others.
    pub(super) fn executed(&mut self, digest: &Digest, round: Round) {
        let Some(held) = self.held.get_mut(digest).filter(|held| !held.executed) else { return };
        held.executed = true;
        let (client, bytes) = (held.client, size(held));
        self.release(&client, bytes);
        self.kept.push_back((round, *digest));
        self.kept_bytes += bytes;
        while self.kept_bytes > self.quotas.kept_bytes {
            self.drop_oldest();
        }
    }

    /// It is in the log, and will be again behind each place where that may begin.
    pub(super) fn logged(&mut self, digest: &Digest) {
        if let Some(held) = self.held.get_mut(digest) {
            held.logged = true;
        }
    }

    /// What ran here did so in a history that is given up (O7): it is as one that has not run.
    pub(super) fn has_not_run(&mut self, digest: &Digest) {
        let Some(held) = self.held.get_mut(digest).filter(|held| held.executed) else { return };
        held.executed = false;
        let (client, bytes) = (held.client, size(held));
        self.kept.retain(|(_, kept)| kept != digest);
        self.kept_bytes -= bytes;
        self.charge(client, bytes);
    }

    /// Forgets a request that was never accepted (O4).
    pub(super) fn forget(&mut self, digest: &Digest) {
        if self.held.get(digest).is_some_and(|held| !held.executed) {
            let held = self.held.remove(digest).expect("it was there a line ago");
            self.release(&held.client, size(&held));
        }
    }

    /// All requests held that were not executed, and what `of` says of each.
    pub(super) fn outstanding_requests<T>(
        &self,
        of: impl Fn(&Digest, &Held) -> T,
    ) -> Vec<(Digest, T)> {
        let open = self.held.sorted().into_iter().filter(|(_, held)| !held.executed);
        open.map(|(digest, held)| (*digest, of(digest, held))).collect()
    }

    /// Drops what was executed up to this round: nobody needs it any more.
    pub(super) fn executed_by_all(&mut self, round: Round) {
        while self.kept.front().is_some_and(|(executed, _)| *executed <= round) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, digest)) = self.kept.pop_front() else { return };
        if let Some(held) = self.held.remove(&digest) {
            self.kept_bytes -= size(&held);
        }
    }

    fn charge(&mut self, client: ClientId, bytes: u64) {
        let own = self.outstanding.entry(client).or_default();
        *own = (own.0 + 1, own.1 + bytes);
        self.outstanding_total += 1;
        self.outstanding_bytes += bytes;
    }

    fn release(&mut self, client: &ClientId, bytes: u64) {
        self.outstanding_total -= 1;
        self.outstanding_bytes -= bytes;
        let own = self.outstanding.get_mut(client).expect("it has one outstanding at least");
        *own = (own.0 - 1, own.1 - bytes);
        if own.0 == 0 {
            self.outstanding.remove(client);
        }
    }
}

/// What an entry costs besides its body, roughly, in bytes.
const OVERHEAD: u64 = 200;
/// One client may use this part of the bytes for bodies.
const CLIENT_SHARE: u64 = 8;

fn size(held: &Held) -> u64 {
    held.request.body.len() as u64 + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SessionId;

    fn held(client: u8, len: usize) -> Held {
        let body = vec![0; len].into();
        let request = Request { session: SessionId(1), number: 1, low: 1, body };
        Held {
            client: ClientId([client; 32]),
            request,
            origin: None,
            executed: false,
            logged: false,
            again: false,
        }
    }

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    #[test]
    fn a_client_is_limited_before_everybody_is() {
        let quotas = Quotas { per_client: 2, global: 3, ..Quotas::default() };
        let mut bodies = Bodies::new(quotas, 5);
        bodies.insert(digest(1), held(1, 10));
        bodies.insert(digest(2), held(1, 10));
        assert!(!bodies.has_room(&ClientId([1; 32]), 1));
        assert!(bodies.has_room(&ClientId([2; 32]), 1));
        bodies.insert(digest(3), held(2, 10));
        assert!(!bodies.has_room(&ClientId([2; 32]), 1), "everybody's share is used up");
        bodies.executed(&digest(1), Round(1));
        assert!(bodies.has_room(&ClientId([1; 32]), 1));
        bodies.forget(&digest(2));
        assert_eq!(bodies.outstanding(), 1);
    }

    #[test]
    fn a_client_of_large_requests_leaves_bytes_to_the_others() {
        let quotas = Quotas { body_bytes: 8 * 1000, ..Quotas::default() };
        let mut bodies = Bodies::new(quotas, 5);
        bodies.insert(digest(1), held(1, 700));
        assert!(!bodies.has_room(&ClientId([1; 32]), 700), "an eighth is one such request");
        assert!(bodies.has_room(&ClientId([2; 32]), 700));
        // A request larger than the share passes alone.
        assert!(bodies.has_room(&ClientId([3; 32]), 5000));
    }

    #[test]
    fn bodies_are_kept_until_all_have_executed_them_or_the_quota_is_used_up() {
        let mut bodies = Bodies::new(Quotas { kept_bytes: 1000, ..Quotas::default() }, 5);
        for n in 1..=3 {
            bodies.insert(digest(n), held(1, 100));
            bodies.executed(&digest(n), Round(n.into()));
        }
        assert!(bodies.get(&digest(1)).is_some());
        bodies.executed_by_all(Round(2));
        assert!(bodies.get(&digest(2)).is_none() && bodies.get(&digest(3)).is_some());
        bodies.insert(digest(4), held(1, 700));
        bodies.executed(&digest(4), Round(4));
        assert!(bodies.get(&digest(3)).is_none() && bodies.get(&digest(4)).is_some());
    }
}
