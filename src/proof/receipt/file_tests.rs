//! Receipts as files, and who may judge them by what.

use super::world::*;
use super::*;
use crate::crypto::{KeyError, Keyed, PublicKey};
use crate::types::GroupId;
use crate::types::plant::plant;

type Ring = Keyring<Keyed>;
type Verdict = Result<Judged, ReceiptFileError>;

/// A strong receipt of a middle reply of a group of three, as it is kept.
fn file() -> (ReceiptFile, Ring) {
    let keyring = keyring(1);
    let receipt = past(&keyring).receipt((2, 3), 4, &[0, 1, 2], &keyring);
    (ReceiptFile::new(receipt, &keyring), keyring)
}

/// One that was made under this keyring, signed in that generation by each with this version of
/// its key.
fn later(keyring: &Ring, generation: u32, by: &[(usize, u8)]) -> ReceiptFile {
    let past = past(keyring);
    let mut receipt = past.receipt((2, 3), 4, &[], keyring);
    let epoch = Epoch { generation, ..Epoch::GENESIS };
    let all = keyring.ensemble().all();
    let signed = by.iter().map(|(who, version)| {
        sign(Header { epoch, ..header(replica(*who), past.attest(4), all) }, keyring, *version)
    });
    receipt.proof.signed = signed.collect();
    ReceiptFile::new(receipt, keyring)
}

fn signers(verdict: Verdict) -> Vec<u8> {
    verdict.unwrap().signers.iter().map(|r| r.number()).collect()
}

#[test]
fn a_file_survives_and_any_damage_shows() {
    let (file, keyring) = file();
    let bytes = file.to_bytes();
    assert_eq!(ReceiptFile::parse(&bytes), Ok(file.clone()));
    assert_eq!(file.judge(&keyring), Ok(judge(&file.receipt, &keyring).unwrap()));
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let refused = ReceiptFile::parse(&damaged);
        assert!(matches!(refused, Err(ReceiptFileError::Damaged(_))), "bit {bit}");
    }
    for end in 0..bytes.len() {
        assert!(ReceiptFile::parse(&bytes[..end]).is_err(), "cut to {end}");
    }
    assert!(ReceiptFile::parse(&[&bytes[..], &[0]].concat()).is_err());
    let large = ReceiptFile::parse(&vec![0; MAX_RECEIPT_FILE + 1]).unwrap_err();
    assert!(large.to_string().contains("larger than any receipt"), "{large}");
}

/// Whoever changes a byte and makes the checksum anew gets no other statement past the judge.
#[test]
fn a_change_with_a_new_checksum_is_refused_or_says_the_same() {
    let (file, keyring) = file();
    let (bytes, verdict) = (file.to_bytes(), file.judge(&keyring));
    let hash_of = roster_hash(&keyring);
    let content = bytes.len() - 32;
    let (mut same, mut refused) = (0, 0);
    for at in 0..content {
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            let mut changed = bytes[..content].to_vec();
            changed[at] ^= change;
            let sum = hash(Domain::Receipt, &changed);
            changed.extend_from_slice(&sum.0);
            let Ok(file) = ReceiptFile::parse(&changed) else {
                refused += 1;
                continue;
            };
            for judged in [file.judge(&keyring), file.judge_by_hash::<Keyed>(&hash_of)] {
                match judged {
                    Ok(_) => {
                        assert_eq!(judged, verdict, "byte {at}");
                        same += 1;
                    }
                    Err(why) => {
                        assert!(!why.to_string().is_empty());
                        refused += 1;
                    }
                }
            }
        }
    }
    // What is not bound says nothing: the number of leaves, as long as the path goes the same way.
    assert!(same > 0 && same < 20 && refused > 10_000, "{same} {refused}");
}

