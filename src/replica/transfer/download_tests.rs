//! Sources that give, fail and lie, in hand-made offers and pieces.

use super::super::list::ChunkList;
use super::*;
use crate::crypto::{Context, Keyed, PublicKey, SecretKey, Unverified, Verified};
use crate::types::{Ensemble, Epoch, GroupId, Timing};
use crate::wire::{Attestation, Header, Proposal};
use std::collections::VecDeque;

const STATE: Digest = Digest([7; 32]);
const ROUND: Round = Round(256);
const PART: usize = SnapshotPart::MAX;

fn id(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn secret(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

fn keyring(ensemble: Ensemble) -> Keyring<Keyed> {
    let all = ensemble.replicas().map(ReplicaId::number);
    let keys: Vec<PublicKey> = all.map(|i| Keyed::public(&Keyed::signer(&secret(i)))).collect();
    let context = Context { cluster: Digest([9; 32]), group: GroupId::MAIN };
    Keyring::new(context, ensemble, keys).unwrap()
}

/// What a replica signs about a checkpoint, with the key of `key`.
fn signed(t: u8, (number, key): (u8, u8), round: Round, state: Digest) -> Unverified<Header> {
    let ensemble = Ensemble::new(t).unwrap();
    let attestation = Attestation { checkpoint: round, state, ..Attestation::default() };
    let proposal = Proposal {
        epoch: Epoch::GENESIS,
        members: ensemble.all(),
        round: Round(round.0 + 2),
        replica: id(number),
        choice: vec![],
        candidates: vec![],
        changes: vec![],
        now: 5,
        attestation,
    };
    let signer = Keyed::signer(&secret(key));
    let verified = Verified::<Proposal>::sign::<Keyed>(proposal, &keyring(ensemble), &signer);
    verified.header().into()
}

/// A snapshot of so many whole chunks and seven bytes, each chunk another one.
fn content(chunks: usize, salt: u8) -> Bytes {
    let mut bytes = vec![salt; chunks * PART + 7];
    let chunks = bytes.chunks_mut(PART).zip(1_u32..);
    chunks.for_each(|(chunk, n)| chunk[..4].copy_from_slice(&n.to_le_bytes()));
    bytes.into()
}

/// What a source has.
#[derive(Clone)]
struct Store {
    round: Round,
    bytes: Bytes,
    list: ChunkList,
}

impl Store {
    fn new(round: Round, bytes: Bytes) -> Self {
        let list = ChunkList::of(&bytes).unwrap();
        Self { round, bytes, list }
    }

    fn offer(&self, t: u8) -> SnapshotOffer {
        let proof = (1..=t + 1).map(|i| signed(t, (i, i), self.round, STATE)).collect();
        let (total, pages) = (self.bytes.len() as u64, self.list.digests().to_vec());
        SnapshotOffer { round: self.round, total, pages, proof }
    }

    fn part(&self, piece: Piece) -> SnapshotPart {
        let bytes = match piece {
            Piece::Offer => panic!("that is no part"),
            Piece::Page(n) => self.list.page(n).unwrap().clone(),
            Piece::Chunk(n) => {
                let start = n as usize * PART;
                self.bytes.slice(start..self.bytes.len().min(start + PART))
            }
        };
        SnapshotPart { round: self.round, piece, bytes }
    }
}

/// What a source answers.
enum Reply {
    Offer(SnapshotOffer),
    Part(SnapshotPart),
    Silence,
    /// What an honest one answers, but so much later.
    Late(Duration),
}

struct Bench {
    t: u8,
    download: Download,
    keyring: Keyring<Keyed>,
    up: Vec<u8>,
    now: Instant,
    patience: Duration,
    above: Round,
    /// What each source has.
    stores: BTreeMap<u8, Store>,
    /// Questions on their way.
    wants: VecDeque<(u8, WantSnapshot)>,
    /// Questions that are answered then.
    late: Vec<(Instant, u8, WantSnapshot)>,
    /// All questions so far.
    asked: Vec<(u8, WantSnapshot)>,
    faults: Vec<(u8, &'static str, bool)>,
}

impl Bench {
    /// All but the last of `2t + 1` replicas have the same snapshot.
    fn new(t: u8, quotas: &Quotas) -> Self {
        let ensemble = Ensemble::new(t).unwrap();
        let mut download = Download::new(quotas, ensemble.majority());
        assert!(download.begin() && !download.begin());
        let store = Store::new(ROUND, content(9, 3));
        Self {
            t,
            download,
            keyring: keyring(ensemble),
            up: (1..=2 * t).collect(),
            now: Instant(1_000),
            patience: Timing::from_delta(Duration::from_millis(100)).patience,
            above: Round(0),
            stores: (1..=2 * t).map(|r| (r, store.clone())).collect(),
            wants: VecDeque::new(),
            late: vec![],
            asked: vec![],
            faults: vec![],
        }
    }

    fn ask(&mut self) -> Vec<(u8, WantSnapshot)> {
        let (times, up) = ((self.now, self.patience), self.up.clone());
        let wants = self.download.ask(times, self.above, up.into_iter().map(id));
        wants.into_iter().map(|(to, want)| (to.number(), want)).collect()
    }

    fn look(&mut self) {
        for fault in self.download.expire(self.now, self.patience) {
            self.note(fault);
        }
        let wants = self.ask();
        self.asked.extend(&wants);
        self.wants.extend(wants);
    }

    fn note(&mut self, Fault { from, why, lied }: Fault) {
        self.faults.push((from.number(), why, lied));
    }

    fn offer(&mut self, from: u8, offer: SnapshotOffer) -> Verdict {
        let times = (self.now, self.patience);
        self.download.offer(times, id(from), offer, self.above, &self.keyring)
    }

    fn part(&mut self, from: u8, part: &SnapshotPart) -> Verdict {
        self.download.part((self.now, self.patience), id(from), part)
    }

    fn honest(&self, from: u8, want: WantSnapshot) -> Reply {
        let store = &self.stores[&from];
        let fits = want.round == Round(0) || want.round == store.round;
        match want.piece {
            Piece::Offer if fits => Reply::Offer(store.offer(self.t)),
            Piece::Offer => Reply::Offer(SnapshotOffer::none()),
            piece if fits => Reply::Part(store.part(piece)),
            piece => Reply::Part(SnapshotPart { round: want.round, piece, bytes: Bytes::new() }),
        }
    }

    fn link_down(&mut self, of: u8) {
        self.up.retain(|r| *r != of);
        self.wants.retain(|(to, _)| *to != of);
        self.download.link_down(self.now, self.patience, id(of));
    }

    /// Lets everything be answered, each a millisecond after the one before, until the whole is
    /// there, or for some time. `answer` may answer otherwise than an honest source.
    fn run(
        &mut self,
        time: Duration,
        mut answer: impl FnMut(&mut Self, u8, WantSnapshot) -> Option<Reply>,
    ) -> Option<Whole> {
        let until = self.now + time;
        loop {
            self.look();
            let due = self.late.iter().position(|(at, ..)| *at <= self.now);
            let (from, reply) = if let Some(place) = due {
                let (_, from, want) = self.late.remove(place);
                (from, self.honest(from, want))
            } else if let Some((from, want)) = self.wants.pop_front() {
                self.now = self.now + Duration::from_millis(1);
                let reply = answer(self, from, want);
                if let Some(Reply::Late(time)) = reply {
                    self.late.push((self.now + time, from, want));
                    continue;
                }
                (from, reply.unwrap_or_else(|| self.honest(from, want)))
            } else {
                let wake = self.download.next_wake(self.patience);
                assert!(wake.is_none_or(|wake| wake > self.now), "it wakes in vain");
                let next = wake.into_iter().chain(self.late.iter().map(|(at, ..)| *at)).min()?;
                if next > until {
                    self.now = until;
                    return None;
                }
                self.now = next;
                continue;
            };
            let verdict = match reply {
                Reply::Offer(offer) => self.offer(from, offer),
                Reply::Part(part) => self.part(from, &part),
                Reply::Silence | Reply::Late(_) => continue,
            };
            match verdict {
                Verdict::Whole(whole) => return Some(*whole),
                Verdict::Refused(fault) => self.note(fault),
                Verdict::Taken | Verdict::Unasked => {}
            }
            for fault in self.download.outvoted((self.now, self.patience)) {
                self.note(fault);
            }
        }
    }

    fn whole(&mut self, answer: impl FnMut(&mut Self, u8, WantSnapshot) -> Option<Reply>) -> Whole {
        self.run(Duration::from_secs(60), answer).expect("the whole comes within a minute")
    }

    /// How often each piece was asked for.
    fn pieces(&self) -> BTreeMap<Piece, usize> {
        let mut pieces = BTreeMap::new();
        for (_, want) in self.asked.iter().filter(|(_, want)| want.piece != Piece::Offer) {
            *pieces.entry(want.piece).or_insert(0) += 1;
        }
        pieces
    }

    fn asked_of(&self, source: u8) -> usize {
        self.asked.iter().filter(|(to, want)| *to == source && want.piece != Piece::Offer).count()
    }
}

fn bench() -> Bench {
    Bench::new(1, &Quotas::default())
}

#[test]
fn pieces_come_from_all_sources_that_offer_the_same_and_each_is_asked_for_once() {
    let mut b = bench();
    let whole = b.whole(|_, _, _| None);
    assert_eq!((whole.round(), whole.state()), (ROUND, STATE));
    assert_eq!(
        (whole.bytes, whole.proof),
        (b.stores[&1].bytes.clone(), b.stores[&1].offer(1).proof)
    );
    assert_eq!(whole.givers, [id(1), id(2)].into_iter().collect());
    assert_eq!(b.pieces().len(), 11, "a page and ten chunks");
    assert!(b.pieces().values().all(|times| *times == 1) && b.faults.is_empty());
    assert!(b.asked_of(1) >= 4 && b.asked_of(2) >= 4, "both do about half");
    assert_eq!(b.download.progress(), (vec![], 0, 0));
}

#[test]
fn an_offer_that_no_t_plus_one_attest_is_refused() {
    let with = |proof: Vec<_>| SnapshotOffer { proof, ..bench().stores[&1].offer(1) };
    let (one, two) = (signed(1, (1, 1), ROUND, STATE), signed(1, (2, 2), ROUND, STATE));
    let other = signed(1, (3, 3), ROUND, Digest([8; 32]));
    let rows = [
        (with(vec![]), "nobody attests it"),
        (with(vec![one.clone()]), "too few attest it"),
        (with(vec![one.clone(), one.clone()]), "one signer attests it twice"),
        (
            with(vec![one.clone(), signed(1, (2, 3), ROUND, STATE)]),
            "a signature on it does not fit",
        ),
        (
            with(vec![one.clone(), signed(1, (9, 9), ROUND, STATE)]),
            "a signature on it does not fit",
        ),
        (with(vec![one.clone(), two.clone(), other]), "its signers attest different states"),
        (
            with(vec![one.clone(), signed(1, (2, 2), Round(255), STATE)]),
            "its signers attest different states",
        ),
        (
            SnapshotOffer { round: Round(257), ..bench().stores[&1].offer(1) },
            "another checkpoint is attested",
        ),
    ];
    for (offer, why) in rows {
        let mut b = bench();
        let whole = b.whole(|_, from, want| match (from, want.piece) {
            (1, Piece::Offer) => Some(Reply::Offer(offer.clone())),
            _ => None,
        });
        assert_eq!(b.faults, [(1, why, true)]);
        assert_eq!((whole.givers.iter().collect(), b.asked_of(1)), (vec![id(2)], 0), "{why}");
    }
    let mut b = bench();
    b.ask();
    let all = with(vec![one, two, signed(1, (3, 3), ROUND, STATE)]);
    assert!(matches!(b.offer(1, all), Verdict::Taken), "more than t + 1 are welcome");
}

/// R1 gives this in place of one piece; it is to be found out at once, named and avoided.
fn forged(piece: Piece, forge: fn(&mut Vec<u8>), why: &'static str) {
    let mut b = bench();
    let mut lied_at = 0;
    let whole = b.whole(|b, from, want| {
        let mut part = (from == 1 && want.piece == piece).then(|| b.stores[&1].part(piece))?;
        lied_at = b.asked.len();
        let mut bytes = part.bytes.to_vec();
        forge(&mut bytes);
        part.bytes = bytes.into();
        Some(Reply::Part(part))
    });
    assert_eq!(whole.bytes, b.stores[&2].bytes, "what is forged is not in it");
    assert_eq!(b.faults, [(1, why, true)]);
    assert!(b.asked[lied_at..].iter().all(|(to, _)| *to != 1), "it is asked nothing more");
    assert_eq!(b.download.liars().map(|(who, lied)| (who, lied.why)).next(), Some((id(1), why)));
}

fn forged_chunks() {
    let why = "it gave a chunk that does not match its own list";
    let rows: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes[1000] ^= 1,
        |bytes| bytes.truncate(PART - 1),
        |bytes| bytes.push(0),
        |bytes| bytes.truncate(1),
    ];
    for forge in rows {
        forged(Piece::Chunk(0), forge, why);
    }
}

#[test]
fn a_chunk_or_a_list_that_is_not_what_its_source_said_is_refused_at_once() {
    forged_chunks();
    let why = "it gave a list of chunks that does not match its own offer";
    forged(Piece::Page(0), |bytes| bytes[33] ^= 1, why);
    forged(Piece::Page(0), |bytes| bytes.truncate(32), why);
}

/// B21, B26: what a source only claims costs no memory, and there is a bound on what it may claim.
#[test]
fn an_offer_above_the_quota_is_refused() {
    let quota = 10 * PART as u64;
    let quotas = Quotas { snapshot_bytes: quota, ..Quotas::default() };
    let claim = |total: u64| SnapshotOffer { total, ..bench().stores[&1].offer(1) };
    for (total, refused) in [(quota + 1, true), (u64::MAX, true), (0, false), (quota, false)] {
        let mut b = Bench::new(1, &quotas);
        b.look();
        let why = match b.offer(1, claim(total)) {
            Verdict::Refused(fault) => Some(fault.why),
            _ => None,
        };
        assert_eq!(why, refused.then_some("it is larger than the quota allows"), "{total}");
    }
}

/// D20: what came before a source was silent is not fetched again.
#[test]
fn when_a_source_dies_in_the_middle_the_others_go_on_with_what_it_gave() {
    let mut b = bench();
    let mut given = 0;
    let whole = b.whole(|_, from, want| {
        given += usize::from(from == 1 && want.piece != Piece::Offer);
        (from == 1 && given > 3).then_some(Reply::Silence)
    });
    assert_eq!(whole.bytes, b.stores[&2].bytes);
    assert_eq!(whole.givers, [id(1), id(2)].into_iter().collect());
    assert!(b.faults.iter().all(|fault| *fault == (1, "it does not answer", false)));
    let twice = b.pieces().values().filter(|times| **times > 1).count();
    let lost = b.asked_of(1) - 3;
    assert!(lost >= 1 && twice <= lost, "{lost} were lost, {twice} asked for twice");
}

fn link_breaks_and_comes_back() {
    let mut b = bench();
    b.up = vec![1];
    let mut came = 0;
    let none = b.run(Duration::from_millis(400), |_, _, want| {
        came += usize::from(want.piece != Piece::Offer);
        (came > 5).then_some(Reply::Silence)
    });
    assert!(none.is_none() && b.download.progress().1 == 4 * PART as u64);
    b.link_down(1);
    assert!(b.run(Duration::from_millis(300), |_, _, _| None).is_none());
    b.up = vec![1];
    b.asked.clear();
    let whole = b.whole(|_, _, _| None);
    assert_eq!(whole.bytes, b.stores[&1].bytes);
    let chunks: Vec<_> = (4..10).map(|n| (Piece::Chunk(n), 1)).collect();
    assert_eq!(b.pieces().into_iter().collect::<Vec<_>>(), chunks, "only what had not come");
    assert_eq!(b.faults, [], "and nobody is blamed");
}

/// D20: the fetching replica's only link breaks.
#[test]
fn a_link_that_breaks_and_comes_back_costs_only_what_was_on_its_way() {
    link_breaks_and_comes_back();
}

/// D20, D21: sources move on to the next checkpoint.
#[test]
fn what_the_sources_have_given_up_is_begun_anew_and_nothing_is_mixed() {
    let mut b = bench();
    let newer = Store::new(Round(512), content(9, 4));
    let mut given = 0;
    let whole = b.whole(|b, _, want| {
        given += usize::from(want.piece != Piece::Offer);
        if given == 6 {
            b.stores.values_mut().for_each(|store| *store = newer.clone());
        }
        None
    });
    assert_eq!((whole.round(), whole.bytes), (Round(512), newer.bytes.clone()));
    assert_eq!(b.faults, []);
    // One source alone moves on: the other still has what was begun.
    let mut b = bench();
    let whole = b.whole(|b, _, want| {
        if want.piece >= Piece::Chunk(3) {
            b.stores.insert(2, newer.clone());
        }
        None
    });
    assert_eq!((whole.round(), &whole.bytes), (ROUND, &b.stores[&1].bytes));
    assert!(whole.givers.contains(id(2)) && b.faults.is_empty());
}

/// Two of four sources agree on a list that gives another state.
fn colluding() {
    let mut b = Bench::new(2, &Quotas::default());
    let forged = Store::new(ROUND, content(9, 5));
    (1..=2).for_each(|liar| drop(b.stores.insert(liar, forged.clone())));
    // The third has nothing yet, so that the liars are not outvoted.
    b.up = vec![1, 2, 4];
    let whole = b.whole(|_, _, _| None);
    assert_eq!(whole.bytes, forged.bytes, "nobody can tell before it is whole");
    let why = "it is not the state that was attested";
    let faults = b.download.refute((b.now, b.patience), (whole.claim, whole.claimants), why);
    faults.into_iter().for_each(|fault| b.note(fault));
    b.asked.clear();
    let whole = b.whole(|_, _, _| None);
    assert_eq!(whole.bytes, b.stores[&4].bytes);
    assert_eq!(b.faults, [(1, why, true), (2, why, true)]);
    assert_eq!(b.asked_of(1) + b.asked_of(2), 0);
}

#[test]
fn all_who_agreed_on_a_list_that_gives_another_state_are_named_and_avoided() {
    colluding();
}

#[test]
fn who_is_contradicted_by_t_plus_one_or_by_the_attested_state_is_named() {
    let mut b = Bench::new(2, &Quotas::default());
    b.stores.insert(1, Store::new(ROUND, content(9, 5)));
    let whole = b.whole(|_, _, _| None);
    assert_eq!((whole.bytes.clone(), b.asked_of(1)), (b.stores[&2].bytes.clone(), 0));
    let faults = b.download.right((b.now, b.patience), &whole.claim);
    let [Fault { from, why: OTHER, lied: true }] = faults[..] else { panic!("{faults:?}") };
    assert_eq!(from, id(1));
    // Alone at first, it is asked; then the three others turn up.
    let mut b = Bench::new(2, &Quotas::default());
    b.stores.insert(1, Store::new(ROUND, content(9, 5)));
    b.up = vec![1];
    b.run(Duration::from_millis(200), |_, _, want| {
        (want.piece > Piece::Chunk(2)).then_some(Reply::Silence)
    });
    assert!(b.download.progress().1 > 0 && b.faults.is_empty());
    b.up = vec![1, 2, 3, 4];
    let whole = b.whole(|_, from, want| {
        (from == 1 && want.piece > Piece::Chunk(2)).then_some(Reply::Silence)
    });
    assert_eq!(
        (whole.bytes, b.faults.last()),
        (b.stores[&2].bytes.clone(), Some(&(1, OTHER, true)))
    );
}
const OTHER: &str = "its list of chunks is not that of the attested state";

#[test]
fn a_list_that_was_found_wrong_is_refused_when_another_offers_it() {
    let mut b = bench();
    b.up = vec![1];
    let whole = b.whole(|_, _, _| None);
    let faults = b.download.refute((b.now, b.patience), (whole.claim, whole.claimants), "wrong");
    assert_eq!(faults.len(), 1);
    b.up = vec![1, 2];
    assert!(b.run(Duration::from_secs(5), |_, _, _| None).is_none());
    assert_eq!(b.faults, [(2, AGAIN, true)]);
    assert_eq!(b.asked_of(2), 0);
}

/// Who lied is asked again much later, and each time later still.
#[test]
fn a_liar_is_left_alone_for_longer_each_time() {
    let mut b = bench();
    b.up = vec![1];
    let mut times = Vec::new();
    b.run(Duration::from_secs(600), |b, _, _| {
        times.push(b.now);
        assert!(times.len() < 20, "it is asked all the time");
        Some(Reply::Offer(SnapshotOffer { proof: vec![], ..b.stores[&1].offer(1) }))
    });
    let first = 128 * b.patience.as_millis();
    let gap = |w: &[Instant]| w[1].since(w[0]).as_millis() / first;
    assert_eq!(times.windows(2).map(gap).collect::<Vec<_>>(), [1, 2, 4]);
}

#[test]
fn a_silent_source_is_asked_again_after_longer_and_longer() {
    let mut b = bench();
    b.up = vec![1];
    let none = b.run(Duration::from_secs(30), |_, _, _| Some(Reply::Silence));
    assert!(none.is_none());
    assert!((3..8).contains(&b.asked.len()), "{} questions", b.asked.len());
    assert!(b.faults.iter().all(|fault| *fault == (1, "it does not answer", false)));
    assert!(b.run(Duration::from_secs(40), |_, _, _| None).is_some());
}

/// A source that gives every piece just in time may do so for a while only, and keeps little from
/// others meanwhile.
#[test]
fn a_source_that_drips_delays_nobody() {
    let mut b = bench();
    let drip = Reply::Late;
    let late = b.patience - Duration::from_millis(20);
    let (mut dripped, began) = (0, b.now);
    let whole = b.whole(|_, from, want| {
        let drips = from == 1 && want.piece > Piece::Page(0);
        dripped += usize::from(drips);
        drips.then_some(drip(late))
    });
    assert_eq!(whole.bytes, b.stores[&2].bytes);
    assert!((1..=3).contains(&dripped), "{dripped} of 10 chunks were waited for");
    assert!(b.now.since(began) < 2 * b.patience && b.faults.is_empty());
    // Alone it has no more than its time.
    let mut b = bench();
    b.up = vec![1];
    b.stores.insert(1, Store::new(ROUND, content(600, 3)));
    let began = b.now;
    let none = b.run(Duration::from_secs(200), |b, _, want| match want.piece {
        _ if !b.faults.is_empty() => Some(Reply::Silence),
        Piece::Chunk(_) => Some(drip(late)),
        _ => None,
    });
    assert!(none.is_none());
    assert_eq!(b.faults.first(), Some(&(1, "it is too slow", false)));
    assert!(b.now.since(began) > TIMES * b.patience);
    // Then others have their turn, though what they have is older.
    let mut b = bench();
    b.stores.insert(2, Store::new(Round(512), content(600, 3)));
    let whole = b.run(Duration::from_secs(80), |_, from, want| {
        (from == 2 && want.piece > Piece::Page(0)).then_some(drip(late))
    });
    assert_eq!(whole.map(|whole| whole.round()), Some(ROUND));
    assert_eq!(b.faults, [(2, "it is too slow", false)]);
}

#[test]
fn what_is_in_flight_is_bounded() {
    for (pieces, most) in [(1, 1), (3, 3), (1000, 32)] {
        let quotas = Quotas { transfer_bytes: pieces * PART as u64, ..Quotas::default() };
        let mut b = Bench::new(1, &quotas);
        let store = Store::new(ROUND, content(60, 3));
        (1..=2).for_each(|r| drop(b.stores.insert(r, store.clone())));
        let mut seen = 0;
        let whole = b.whole(|b, _, _| {
            let owed: usize = b.download.sources.values().map(Source::owed).sum();
            seen = seen.max(owed);
            None
        });
        assert_eq!(whole.bytes, store.bytes);
        assert!(seen <= most && seen * 2 > most, "{seen} of {most}");
    }
}

#[test]
fn a_source_that_makes_its_bytes_is_asked_again_and_not_blamed() {
    let mut b = bench();
    b.up = vec![1];
    let ready = b.now + 3 * b.patience;
    let whole =
        b.whole(|b, _, _| (b.now < ready).then(|| Reply::Offer(SnapshotOffer::not_yet(ROUND))));
    assert_eq!((whole.round(), b.faults.len()), (ROUND, 0));
    assert!(b.now < ready + b.patience, "soon after they were ready");
}

#[test]
fn a_source_that_has_nothing_new_is_not_blamed() {
    let mut b = bench();
    b.above = ROUND;
    assert!(b.run(Duration::from_secs(3), |_, _, _| None).is_none(), "no newer than one's own");
    assert!(b.asked.len() > 4 && b.asked_of(1) + b.asked_of(2) == 0);
    b.above = ROUND.previous();
    assert!(b.run(Duration::from_secs(3), |_, _, _| None).is_some());
    assert_eq!(b.faults, []);
}

#[test]
fn what_nobody_asked_for_is_ignored() {
    let mut b = bench();
    let (offer, store) = (b.stores[&1].offer(1), b.stores[&1].clone());
    assert!(matches!(b.offer(1, offer.clone()), Verdict::Unasked), "before anything was");
    b.up = vec![1];
    b.look();
    assert!(matches!(b.offer(2, offer.clone()), Verdict::Unasked), "of another");
    assert!(matches!(b.part(1, &store.part(Piece::Page(0))), Verdict::Unasked));
    assert!(matches!(b.offer(1, offer.clone()), Verdict::Taken));
    assert!(matches!(b.offer(1, offer), Verdict::Unasked), "twice");
    b.look();
    assert!(matches!(b.part(1, &store.part(Piece::Chunk(0))), Verdict::Unasked), "no list yet");
    assert!(matches!(b.part(1, &store.part(Piece::Page(0))), Verdict::Taken));
    assert!(matches!(b.part(1, &store.part(Piece::Page(0))), Verdict::Unasked), "twice");
    b.look();
    let other = SnapshotPart { round: Round(512), ..store.part(Piece::Chunk(0)) };
    assert!(matches!(b.part(1, &other), Verdict::Unasked), "of another round");
    assert!(matches!(b.part(1, &store.part(Piece::Chunk(0))), Verdict::Taken));
    b.download.end();
    assert!(matches!(b.part(1, &store.part(Piece::Chunk(1))), Verdict::Unasked), "it is over");
    assert_eq!((b.ask(), b.download.next_wake(b.patience)), (vec![], None));
}

#[cfg(feature = "plant")]
#[test]
fn planted_bugs_of_fetching_are_noticed() {
    use crate::types::plant::plant;
    let rows: [(_, fn()); 5] = [
        ("s7-snapshot-of-t", an_offer_that_no_t_plus_one_attest_is_refused),
        ("s7-chunk-unchecked", forged_chunks),
        ("s7-liar-asked-again", a_liar_is_left_alone_for_longer_each_time),
        ("s7-link-takes-all", link_breaks_and_comes_back),
        ("s7-one-claimant-named", colluding),
    ];
    for (name, test) in rows {
        plant(Some(name));
        let caught = std::panic::catch_unwind(test);
        plant(None);
        assert!(caught.is_err(), "{name}");
    }
}
