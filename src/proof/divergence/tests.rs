use super::super::history::{empty, keyring, sign};
use super::*;
use crate::types::Epoch;
use crate::wire::{Attestation, Proposal};

fn r(index: usize) -> ReplicaId {
    ReplicaId::from_index(index)
}

fn position() -> StepPosition {
    StepPosition { round: Round(7), vector: Digest([7; 32]) }
}

/// A proposal's header of this replica, which attests these two.
fn header(index: usize, running: u8, state: u8) -> Unverified<Header> {
    let attestation = Attestation {
        position: position(),
        running: Digest([running; 32]),
        checkpoint: Round(4),
        state: Digest([state; 32]),
        ..Attestation::default()
    };
    let all = keyring().ensemble().all();
    let proposal = Proposal { attestation, ..empty(Epoch::GENESIS, all, Round(9), r(index)) };
    sign(proposal.header()).into()
}

/// Of outputs, said by these replicas in turn.
fn file(values: &[u8]) -> DivergenceFile {
    let of = |(index, value): (usize, &u8)| header(index, *value, 1);
    let statements = values.iter().enumerate().map(of).collect();
    DivergenceFile::new(Attested::Outputs(position()), statements, &keyring())
}

fn members(of: &[usize]) -> Members {
    of.iter().copied().map(r).collect()
}

#[test]
fn who_differs_from_t_plus_1_is_named_and_nothing_else_is_evidence() {
    assert_eq!(keyring().ensemble().t(), 2, "the rows below are for five");
    let judge = |file: DivergenceFile| file.judge(&keyring());
    let minority = judge(file(&[1, 2, 1, 1])).unwrap();
    let expected = Divergence::Minority { differ: members(&[1]), agree: members(&[0, 2, 3]) };
    assert_eq!(minority, expected);
    assert!(minority.to_string().contains("differ from"), "{minority}");
    let split = judge(file(&[1, 2, 3, 4])).unwrap();
    assert_eq!(split, Divergence::Split { said: members(&[0, 1, 2, 3]) });
    let nothing: [&[u8]; 4] = [&[], &[1, 1, 1], &[1, 2, 1], &[1, 1, 2, 2]];
    for values in nothing {
        assert!(matches!(judge(file(values)), Err(DivergenceError::Nothing(_))), "{values:?}");
    }
    let twice = DivergenceFile { statements: vec![header(0, 1, 1), header(0, 2, 1)], ..file(&[]) };
    assert!(matches!(judge(twice), Err(DivergenceError::Nothing(_))));
    let other = DivergenceFile { about: Attested::State(Round(5)), ..file(&[1, 2, 1, 1]) };
    assert!(matches!(judge(other), Err(DivergenceError::Nothing(_))), "they speak of round 4");
    let states = [header(0, 1, 1), header(1, 1, 2), header(2, 1, 1), header(3, 1, 1)];
    let about = Attested::State(Round(4));
    let states = DivergenceFile { about, statements: states.to_vec(), ..file(&[]) };
    assert!(matches!(judge(states), Ok(Divergence::Minority { .. })));
}

/// Nobody else's word counts.
#[test]
fn a_statement_that_was_changed_shows_nothing() {
    let mut forged = file(&[1, 2, 1, 1]);
    let header = Header { replica: r(4), ..forged.statements[1].peek().clone() };
    forged.statements[1] = Unverified::new(header, *forged.statements[1].signature());
    assert!(matches!(forged.judge(&keyring()), Err(DivergenceError::Signature(_))));
}

#[test]
fn files_survive_a_round_trip_and_no_damage() {
    for about in [Attested::Outputs(position()), Attested::State(Round(4))] {
        let whole = DivergenceFile { about, ..file(&[1, 2, 1, 1]) };
        let bytes = whole.to_bytes();
        assert!(bytes.len() < MAX_DIVERGENCE_FILE);
        let read = DivergenceFile::parse(&bytes).unwrap();
        assert_eq!(read, whole);
        assert!(read.fits(&keyring()).is_ok());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(DivergenceFile::parse(&damaged).is_err(), "byte {at}");
            assert!(DivergenceFile::parse(&bytes[..at]).is_err());
        }
    }
    let name = file(&[1, 2, 1, 1]).name(Some(r(1)));
    assert!(name.starts_with("7-R2-") && name.ends_with(DIVERGENCE_SUFFIX), "{name}");
    assert!(file(&[1, 2, 3, 4]).name(None).starts_with("7-all-"));
    let foreign = DivergenceFile { cluster: Digest([1; 32]), ..file(&[1, 2]) };
    assert!(matches!(foreign.fits(&keyring()), Err(ProofFileError::Cluster { .. })));
}

/// The largest group's evidence fits.
#[test]
fn the_largest_file_is_within_the_limit() {
    let statement = header(0, 1, 1);
    let full = Header { choice: vec![Digest([1; 32]); 31], ..statement.peek().clone() };
    let statements = vec![Unverified::new(full, *statement.signature()); MOST];
    let largest = DivergenceFile { statements, ..file(&[]) };
    assert_eq!(DivergenceFile::parse(&largest.to_bytes()), Ok(largest));
}

const FROZEN: &str = "8a0ff01d42f5500c35ec12e0508d2435bd476218ea10da9b469a3aa26cf54b8a";

/// The bytes of a file are frozen: a change is another version.
#[test]
fn the_bytes_of_a_file_are_these() {
    let bytes = file(&[1, 2, 1, 1]).to_bytes();
    let digest = crate::crypto::sha256(&bytes);
    assert_eq!(&bytes[..10], b"QUODIVRG\x01\0");
    assert_eq!((bytes.len(), digest.to_hex().as_str()), (1351, FROZEN));
}