#[test]
fn a_file_of_another_cluster_group_or_roster_says_so() {
    let (file, keyring) = file();
    let other = file.judge(&keyring_of(1, "another", 0)).unwrap_err();
    assert!(matches!(other, ReceiptFileError::Cluster { .. }), "{other}");
    assert!(other.to_string().contains("former_keys"), "{other}");
    let other = file.judge(&keyring_of(1, "cluster", 1)).unwrap_err();
    let (found, wanted) = (GroupId(0), GroupId(1));
    assert_eq!(other, ReceiptFileError::Group { found, wanted });
    let mut swapped = file.clone();
    swapped.keys.swap(0, 1);
    let other = swapped.judge(&keyring).unwrap_err();
    assert!(matches!(other, ReceiptFileError::Roster { .. }), "{other}");
    let other = swapped.judge_by_hash::<Keyed>(&roster_hash(&keyring)).unwrap_err();
    assert!(matches!(other, ReceiptFileError::Roster { .. }), "{other}");
    assert!(other.to_string().contains(&roster_hash(&keyring).to_hex()), "{other}");
    // Five replicas with the same first three: another hash, since all are in it.
    let mut five = file;
    five.keys.extend([public(replica(3), 0), public(replica(4), 0)]);
    assert!(five.judge_by_hash::<Keyed>(&roster_hash(&keyring)).is_err());
}

#[test]
fn a_number_of_keys_that_no_roster_has_is_refused() {
    let (file, _) = file();
    for n in [0, 1, 2, 4, 30] {
        let keys: Vec<PublicKey> = (0..n).map(|i| public(replica(i), 0)).collect();
        let bytes = ReceiptFile { keys, ..file.clone() }.to_bytes();
        assert!(ReceiptFile::parse(&bytes).is_err(), "{n}");
    }
}

/// The hash is enough, and says nothing of the cluster: the signatures do.
#[test]
fn a_hash_of_the_roster_is_enough() {
    let (file, keyring) = file();
    let wanted = roster_hash(&keyring);
    assert_eq!(file.roster::<Keyed>(), Ok(wanted));
    assert_eq!(wanted, keyring.members_hash(0, keyring.ensemble().all()), "as proofs name it");
    assert_eq!(file.judge_by_hash::<Keyed>(&wanted), file.judge(&keyring));
    let said = ReceiptFile { cluster: digest("another"), ..file };
    let why = said.judge_by_hash::<Keyed>(&wanted).unwrap_err();
    let signature = ReceiptFileError::Receipt(ReceiptError::Signature {
        replica: replica(0),
        why: VerifyError::BadSignature(replica(0)),
    });
    assert_eq!(why, signature);
}

/// M3: R3 gets its second key in generation 5 and R1 its second in 9.
#[test]
fn receipts_stand_across_changes_of_keys() {
    let first = keyring(1);
    let second = replaced(first.clone(), 4, 2);
    let third = replaced(second.clone(), 8, 0);
    let hashes = [&first, &second, &third].map(roster_hash);
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2]);
    // Made before any change: any file of the cluster judges it, and the hash of then.
    let early = later(&first, 0, &[(0, 0), (1, 0), (2, 0)]);
    for keyring in [&first, &second, &third] {
        assert_eq!(signers(early.judge(keyring)), [1, 2, 3]);
    }
    assert_eq!(signers(early.judge_by_hash::<Keyed>(&hashes[0])), [1, 2, 3]);
    let ahead = early.judge_by_hash::<Keyed>(&hashes[1]).unwrap_err();
    assert!(matches!(ahead, ReceiptFileError::Roster { .. }), "{ahead}");
    // Made after one: who does not know of it can read it, and does not count R3.
    let middle = later(&second, 5, &[(0, 0), (1, 0), (2, 1)]);
    for (keyring, expected) in [(&first, &[1, 2][..]), (&second, &[1, 2, 3]), (&third, &[1, 2, 3])]
    {
        assert_eq!(signers(middle.judge(keyring)), expected);
    }
    assert_eq!(signers(middle.judge_by_hash::<Keyed>(&hashes[0])), [1, 2]);
    assert_eq!(signers(middle.judge_by_hash::<Keyed>(&hashes[1])), [1, 2, 3]);
    let unknown = middle.judge(&first).unwrap().unknown;
    assert_eq!(unknown, [replica(2)].into_iter().collect());
    // Made after both, by two of which nobody knows who stopped looking at the first roster.
    let late = later(&third, 9, &[(0, 1), (2, 1)]);
    assert_eq!(signers(late.judge(&third)), [1, 3]);
    assert_eq!(signers(late.judge_by_hash::<Keyed>(&hashes[2])), [1, 3]);
    for few in [
        late.judge(&second),
        late.judge_by_hash::<Keyed>(&hashes[1]),
        late.judge_by_hash::<Keyed>(&hashes[0]),
    ] {
        let why = few.unwrap_err();
        let ReceiptFileError::Receipt(ReceiptError::TooFew { unknown, need: 2, .. }) = why else {
            panic!("{why}");
        };
        assert!(unknown.contains(replica(0)));
        assert!(why.to_string().contains("signed with keys that they got later"), "{why}");
    }
    // Nobody signs in the generation in which it has no key, or with the key before.
    assert!(later(&second, 4, &[(0, 0), (2, 1)]).judge(&second).is_err());
    assert!(later(&second, 5, &[(0, 0), (2, 0)]).judge(&second).is_err());
}

