//! Reports: what a replica brings along into the next epoch (docs/protocol.md E5).

use super::layout::{Framed, Layout, bytes_of, get_list, put_list};
use super::{DecodeError, Header, Kind, Proof, Reader, Writer};
use crate::crypto::{Context, Domain, Keyring, Scheme, Signable, Unverified, Verified, hash};
use crate::types::{Call, Digest, Epoch, Members, ReplicaId, Round};

/// Bodies that a report can name as lacking; who lacks more lacks all.
pub const MAX_LACKS: usize = 4096;

/// Headers of each kind and proofs in one report at most: one of each replica.
const MAX_PARTS: usize = 31;

/// What the signature of a report is over: its parts stand in it as digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportHeader {
    /// The call that it is for.
    pub call: Call,
    /// Whose report.
    pub replica: ReplicaId,
    /// The highest epoch that it entered below the call's number.
    pub entered: Epoch,
    /// The members of that epoch.
    pub entered_members: Members,
    /// The hash of the opening of that epoch.
    pub opening: Digest,
    /// Who has told it, in the call's root, that it restarted (F3).
    pub restarts: Members,
    /// The digest of the certificate of that epoch.
    pub certificate: Digest,
    /// The round of the highest complete vector that it holds of that epoch; 0 if of none.
    pub round: Round,
    /// The hash of that vector, as [`super::vector_hash`]; zero if there is none.
    pub vector: Digest,
    /// The digest of the proofs.
    pub proofs: Digest,
    /// The round of its last stable checkpoint; 0 if of none.
    pub checkpoint: Round,
    /// The state digest there.
    pub state: Digest,
    /// The digest of the attestations of that checkpoint.
    pub attested: Digest,
    /// The digest of the bodies that it lacks.
    pub lacks: Digest,
    /// Whether it restarted since it entered that epoch.
    pub restarted: bool,
}

impl ReportHeader {
    /// The header of a report that names no vector and has no parts yet, which [`Report::new`]
    /// adds; its signer has entered this epoch, with these members and this opening, last.
    pub fn bare(
        call: Call,
        replica: ReplicaId,
        (entered, entered_members, opening): (Epoch, Members, Digest),
    ) -> Self {
        let none = Digest::ZERO;
        Self {
            call,
            replica,
            entered,
            entered_members,
            opening,
            restarts: Members::NONE,
            certificate: none,
            round: Round(0),
            vector: none,
            proofs: none,
            checkpoint: Round(0),
            state: none,
            attested: none,
            lacks: none,
            restarted: false,
        }
    }
}

impl Layout for ReportHeader {
    const LEAST: usize = Call::LEAST + 1 + 12 + 4 + 4 + 7 * 32 + 2 * 8 + 1;

    fn put(&self, out: &mut Writer) {
        self.call.put(out);
        out.replica(self.replica).epoch(self.entered).u32(self.entered_members.bits());
        out.digest(&self.opening).u32(self.restarts.bits()).digest(&self.certificate);
        out.round(self.round).digest(&self.vector).digest(&self.proofs);
        out.round(self.checkpoint).digest(&self.state).digest(&self.attested);
        out.digest(&self.lacks).bool(self.restarted);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let header = Self {
            call: Call::get(r)?,
            replica: r.replica("report replica")?,
            entered: r.epoch("entered epoch")?,
            entered_members: r.members("entered members")?,
            opening: r.digest("opening")?,
            restarts: r.members("told restarts")?,
            certificate: r.digest("certificate digest")?,
            round: r.round("reported round")?,
            vector: r.digest("reported vector")?,
            proofs: r.digest("proofs digest")?,
            checkpoint: r.round("checkpoint round")?,
            state: r.digest("checkpoint digest")?,
            attested: r.digest("attested digest")?,
            lacks: r.digest("lacks digest")?,
            restarted: r.bool("restarted")?,
        };
        if (header.round == Round(0)) != (header.vector == Digest::ZERO) {
            return Err(r.error("a round has a vector and no round has none"));
        }
        Ok(header)
    }
}

