//! `counter`: one number. The smallest service there can be, for tests and as an example.

use super::{RestoreError, Service};
use crate::crypto::{Domain, hash};
use crate::types::{AgreedTime, ClientId, Digest};

/// A number that commands add to. A command is eight bytes little-endian, what to add, or nothing
/// at all, which reads. The output is the number after it, eight bytes little-endian; it is empty
/// if the command is malformed, writes as a query, or would make the number overflow.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    value: u64,
}

impl Counter {
    /// The service's name in configurations.
    pub const NAME: &'static str = "counter";

    /// A counter at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The command that adds.
    pub fn add(by: u64) -> Vec<u8> {
        by.to_le_bytes().to_vec()
    }

    /// The command that reads.
    pub fn read() -> Vec<u8> {
        Vec::new()
    }

    /// The number in an output; `None` if the command was refused.
    pub fn parse(output: &[u8]) -> Option<u64> {
        output.try_into().ok().map(u64::from_le_bytes)
    }
}

impl Service for Counter {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn execute(&mut self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        if command.is_empty() {
            return self.query(time, client, command);
        }
        match Self::parse(command).and_then(|by| self.value.checked_add(by)) {
            Some(sum) => {
                self.value = sum;
                sum.to_le_bytes().to_vec()
            }
            None => Vec::new(),
        }
    }

    fn query(&self, _: AgreedTime, _: &ClientId, command: &[u8]) -> Vec<u8> {
        if command.is_empty() { self.value.to_le_bytes().to_vec() } else { Vec::new() }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.value.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let value = Self::parse(snapshot);
        self.value = value.ok_or_else(|| RestoreError("a counter is eight bytes".into()))?;
        Ok(())
    }

    fn digest(&mut self) -> Digest {
        hash(Domain::Entry, &self.value.to_le_bytes())
    }

    fn unchanged_after_panic(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_reads_and_refuses() {
        let mut c = Counter::new();
        let client = ClientId([0; 32]);
        let mut run =
            |command: Vec<u8>| Counter::parse(&c.execute(AgreedTime(0), &client, &command));
        assert_eq!(run(Counter::add(5)), Some(5));
        assert_eq!(run(Counter::add(u64::MAX)), None);
        assert_eq!(run(vec![1, 2, 3]), None);
        assert_eq!(run(Counter::read()), Some(5));
        assert_eq!(c.query(AgreedTime(0), &client, &Counter::add(1)), b"");
        let mut d = Counter::new();
        assert_ne!(c.digest(), d.digest());
        d.restore(&c.snapshot()).unwrap();
        assert_eq!(c.digest(), d.digest());
        assert!(d.restore(b"short").is_err());
    }
}
