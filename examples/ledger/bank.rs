//! The bank itself: a deterministic state machine.

use quorate::Service;
use quorate::crypto::{Domain, Hasher, MultisetHash};
use quorate::service::RestoreError;
use quorate::types::{AgreedTime, ClientId, Digest};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Characters of an account's name at most.
const MAX_NAME: usize = 32;

/// Accounts with their balances in cents.
///
/// Commands and answers are lines of text. All accounts together never hold more than a `u64`
/// can, so that no sum of balances overflows, and a transfer needs no check but the overdraft's.
///
/// | command | what it does | answer |
/// | --- | --- | --- |
/// | `open NAME` | makes an account with nothing in it | `balance 0` |
/// | `deposit NAME CENTS` | brings money in | `balance N`, the new one |
/// | `transfer FROM TO CENTS` | moves money | `balance N`, what `FROM` has left |
/// | `balance NAME` | reads | `balance N` |
/// | `total` | reads what all accounts hold together | `total N` |
///
/// What cannot be done is answered `refused: ` and why, and changes nothing.
#[derive(Default)]
pub struct Bank {
    accounts: BTreeMap<String, u64>,
    total: u64,
    // Kept up to date entry by entry, so that a digest costs the same however many there are.
    entries: MultisetHash,
}

impl Bank {
    /// The service's name in configurations.
    pub const NAME: &'static str = "ledger";

    fn write(&mut self, words: &[&str]) -> Result<String, String> {
        let left = match *words {
            ["open", name] => self.open(name)?,
            ["deposit", name, cents] => self.deposit(name, amount(cents)?)?,
            ["transfer", from, to, cents] => self.transfer(from, to, amount(cents)?)?,
            _ => return self.read(words),
        };
        Ok(format!("balance {left}"))
    }

    fn read(&self, words: &[&str]) -> Result<String, String> {
        match *words {
            ["balance", name] => Ok(format!("balance {}", self.balance(name)?)),
            ["total"] => Ok(format!("total {}", self.total)),
            ["open" | "deposit" | "transfer", ..] => {
                Err("that is not how it is written, or it was sent as a query".to_owned())
            }
            _ => Err("there is no such command".to_owned()),
        }
    }

    fn open(&mut self, name: &str) -> Result<u64, String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
            return Err(format!("a name has at most {MAX_NAME} of the characters a-z 0-9 - _"));
        }
        if self.accounts.contains_key(name) {
            return Err(format!("{name} exists already"));
        }
        self.set(name, 0);
        Ok(0)
    }

    fn deposit(&mut self, name: &str, cents: u64) -> Result<u64, String> {
        let before = self.balance(name)?;
        let total = self.total.checked_add(cents).ok_or("the bank is full")?;
        let after = before.checked_add(cents).expect("no balance is above the total");
        self.total = total;
        self.set(name, after);
        Ok(after)
    }

    fn transfer(&mut self, from: &str, to: &str, cents: u64) -> Result<u64, String> {
        let (has, had) = (self.balance(from)?, self.balance(to)?);
        if from == to {
            return Err("an account cannot pay itself".to_owned());
        }
        let left = has.checked_sub(cents).ok_or_else(|| format!("{from} has only {has}"))?;
        let after = had.checked_add(cents).expect("two balances are not above the total");
        self.set(from, left);
        self.set(to, after);
        Ok(left)
    }

    fn balance(&self, name: &str) -> Result<u64, String> {
        self.accounts.get(name).copied().ok_or_else(|| format!("there is no account {name:.32}"))
    }

    fn set(&mut self, name: &str, cents: u64) {
        if let Some(before) = self.accounts.insert(name.to_owned(), cents) {
            self.entries.remove(&entry(name, before));
        }
        self.entries.add(&entry(name, cents));
    }

    fn parse(snapshot: &[u8]) -> Result<Self, String> {
        let mut bank = Self::default();
        let text = std::str::from_utf8(snapshot).map_err(|e| e.to_string())?;
        for line in text.lines() {
            let (name, cents) = line.split_once(' ').ok_or("a line has no balance")?;
            bank.open(name)?;
            let cents = cents.parse().map_err(|_| "a balance is no number")?;
            bank.deposit(name, cents)?;
        }
        // The same accounts in another order or spelling are no snapshot.
        if bank.snapshot() == snapshot { Ok(bank) } else { Err("not as it was written".to_owned()) }
    }
}

impl Service for Bank {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn execute(&mut self, _: AgreedTime, _: &ClientId, command: &[u8]) -> Vec<u8> {
        answer(words(command).and_then(|words| self.write(&words)))
    }

    fn query(&self, _: AgreedTime, _: &ClientId, command: &[u8]) -> Vec<u8> {
        answer(words(command).and_then(|words| self.read(&words)))
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut text = String::new();
        for (name, cents) in &self.accounts {
            writeln!(text, "{name} {cents}").expect("a string takes all");
        }
        text.into_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        *self = Self::parse(snapshot).map_err(RestoreError)?;
        Ok(())
    }

    fn digest(&mut self) -> Digest {
        self.entries.digest()
    }
}

// Any bytes may come.
fn words(command: &[u8]) -> Result<Vec<&str>, String> {
    let text = std::str::from_utf8(command).map_err(|_| "a command is text".to_owned())?;
    Ok(text.split(' ').collect())
}

fn amount(cents: &str) -> Result<u64, String> {
    let is_number = !cents.is_empty() && cents.bytes().all(|b| b.is_ascii_digit());
    let cents: Option<u64> = if is_number { cents.parse().ok() } else { None };
    cents.filter(|c| *c > 0).ok_or_else(|| "an amount is a whole number of cents from 1".to_owned())
}

fn answer(result: Result<String, String>) -> Vec<u8> {
    result.unwrap_or_else(|why| format!("refused: {why}")).into_bytes()
}

fn entry(name: &str, cents: u64) -> Digest {
    let mut hasher = Hasher::new(Domain::Entry);
    hasher.put_var(name.as_bytes()).put(&cents.to_le_bytes());
    hasher.finish()
}