impl Signable for ReportHeader {
    const DOMAIN: Domain = Domain::Report;

    fn signer(&self) -> ReplicaId {
        self.replica
    }

    fn epoch(&self) -> Epoch {
        self.call.number()
    }

    fn members(&self) -> Members {
        self.call.members()
    }

    fn body(&self) -> Vec<u8> {
        bytes_of(self)
    }
}

/// Which bodies a replica lacks, of requests that are not executed under its stable checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// Counts as holding none.
    All,
    /// These, in ascending order, at most [`MAX_LACKS`].
    Some(Vec<Digest>),
}

impl Lacks {
    /// These, in any order; all if they are too many to name.
    pub fn of(mut digests: Vec<Digest>) -> Self {
        digests.sort_unstable();
        digests.dedup();
        if digests.len() > MAX_LACKS { Lacks::All } else { Lacks::Some(digests) }
    }

    /// Whether this body is lacking.
    pub fn contains(&self, digest: &Digest) -> bool {
        match self {
            Lacks::All => true,
            Lacks::Some(digests) => digests.binary_search(digest).is_ok(),
        }
    }
}

impl Layout for Lacks {
    const LEAST: usize = 1;

    fn put(&self, out: &mut Writer) {
        match self {
            Lacks::All => {
                out.u8(0);
            }
            Lacks::Some(digests) => {
                out.u8(1).count(digests.len());
                digests.iter().for_each(|d| {
                    out.digest(d);
                });
            }
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8("kind of lacks")? {
            0 => Ok(Lacks::All),
            1 => {
                let n = r.count(MAX_LACKS, 32, "lacking bodies")?;
                let digests: Vec<Digest> =
                    (0..n).map(|_| r.digest("lacking body")).collect::<Result<_, _>>()?;
                let ascending = digests.is_sorted_by(|a, b| a < b);
                if ascending { Ok(Lacks::Some(digests)) } else { Err(r.error("order of bodies")) }
            }
            _ => Err(r.error("unknown kind of lacks")),
        }
    }
}

/// A report with all that its header names except bodies. A signature of it is one of its header
/// and covers the parts by their digests; the parts' own signatures are checked by whoever acts on
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What is signed.
    pub header: ReportHeader,
    /// The certificate of the entered epoch: the headers of the reports of all its members in
    /// order. Empty for the first epoch.
    pub certificate: Vec<Unverified<ReportHeader>>,
    /// The complete vector that the header names, in the order of its members.
    pub vector: Vec<Unverified<Header>>,
    /// Proofs of lying, at most 31.
    pub proofs: Vec<Proof>,
    /// Proposals that attest the checkpoint, ascending by signer.
    pub attested: Vec<Unverified<Header>>,
    /// Which bodies it lacks.
    pub lacks: Lacks,
}

impl Report {
    /// Puts a report together. The digests of the parts in `header` are computed, all else in it
    /// (`vector` too, which takes the roster) is the caller's.
    pub fn new(
        header: ReportHeader,
        certificate: Vec<Unverified<ReportHeader>>,
        vector: Vec<Unverified<Header>>,
        proofs: Vec<Proof>,
        attested: Vec<Unverified<Header>>,
        lacks: Lacks,
    ) -> Self {
        let mut report = Self { header, certificate, vector, proofs, attested, lacks };
        let [certificate, proofs, attested, lacks] = report.part_digests();
        report.header = ReportHeader { certificate, proofs, attested, lacks, ..report.header };
        report
    }

    /// Whether the signed proposals of `vector` hash to what the header names: without their
    /// signatures, which are to be checked besides.
    pub fn names_its_vector<S: Scheme>(&self, keyring: &Keyring<S>) -> bool {
        let h = &self.header;
        let statement = |p: &Unverified<Header>| {
            let p = p.peek();
            keyring.statement(Header::DOMAIN, p.epoch, p.members, &p.body())
        };
        let hashes: Vec<Digest> = self.vector.iter().map(statement).collect();
        let context: Context = keyring.context();
        match hashes.is_empty() {
            true => h.vector == Digest::ZERO,
            false => h.vector == super::vector_hash(&context, h.entered, h.round, &hashes),
        }
    }

