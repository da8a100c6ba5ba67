//! The bank of `examples/ledger`, as a state machine.

#[path = "../../examples/ledger/bank.rs"]
mod bank;

use bank::Bank;
use quorate::Service;
use quorate::types::{AgreedTime, ClientId};

fn run(bank: &mut Bank, command: &str) -> String {
    let output = bank.execute(AgreedTime(0), &ClientId([0; 32]), command.as_bytes());
    String::from_utf8(output).unwrap()
}

fn ask(bank: &Bank, command: &str) -> String {
    String::from_utf8(bank.query(AgreedTime(0), &ClientId([0; 32]), command.as_bytes())).unwrap()
}

#[test]
fn money_moves_and_overdrafts_are_refused() {
    let mut bank = Bank::default();
    let rows = [
        ("open ann", "balance 0"),
        ("open bob", "balance 0"),
        ("open ann", "refused: ann exists already"),
        ("deposit ann 500", "balance 500"),
        ("transfer ann bob 120", "balance 380"),
        ("transfer ann bob 381", "refused: ann has only 380"),
        ("transfer ann ann 1", "refused: an account cannot pay itself"),
        ("transfer ann eve 1", "refused: there is no account eve"),
        ("deposit bob 18446744073709551615", "refused: the bank is full"),
        ("balance bob", "balance 120"),
        ("total", "total 500"),
    ];
    for (command, answer) in rows {
        assert_eq!(run(&mut bank, command), answer, "{command}");
    }
    assert_eq!(ask(&bank, "balance ann"), "balance 380");
    assert_eq!(ask(&bank, "total"), "total 500");
}

#[test]
fn what_is_no_command_is_refused_and_changes_nothing() {
    let mut bank = Bank::default();
    run(&mut bank, "open ann");
    run(&mut bank, "deposit ann 5");
    let (before, digest) = (bank.snapshot(), bank.digest());
    for bad in ["", " ", "dance", "open", "open A", "open a b", "deposit ann", "deposit ann -1"] {
        assert!(run(&mut bank, bad).starts_with("refused: "), "{bad}");
    }
    for bad in ["deposit ann 0", "deposit ann +1", "deposit ann 99999999999999999999", "open \n"] {
        assert!(run(&mut bank, bad).starts_with("refused: "), "{bad}");
    }
    assert!(run(&mut bank, &format!("open {}", "x".repeat(33))).starts_with("refused: "));
    let bytes = bank.execute(AgreedTime(0), &ClientId([0; 32]), &[0xff, 0]);
    assert!(bytes.starts_with(b"refused: "));
    for write in ["open bob", "deposit ann 1", "transfer ann ann 1"] {
        assert!(ask(&bank, write).starts_with("refused: "), "{write}");
    }
    assert_eq!((bank.snapshot(), bank.digest()), (before, digest));
}

#[test]
fn a_snapshot_gives_the_same_bank_and_nothing_else_does() {
    let mut bank = Bank::default();
    let empty = bank.digest();
    for command in ["open zoe", "open ann", "deposit zoe 7", "deposit ann 9", "transfer zoe ann 3"]
    {
        run(&mut bank, command);
    }
    let snapshot = bank.snapshot();
    assert_eq!(snapshot, b"ann 12\nzoe 4\n");
    let mut other = Bank::default();
    other.restore(&snapshot).unwrap();
    assert_eq!((other.digest(), other.snapshot()), (bank.digest(), snapshot.clone()));
    assert_eq!(run(&mut other, "total"), "total 16");
    // Not one of these is taken, and the bank stays as it was.
    let bad: [&[u8]; 7] = [
        b"ann",
        b"zoe 4\nann 12\n",
        b"ann 12\nann 1\n",
        b"ann 012\n",
        b"ann 12",
        b"\xff",
        b"A 1\n",
    ];
    for bytes in bad {
        assert!(other.restore(bytes).is_err(), "{}", bytes.escape_ascii());
        assert_eq!(other.snapshot(), snapshot);
    }
    run(&mut other, "transfer ann zoe 3");
    assert_ne!(other.digest(), bank.digest());
    run(&mut other, "transfer zoe ann 3");
    assert_eq!(other.digest(), bank.digest(), "equal states have equal digests");
    assert_ne!(other.digest(), empty);
}
