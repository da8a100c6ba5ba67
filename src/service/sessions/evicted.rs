//! Whose sessions were ever evicted.

use crate::crypto::Hasher;
use crate::types::ClientId;
use crate::wire::{DecodeError, Reader, Writer};
use std::collections::BTreeSet;

/// Clients that are remembered one by one. With more of them every client counts as one whose
/// sessions were evicted.
const MOST: usize = 4096;

/// The clients of which a session was evicted. Of all others every session that was ever opened is
/// there: one that is not has never been.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Evicted {
    clients: BTreeSet<ClientId>,
    /// Whether there were too many of them to be told apart.
    all: bool,
}

impl Evicted {
    pub fn has(&self, client: &ClientId) -> bool {
        self.all || self.clients.contains(client)
    }

    pub fn insert(&mut self, client: ClientId) {
        if self.all {
            return;
        }
        self.clients.insert(client);
        if self.clients.len() > MOST {
            (self.all, self.clients) = (true, BTreeSet::new());
        }
    }

    pub fn hash(&self, h: &mut Hasher) {
        h.put(&[u8::from(self.all)]).put_u64(self.clients.len() as u64);
        self.clients.iter().for_each(|client| {
            h.put(&client.0);
        });
    }

    pub fn write(&self, out: &mut Writer) {
        out.bool(self.all).count(self.clients.len());
        self.clients.iter().for_each(|client| {
            out.raw(&client.0);
        });
    }

    /// About how many bytes that takes.
    pub fn size(&self) -> usize {
        5 + 32 * self.clients.len()
    }

    /// Reads what [`Evicted::write`] gave.
    ///
    /// # Errors
    /// If it is none, or not in the one order.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let all = r.bool("whether all were evicted")?;
        let n = r.count(if all { 0 } else { MOST }, 32, "clients with evicted sessions")?;
        let mut clients = BTreeSet::new();
        for _ in 0..n {
            let client = r.client("client with an evicted session")?;
            if clients.last().is_some_and(|last| *last >= client) {
                return Err(r.error("clients with evicted sessions not in their order"));
            }
            clients.insert(client);
        }
        Ok(Self { clients, all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: usize) -> ClientId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(n as u64).to_be_bytes());
        ClientId(key)
    }

    fn bytes(of: &Evicted) -> Vec<u8> {
        let mut out = Writer::new();
        of.write(&mut out);
        out.into_bytes()
    }

    #[test]
    fn too_many_clients_are_all_clients() {
        let mut evicted = Evicted::default();
        (0..MOST).for_each(|n| evicted.insert(client(n)));
        assert!(evicted.has(&client(MOST - 1)) && !evicted.has(&client(MOST)));
        evicted.insert(client(5));
        assert!(!evicted.has(&client(MOST)), "5 was there before");
        let few = bytes(&evicted);
        assert_eq!(few.len(), evicted.size());
        assert_eq!(Evicted::read(&mut Reader::new(&few)).unwrap(), evicted);
        evicted.insert(client(MOST));
        assert!(evicted.has(&client(usize::MAX)));
        evicted.insert(client(MOST + 1));
        let all = bytes(&evicted);
        assert_eq!(all.len(), 5);
        assert_eq!(Evicted::read(&mut Reader::new(&all)).unwrap(), evicted);
    }

    #[test]
    fn there_is_one_encoding() {
        let mut out = Writer::new();
        out.bool(false).count(2).raw(&client(2).0).raw(&client(1).0);
        assert!(Evicted::read(&mut Reader::new(&out.into_bytes())).is_err());
        let mut out = Writer::new();
        out.bool(true).count(1).raw(&client(2).0);
        assert!(Evicted::read(&mut Reader::new(&out.into_bytes())).is_err());
    }
}