    fn part_digests(&self) -> [Digest; 4] {
        let certificate = digest_of(Domain::Certificate, &self.certificate);
        let proofs = digest_of(Domain::Proofs, &self.proofs);
        let attested = digest_of(Domain::Attested, &self.attested);
        [certificate, proofs, attested, hash(Domain::Lacks, &bytes_of(&self.lacks))]
    }

    /// What can be seen without the roster: the parts are those that the header names.
    fn check_parts(&self) -> Result<(), &'static str> {
        let h = &self.header;
        if self.part_digests() != [h.certificate, h.proofs, h.attested, h.lacks] {
            return Err("the parts of a report are not those that its header names");
        }
        let certifies = |c: &Unverified<ReportHeader>| {
            let call = c.peek().call;
            (call.number(), call.members()) == (h.entered, h.entered_members)
        };
        let signers = self.certificate.iter().map(|c| c.peek().replica);
        let whole = self.certificate.is_empty() || signers.eq(h.entered_members.iter());
        if !whole || !self.certificate.iter().all(certifies) {
            return Err("a certificate has a report of every member in order");
        }
        let in_vector = |p: &Unverified<Header>| {
            let p = p.peek();
            (p.epoch, p.members, p.round) == (h.entered, h.entered_members, h.round)
        };
        let signers = self.vector.iter().map(|p| p.peek().replica);
        let whole = match h.round {
            Round(0) => self.vector.is_empty(),
            _ => !self.vector.is_empty() && signers.eq(h.entered_members.iter()),
        };
        if !whole || !self.vector.iter().all(in_vector) {
            return Err("a vector has a proposal of every member in order");
        }
        let attests = |p: &Unverified<Header>| {
            let a = p.peek().attestation;
            (a.checkpoint, a.state) == (h.checkpoint, h.state)
        };
        let ascending = self.attested.is_sorted_by(|a, b| a.peek().replica < b.peek().replica);
        if !ascending || !self.attested.iter().all(attests) {
            return Err("attestations are of the checkpoint, one a replica in order");
        }
        Ok(())
    }
}

fn digest_of<T: Layout>(domain: Domain, list: &[T]) -> Digest {
    let mut out = Writer::new();
    put_list(list, &mut out);
    hash(domain, &out.into_bytes())
}

impl Layout for Report {
    const LEAST: usize = ReportHeader::LEAST + 4 * 4 + Lacks::LEAST;

    fn put(&self, out: &mut Writer) {
        self.header.put(out);
        put_list(&self.certificate, out);
        put_list(&self.vector, out);
        put_list(&self.proofs, out);
        put_list(&self.attested, out);
        self.lacks.put(out);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let report = Self {
            header: ReportHeader::get(r)?,
            certificate: get_list(r, MAX_PARTS, "certificate")?,
            vector: get_list(r, MAX_PARTS, "vector")?,
            proofs: get_list(r, MAX_PARTS, "proofs")?,
            attested: get_list(r, MAX_PARTS, "attestations")?,
            lacks: Lacks::get(r)?,
        };
        report.check_parts().map_err(|what| r.error(what))?;
        Ok(report)
    }
}

impl Framed for Report {
    const KIND: Kind = Kind::Report;
}

/// As its header.
impl Signable for Report {
    const DOMAIN: Domain = Domain::Report;

    fn signer(&self) -> ReplicaId {
        self.header.signer()
    }

    fn epoch(&self) -> Epoch {
        self.header.epoch()
    }

    fn members(&self) -> Members {
        self.header.members()
    }

    fn body(&self) -> Vec<u8> {
        self.header.body()
    }
}

impl Verified<Report> {
    /// Its header: the same statement under the same signature.
    pub fn header(&self) -> Verified<ReportHeader> {
        self.narrow(self.message().header)
    }
}
