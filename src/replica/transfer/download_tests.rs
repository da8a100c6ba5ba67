//! Sources that lie, in hand-made parts.

use super::*;
use crate::crypto::{Context, Keyed, PublicKey, SecretKey, Unverified, Verified};
use crate::types::{Ensemble, Epoch, GroupId, Timing};
use crate::wire::{Attestation, Header, Proposal};

const STATE: Digest = Digest([7; 32]);
const ROUND: Round = Round(256);
const PART: usize = SnapshotPart::MAX;

fn id(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn secret(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

fn keyring() -> Keyring<Keyed> {
    let keys: Vec<PublicKey> = (1..=3).map(|i| Keyed::public(&Keyed::signer(&secret(i)))).collect();
    let context = Context { cluster: Digest([9; 32]), group: GroupId::MAIN };
    Keyring::new(context, Ensemble::new(1).unwrap(), keys).unwrap()
}

/// What a replica signs about a checkpoint, with the key of `key`.
fn signed(number: u8, key: u8, round: Round, state: Digest) -> Unverified<Header> {
    let attestation = Attestation { checkpoint: round, state, ..Attestation::default() };
    let proposal = Proposal {
        epoch: Epoch::GENESIS,
        members: Ensemble::new(1).unwrap().all(),
        round: Round(round.0 + 2),
        replica: id(number),
        choice: vec![],
        candidates: vec![],
        changes: vec![],
        now: 5,
        attestation,
    };
    let signer = Keyed::signer(&secret(key));
    let verified = Verified::<Proposal>::sign::<Keyed>(proposal, &keyring(), &signer);
    verified.header().into()
}

fn good_proof() -> Vec<Unverified<Header>> {
    vec![signed(1, 1, ROUND, STATE), signed(2, 2, ROUND, STATE)]
}

/// A part of a snapshot of `total` bytes as a good source sends it.
fn part(total: u64, offset: u64) -> SnapshotPart {
    let length = (total - offset).min(PART as u64) as usize;
    SnapshotPart {
        round: ROUND,
        total,
        offset,
        manifest: (offset == 0).then(good_proof),
        bytes: vec![3; length].into(),
    }
}

struct Bench {
    download: Download,
    up: Vec<ReplicaId>,
    now: Instant,
    patience: Duration,
    above: Round,
}

impl Bench {
    fn new(limit: u64) -> Self {
        let mut download = Download::new(limit);
        assert!(download.begin() && !download.begin());
        let patience = Timing::from_delta(Duration::from_millis(100)).patience;
        let (now, above) = (Instant(1_000), Round(0));
        Self { download, up: vec![id(1), id(2)], now, patience, above }
    }

    fn start(&mut self) -> Option<ReplicaId> {
        let asked = self.download.start(self.now, self.patience, self.up.iter().copied());
        asked.map(|(from, want)| {
            assert_eq!(want, WantSnapshot { round: Round(0), offset: 0 });
            from
        })
    }

    fn part(&mut self, from: u8, part: SnapshotPart) -> Verdict {
        let times = (self.now, self.patience);
        self.download.part(times, id(from), part, self.above, &keyring())
    }

    /// Asks R1, gives these parts in turn, and says why the last one was refused.
    fn refused(&mut self, parts: Vec<SnapshotPart>) -> &'static str {
        assert_eq!(self.start(), Some(id(1)));
        let mut parts = parts.into_iter().peekable();
        while let Some(part) = parts.next() {
            match self.part(1, part) {
                Verdict::More(_) if parts.peek().is_some() => {}
                Verdict::Refused(why) if parts.peek().is_none() => {
                    assert_eq!(self.start(), Some(id(2)), "the next one is asked");
                    return why;
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("nothing was refused");
    }
}

#[test]
fn a_snapshot_comes_in_parts_of_which_one_is_asked_for_at_a_time() {
    let mut b = Bench::new(1 << 30);
    let total = 2 * PART as u64 + 5;
    assert_eq!(b.start(), Some(id(1)));
    assert_eq!(b.start(), None, "one source at a time");
    for next in [PART as u64, 2 * PART as u64] {
        let Verdict::More(want) = b.part(1, part(total, next - PART as u64)) else { panic!() };
        assert_eq!(want, WantSnapshot { round: ROUND, offset: next });
        assert_eq!(b.download.progress(), (Some(id(1)), next, total));
    }
    let Verdict::Whole(whole) = b.part(1, part(total, 2 * PART as u64)) else { panic!() };
    assert_eq!((whole.from, whole.round, whole.state), (id(1), ROUND, STATE));
    assert_eq!((whole.bytes.len() as u64, whole.proof), (total, good_proof()));
}

#[test]
fn a_snapshot_that_no_t_plus_one_attest_is_refused() {
    let other = Digest([8; 32]);
    let with = |proof: Option<Vec<_>>| SnapshotPart { manifest: proof, ..part(9, 0) };
    let (one, two) = (signed(1, 1, ROUND, STATE), signed(2, 2, ROUND, STATE));
    let unknown = signed(9, 9, ROUND, STATE);
    let rows = [
        (with(None), "nobody attests it"),
        (with(Some(vec![])), "nobody attests it"),
        (with(Some(vec![one.clone()])), "too few attest it"),
        (with(Some(vec![one.clone(), one.clone()])), "one signer attests it twice"),
        (
            with(Some(vec![one.clone(), signed(2, 3, ROUND, STATE)])),
            "a signature on it does not fit",
        ),
        (with(Some(vec![one.clone(), unknown])), "a signature on it does not fit"),
        (
            with(Some(vec![one.clone(), two.clone(), signed(3, 3, ROUND, other)])),
            "its signers attest different states",
        ),
        (
            with(Some(vec![one.clone(), signed(2, 2, Round(255), STATE)])),
            "its signers attest different states",
        ),
        (SnapshotPart { round: Round(257), ..part(9, 0) }, "another checkpoint is attested"),
    ];
    for (part, why) in rows {
        assert_eq!(Bench::new(1 << 30).refused(vec![part]), why);
    }
    let mut b = Bench::new(1 << 30);
    b.start();
    let all = with(Some(vec![one, two, signed(3, 3, ROUND, STATE)]));
    assert!(matches!(b.part(1, all), Verdict::Whole(_)), "more than t + 1 are welcome");
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let (total, second) = (2 * PART as u64 + 5, PART as u64);
    let good = part(total, second);
    let apart = "its parts do not belong together";
    let size = "a part has not the size that it should have";
    let cut = |p: &SnapshotPart, n: usize| SnapshotPart { bytes: p.bytes.slice(..n), ..p.clone() };
    let rows = [
        (SnapshotPart { total: total + 1, ..good.clone() }, apart),
        (SnapshotPart { total: u64::MAX, ..good.clone() }, apart),
        (SnapshotPart { total: 0, ..good.clone() }, apart),
        (SnapshotPart { round: Round(512), ..good.clone() }, apart),
        (SnapshotPart { manifest: Some(good_proof()), ..good.clone() }, apart),
        (cut(&good, PART - 1), size),
        (cut(&good, 0), size),
    ];
    for (bad, why) in rows {
        assert_eq!(Bench::new(1 << 30).refused(vec![part(total, 0), bad]), why);
    }
    let short = SnapshotPart { total: 0, bytes: Bytes::new(), ..part(9, 0) };
    assert_eq!(Bench::new(1 << 30).refused(vec![short]), size);
    let long = SnapshotPart { bytes: vec![3; 10].into(), ..part(9, 0) };
    assert_eq!(Bench::new(1 << 30).refused(vec![long]), size, "more than there is");
}

/// B26: what a source only claims costs no memory, and there is a bound on what it sends.
#[test]
fn a_snapshot_without_end_is_refused_and_takes_only_memory_for_what_came() {
    let quota = 4 * PART as u64;
    let why = "it is larger than the quota allows";
    let claim = |total| SnapshotPart { total, ..part(quota, 0) };
    assert_eq!(Bench::new(quota).refused(vec![claim(quota + 1)]), why);
    assert_eq!(Bench::new(quota).refused(vec![claim(u64::MAX)]), why);
    let mut b = Bench::new(1 << 40);
    b.start();
    assert!(matches!(b.part(1, claim(1 << 40)), Verdict::More(_)));
    let held = b.download.source.as_ref().unwrap().bytes.capacity();
    assert!(held <= 2 * PART, "{held} bytes for {PART} that came");
}

#[test]
fn a_silent_source_is_put_aside_and_after_all_were_asked_it_starts_over() {
    let mut b = Bench::new(1 << 30);
    assert_eq!(b.start(), Some(id(1)));
    for silent in [1, 2] {
        let due = b.download.next_wake().unwrap();
        assert_eq!(due, b.now + b.patience);
        assert_eq!(b.download.expire(Instant(due.0 - 1)), None);
        b.now = due;
        assert_eq!(b.download.expire(due), Some((id(silent), "it does not answer")));
        assert_eq!(b.start(), (silent == 1).then_some(id(2)));
    }
    assert_eq!(b.download.next_wake(), Some(b.now + b.patience), "then it rests");
    b.now = Instant(b.now.0 + b.patience.as_nanos() as u64 - 1);
    assert_eq!(b.start(), None);
    b.now = Instant(b.now.0 + 1);
    assert_eq!(b.start(), Some(id(1)));
}

/// A source that sends every part just in time may do so for a while only; an honest one on a
/// slow link gets the time that it needs, some turns later.
#[test]
fn a_source_that_is_too_slow_is_put_aside_and_later_turns_give_more_time() {
    let mut b = Bench::new(1 << 40);
    let total = 200 * PART as u64;
    let mut turns = Vec::new();
    for _ in 0..6 {
        let Some(from) = b.start() else {
            b.now = b.download.next_wake().unwrap();
            continue;
        };
        for offset in (0..200).map(|i| i * PART as u64) {
            if b.download.expire(b.now) == Some((from, "it is too slow")) {
                turns.push(offset / PART as u64);
                break;
            }
            assert!(matches!(b.part(from.number(), part(total, offset)), Verdict::More(_)));
            b.now = Instant(b.now.0 + b.patience.as_nanos() as u64 - 1);
        }
    }
    // Parts come a nanosecond before their time, so the bound strikes one part later.
    assert_eq!(turns, [65, 65, 129, 129]);
}

#[test]
fn when_the_link_is_gone_the_next_source_is_asked_from_the_start_and_nobody_is_blamed() {
    let mut b = Bench::new(1 << 30);
    b.start();
    assert!(matches!(b.part(1, part(2 * PART as u64, 0)), Verdict::More(_)));
    b.up = vec![id(2)];
    b.download.link_down(id(1));
    assert_eq!(b.download.expire(Instant(u64::MAX)), None);
    assert_eq!(b.start(), Some(id(2)));
    assert_eq!(b.download.progress(), (Some(id(2)), 0, 0));
    // The only one left breaks down as well: it is asked again when it is back.
    b.download.link_down(id(2));
    b.up.clear();
    assert_eq!((b.start(), b.download.next_wake()), (None, None));
    b.up = vec![id(2)];
    assert_eq!(b.start(), Some(id(2)));
}

#[test]
fn a_source_that_has_nothing_new_is_not_blamed() {
    let mut b = Bench::new(1 << 30);
    b.start();
    assert!(matches!(b.part(1, SnapshotPart::none()), Verdict::NothingThere));
    b.above = ROUND;
    assert_eq!(b.start(), Some(id(2)));
    assert!(matches!(b.part(2, part(9, 0)), Verdict::NothingThere), "no newer than one's own");
    assert_eq!(b.start(), None);
    b.now = b.download.next_wake().unwrap();
    b.above = ROUND.previous();
    assert_eq!(b.start(), Some(id(1)));
    assert!(matches!(b.part(1, part(9, 0)), Verdict::Whole(_)));
}

#[test]
fn what_nobody_asked_for_is_ignored() {
    let mut b = Bench::new(1 << 30);
    assert!(matches!(b.part(1, part(9, 0)), Verdict::Unasked), "before anything was");
    b.start();
    let total = 3 * PART as u64;
    assert!(matches!(b.part(2, part(9, 0)), Verdict::Unasked), "of another");
    assert!(matches!(b.part(1, part(total, PART as u64)), Verdict::Unasked), "of another place");
    assert!(matches!(b.part(1, part(total, 0)), Verdict::More(_)));
    assert!(matches!(b.part(1, part(total, 0)), Verdict::Unasked), "twice");
    assert_eq!(b.download.progress(), (Some(id(1)), PART as u64, total));
}

#[test]
fn the_next_download_begins_with_another_source() {
    let mut b = Bench::new(1 << 30);
    assert_eq!(b.start(), Some(id(1)));
    b.download.end();
    assert_eq!((b.start(), b.download.next_wake()), (None, None), "nothing is wanted");
    assert!(b.download.begin());
    assert_eq!(b.start(), Some(id(2)));
    b.download.end();
    b.download.begin();
    assert_eq!(b.start(), Some(id(1)));
}

#[cfg(feature = "plant")]
#[test]
fn a_planted_quorum_of_t_is_noticed() {
    use crate::types::plant::plant;
    plant(Some("s7-snapshot-of-t"));
    let caught = std::panic::catch_unwind(a_snapshot_that_no_t_plus_one_attest_is_refused);
    plant(None);
    assert!(caught.is_err());
}
