//! SHA-256 with a domain tag.

use crate::types::Digest;
use sha2::{Digest as _, Sha256};

/// What a hash is of. The tag is the first thing hashed, so two kinds never share a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A client's request.
    Request,
    /// A proposal: what its signature is over, and its name in choices.
    Proposal,
    /// The candidates of a proposal.
    Candidates,
    /// The status changes of a proposal.
    Changes,
    /// A status change: what its author signs, and its name.
    Change,
    /// A blame (E1).
    Blame,
    /// A replica's word that it restarted (E2).
    Restarted,
    /// A replica's word that a root cannot get on (E8).
    Stalled,
    /// The header of a report (E5): what its signature is over, and its name.
    Report,
    /// The certificate that a report carries.
    Certificate,
    /// The proofs that a report carries.
    Proofs,
    /// The attestations of a checkpoint that a report carries.
    Attested,
    /// The bodies that a report lacks.
    Lacks,
    /// A vector of proposals.
    Vector,
    /// The opening of the first epoch.
    Genesis,
    /// The opening of any other epoch.
    Opening,
    /// A list of member keys.
    Members,
    /// The cluster's identity.
    Cluster,
    /// One field of the configuration.
    Config,
    /// A leaf of the Merkle tree over a step's outputs.
    Leaf,
    /// An inner node of that tree.
    Node,
    /// The chain of these trees' roots.
    Running,
    /// One command's output.
    Output,
    /// The state of ordering, sessions and service at a checkpoint.
    State,
    /// One session in the session table.
    Session,
    /// One entry of a service's state.
    Entry,
    /// A multiset hash.
    Multiset,
    /// The chain through a replica's log on disk.
    Log,
    /// The content of a snapshot on disk.
    Snapshot,
    /// A chunk of a snapshot on its way to another replica.
    Chunk,
    /// A page of the list of these chunks' digests.
    Page,
    /// Whose a log and snapshots on disk are: a replica of a cluster.
    Owner,
    /// The state of a service that a cluster begins with.
    Initial,
    /// What a cluster takes over from one before it: sessions, and the state of its service.
    Carried,
    /// The slot of a key, where a cluster has several chains.
    Slot,
    /// A key's fingerprint.
    Fingerprint,
    /// A secret derived from a node's key (resets, connection ids).
    Derive,
    /// The first keys of a roster with a change of one of them.
    Roster,
    /// A receipt's file.
    Receipt,
}

impl Domain {
    /// The tag: printable, fixed for ever, none a prefix of another (each ends in a zero byte).
    pub fn tag(self) -> &'static [u8] {
        match self {
            Domain::Request => b"quorate/1 request\0",
            Domain::Proposal => b"quorate/1 proposal\0",
            Domain::Candidates => b"quorate/1 candidates\0",
            Domain::Changes => b"quorate/1 changes\0",
            Domain::Change => b"quorate/1 change\0",
            Domain::Blame => b"quorate/1 blame\0",
            Domain::Restarted => b"quorate/1 restarted\0",
            Domain::Stalled => b"quorate/1 stalled\0",
            Domain::Report => b"quorate/1 report\0",
            Domain::Certificate => b"quorate/1 certificate\0",
            Domain::Proofs => b"quorate/1 proofs\0",
            Domain::Attested => b"quorate/1 attested\0",
            Domain::Lacks => b"quorate/1 lacks\0",
            Domain::Vector => b"quorate/1 vector\0",
            Domain::Opening => b"quorate/1 opening\0",
            Domain::Genesis => b"quorate/1 genesis\0",
            Domain::Members => b"quorate/1 members\0",
            Domain::Cluster => b"quorate/1 cluster\0",
            Domain::Config => b"quorate/1 config\0",
            Domain::Leaf => b"quorate/1 leaf\0",
            Domain::Node => b"quorate/1 node\0",
            Domain::Running => b"quorate/1 running\0",
            Domain::Output => b"quorate/1 output\0",
            Domain::State => b"quorate/1 state\0",
            Domain::Session => b"quorate/1 session\0",
            Domain::Entry => b"quorate/1 entry\0",
            Domain::Multiset => b"quorate/1 multiset\0",
            Domain::Log => b"quorate/1 log\0",
            Domain::Snapshot => b"quorate/1 snapshot\0",
            Domain::Chunk => b"quorate/1 chunk\0",
            Domain::Page => b"quorate/1 page\0",
            Domain::Owner => b"quorate/1 owner\0",
            Domain::Initial => b"quorate/1 initial\0",
            Domain::Carried => b"quorate/1 carried\0",
            Domain::Slot => b"quorate/1 slot\0",
            Domain::Fingerprint => b"quorate/1 fingerprint\0",
            Domain::Derive => b"quorate/1 derive\0",
            Domain::Roster => b"quorate/1 roster\0",
            Domain::Receipt => b"quorate/1 receipt\0",
        }
    }
}