/// Whoever writes a file may name any keys in it: what only the file says counts for nothing.
#[test]
fn keys_that_a_liar_made_up_do_not_count() {
    let first = keyring(1);
    // R3 lies, and says that R1 and R2 got keys which R3 has made.
    let forged = replaced(replaced(first.clone(), 4, 0), 5, 1);
    let lie = later(&forged, 9, &[(0, 1), (1, 1), (2, 0)]);
    let verdicts = |file: &ReceiptFile| {
        [file.judge(&first), file.judge_by_hash::<Keyed>(&roster_hash(&first))]
    };
    for verdict in verdicts(&lie) {
        let why = verdict.unwrap_err();
        let two = [replica(0), replica(1)].into_iter().collect();
        let few = ReceiptError::TooFew { have: 1, n: 3, need: 2, unknown: two };
        assert_eq!(why, ReceiptFileError::Receipt(few));
    }
    plant(Some("s6-any-key-counts"));
    let believed = verdicts(&lie);
    plant(None);
    assert!(believed.iter().all(Result::is_ok), "{believed:?}");
}

#[test]
fn changes_of_keys_that_cannot_be_are_refused() {
    let keyring = replaced(replaced(keyring(1), 4, 2), 8, 0);
    let (good, wanted) = (later(&keyring, 9, &[(0, 1), (1, 0), (2, 1)]), roster_hash(&keyring));
    assert!(good.judge_by_hash::<Keyed>(&wanted).is_ok());
    let with = |change: fn(&mut Vec<crate::crypto::KeyChange>)| {
        let mut file = good.clone();
        change(&mut file.changes);
        file
    };
    let swapped = with(|c| c.swap(0, 1)).to_bytes();
    assert!(ReceiptFile::parse(&swapped).is_err(), "not in order");
    let twice = with(|c| c.insert(0, c[0])).to_bytes();
    assert!(ReceiptFile::parse(&twice).is_err(), "one twice");
    for file in [with(|c| c[0].out = 0), with(|c| c[1].out = u32::MAX)] {
        assert_eq!(file.judge_by_hash::<Keyed>(&wanted), Err(ReceiptFileError::Changes));
    }
    // R1 gets two keys in one generation.
    let both = with(|c| c.push(crate::crypto::KeyChange { key: public(replica(0), 7), ..c[1] }));
    assert_eq!(both.judge_by_hash::<Keyed>(&wanted), Err(ReceiptFileError::Changes));
    let stranger = with(|c| c[1].replica = replica(6));
    assert_eq!(stranger.judge_by_hash::<Keyed>(&wanted), Err(ReceiptFileError::Changes));
    // Keys are checked as keys: with ed25519 not all bytes are one.
    let weak = ReceiptFile { keys: vec![PublicKey([0; 32]); 3], ..good };
    let why = weak.roster::<crate::crypto::Ed25519>().unwrap_err();
    assert_eq!(why, ReceiptFileError::Key(replica(0), KeyError::Weak));
}