/// Hashes parts of known length one after the other.
///
/// `put` does not mark where a part ends: use it for fixed layouts, and [`Hasher::put_var`] for
/// anything whose length the reader could not know.
#[derive(Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts a hash of this kind.
    pub fn new(domain: Domain) -> Self {
        Self(Sha256::new_with_prefix(domain.tag()))
    }

    /// Adds bytes of fixed length.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Adds a number, eight bytes little-endian.
    pub fn put_u64(&mut self, n: u64) -> &mut Self {
        self.put(&n.to_le_bytes())
    }

    /// Adds bytes of any length, preceded by that length.
    pub fn put_var(&mut self, bytes: &[u8]) -> &mut Self {
        self.put_u64(bytes.len() as u64).put(bytes)
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The digest of one byte string under a domain.
pub fn hash(domain: Domain, bytes: &[u8]) -> Digest {
    let mut h = Hasher::new(domain);
    h.put(bytes);
    h.finish()
}

/// Plain SHA-256, for what other programs must be able to compute (key fingerprints).
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Domain; 37] = [
        Domain::Request,
        Domain::Proposal,
        Domain::Candidates,
        Domain::Changes,
        Domain::Change,
        Domain::Blame,
        Domain::Restarted,
        Domain::Stalled,
        Domain::Report,
        Domain::Certificate,
        Domain::Proofs,
        Domain::Attested,
        Domain::Lacks,
        Domain::Vector,
        Domain::Genesis,
        Domain::Members,
        Domain::Cluster,
        Domain::Config,
        Domain::Leaf,
        Domain::Node,
        Domain::Running,
        Domain::Output,
        Domain::State,
        Domain::Session,
        Domain::Entry,
        Domain::Multiset,
        Domain::Log,
        Domain::Snapshot,
        Domain::Chunk,
        Domain::Page,
        Domain::Owner,
        Domain::Initial,
        Domain::Slot,
        Domain::Fingerprint,
        Domain::Derive,
        Domain::Roster,
        Domain::Receipt,
    ];

    #[test]
    fn no_tag_is_a_prefix_of_another() {
        for (i, a) in ALL.iter().enumerate() {
            for b in &ALL[i + 1..] {
                assert!(!a.tag().starts_with(b.tag()) && !b.tag().starts_with(a.tag()));
            }
        }
    }

    #[test]
    fn the_same_bytes_in_two_domains_differ() {
        assert_ne!(hash(Domain::Request, b"x"), hash(Domain::Proposal, b"x"));
    }

    #[test]
    fn variable_parts_cannot_be_shifted_into_each_other() {
        let mut a = Hasher::new(Domain::Config);
        a.put_var(b"ab").put_var(b"c");
        let mut b = Hasher::new(Domain::Config);
        b.put_var(b"a").put_var(b"bc");
        assert_ne!(a.finish(), b.finish());
    }
}
