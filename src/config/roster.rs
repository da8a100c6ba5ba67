//! `[[replica]]` and `[[client]]`: who is who, with nothing given twice.

use super::address::{Address, parse_admin};
use super::cluster::{ClientEntry, FormerKey, ReplicaEntry};
use super::error::{ConfigError, Source};
use super::field::{Key, Section};
use super::parse::{MAX_NAME, ReadKey};
use super::raw::{RawClient, RawReplica};
use crate::crypto::{PemError, PublicKey};
use crate::types::{Ensemble, ReplicaId, Role};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// Reads replicas and clients, and remembers which keys have been given to whom.
pub(super) struct Roster<'a, 'k> {
    source: Source<'a>,
    key_files: &'a mut ReadKey<'k>,
    keys: BTreeMap<PublicKey, String>,
}

/// An entry of the roster before it is put in order, and where its parts stand.
struct Placement {
    entry: ReplicaEntry,
    id_line: usize,
    address: Address,
    address_line: usize,
    admin_line: usize,
}

impl<'a, 'k> Roster<'a, 'k> {
    pub(super) fn new(source: Source<'a>, read_key: &'a mut ReadKey<'k>) -> Self {
        Self { source, key_files: read_key, keys: BTreeMap::new() }
    }

    /// The replicas in the order of their ids: exactly 1 to n, or to the `last` one of the chains
    /// if the master's group is apart from them.
    pub(super) fn parse_replicas(
        &mut self,
        raw: &[Spanned<RawReplica>],
        (ensemble, last, t_span): (Ensemble, Option<ReplicaId>, &Range<usize>),
    ) -> Result<Vec<ReplicaEntry>, ConfigError> {
        let all = last.map_or(ensemble.n(), |last| last.index() + 1);
        let mut placed: Vec<Placement> = Vec::new();
        for replica in raw {
            let next = self.parse_replica(replica, (ensemble, all), &placed)?;
            placed.push(next);
        }
        placed.sort_by_key(|p| p.entry.id);
        let missing: Vec<String> = (0..all)
            .map(ReplicaId::from_index)
            .filter(|id| placed.iter().all(|p| p.entry.id != *id))
            .map(|id| id.number().to_string())
            .collect();
        if !missing.is_empty() {
            let (t, n) = (ensemble.t(), ensemble.n());
            return Err(self.source.error(
                t_span.clone(),
                format!("t = {t} needs n = 2t + 1 = {n} replicas, the file lists {}", raw.len()),
                format!("add a section [[replica]] with id = {}", missing.join(", and id = ")),
            ));
        }
        Ok(placed.into_iter().map(|p| p.entry).collect())
    }

    fn parse_replica(
        &mut self,
        raw: &Spanned<RawReplica>,
        (ensemble, all): (Ensemble, usize),
        earlier: &[Placement],
    ) -> Result<Placement, ConfigError> {
        let section = Section::new(self.source, "[[replica]]", raw.span());
        let raw = raw.get_ref();
        let (t, n) = (ensemble.t(), ensemble.n());
        let id_key = section.key("id", &raw.id, "1");
        let number = id_key.whole(0..=u64::from(u32::MAX))?;
        let id = u8::try_from(number).ok().and_then(ReplicaId::new);
        let Some(id) = id.filter(|id| id.index() < all) else {
            return Err(id_key.error(
                match all > n {
                    true => format!("{number} is not one of the ids 1 to {all}"),
                    false => {
                        format!("{number} is not one of the ids 1 to {n} of a cluster with t = {t}")
                    }
                },
                match all > n {
                    true => format!("number the replicas 1 to {all} without gaps"),
                    false => format!(
                        "number the replicas 1 to {n} without gaps, or change t: n must be 2t + 1; \
                         in the fail-stop model a section [master] allows more"
                    ),
                },
            ));
        };
        if let Some(other) = earlier.iter().find(|p| p.entry.id == id) {
            let problem = format!("id {number} is taken by the replica of line {}", other.id_line);
            return Err(id_key.error(problem, format!("give each of 1 to {all} to one replica")));
        }
        let address_key = section.key("address", &raw.address, "\"192.0.2.1:7100\"");
        let address = Address::parse(&address_key)?;
        let admin_key = section.key("admin", &raw.admin, "\"127.0.0.1:7200\"");
        let admin = parse_admin(&admin_key)?;
        let public_key = self.parse_key(
            &section.key("public_key", &raw.public_key, "\"keys/replica-1.pub.pem\""),
            format!("replica {number}"),
        )?;
        let former_keys = self.parse_former_keys(&section, raw, number)?;
        if !former_keys.is_empty() && !ensemble.contains(id) {
            let key = section.key("former_keys", &raw.former_keys, "");
            return Err(key.error(
                "the key of a replica that does not vote is replaced by no order",
                "leave it out; with another key it is another cluster",
            ));
        }
        let placement = Placement {
            entry: ReplicaEntry {
                id,
                address: address.text.clone(),
                admin,
                public_key,
                former_keys,
            },
            id_line: self.source.line(id_key.span().start),
            address,
            address_line: self.source.line(address_key.span().start),
            admin_line: self.source.line(admin_key.span().start),
        };
        placement.refuse_taken(earlier, &address_key, &admin_key)?;
        Ok(placement)
    }

    /// The keys that a replica had before, with the last generation of each (M3).
    fn parse_former_keys(
        &mut self,
        section: &Section<'_>,
        raw: &RawReplica,
        number: u64,
    ) -> Result<Vec<FormerKey>, ConfigError> {
        let example = "[{ key = \"<base64>\", until = 4 }]";
        let list = section.key("former_keys", &raw.former_keys, example);
        let mut former: Vec<FormerKey> = Vec::new();
        for item in list.list()? {
            let parts = item.as_table().filter(|t| t.len() == 2).and_then(|t| {
                let until = t.get("until")?.as_integer()?;
                Some((t.get("key")?.as_str()?, u32::try_from(until).ok()?))
            });
            let Some((text, until)) = parts.filter(|(_, until)| *until <= u32::MAX - 2) else {
                return Err(list.refuse("each former key has a key and an until, a generation"));
            };
            // A key counts from two generations after the last one of the key before.
            if former.last().is_some_and(|before| until < before.until + 2) {
                return Err(list.error(
                    format!("until = {until} is too early after the key before"),
                    "write the former keys in their order, as `quorate admin replace-key` prints \
                     them",
                ));
            }
            let key = self.read_key(&list, text, format!("replica {number}, formerly"))?;
            former.push(FormerKey { key, until });
        }
        Ok(former)
    }

    /// The clients in the order of the file.
    pub(super) fn parse_clients(
        &mut self,
        raw: &[Spanned<RawClient>],
    ) -> Result<Vec<ClientEntry>, ConfigError> {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        let mut clients = Vec::new();
        for raw in raw {
            let section = Section::new(self.source, "[[client]]", raw.span());
            let raw = raw.get_ref();
            let name_key = section.key("name", &raw.name, "\"client-1\"");
            let name = name_key.text()?;
            if name.is_empty() || name.chars().count() > MAX_NAME || name.contains(char::is_control)
            {
                return Err(
                    name_key.refuse(format!("a name is 1 to {MAX_NAME} printable characters"))
                );
            }
            let line = self.source.line(name_key.span().start);
            if let Some(other) = names.insert(name, line) {
                let problem = format!("the name {name:?} is taken by the client of line {other}");
                return Err(name_key.error(problem, "give each client a name of its own"));
            }
            let key = section.key("public_key", &raw.public_key, "\"keys/client-1.pub.pem\"");
            let public_key = self.parse_key(&key, format!("client {name:?}"))?;
            let role = section.key("role", &raw.role, "\"write\"").choice_or(Role::Write)?;
            clients.push(ClientEntry { name: name.to_owned(), public_key, role });
        }
        Ok(clients)
    }

    /// A public key, in place or in a file, that nobody else has.
    fn parse_key(&mut self, key: &Key<'_>, owner: String) -> Result<PublicKey, ConfigError> {
        self.read_key(key, key.text()?, owner)
    }

    fn read_key(
        &mut self,
        key: &Key<'_>,
        text: &str,
        owner: String,
    ) -> Result<PublicKey, ConfigError> {
        let refuse = |of: &str, e: PemError| {
            key.error(format!("{of}: {e}"), "write the path of a .pub.pem file, or the key itself")
        };
        let public = match PublicKey::from_inline(text) {
            Some(key) => key.map_err(|e| refuse("the key written here", e))?,
            None if text.trim().is_empty() => return Err(key.refuse("this is empty")),
            None => {
                let read = (self.key_files)(text).map_err(|e| {
                    key.error(
                        format!("cannot read the key file {text:?}: {e}"),
                        "write a path relative to this file, or the key itself as base64 or 64 \
                         hexadecimal digits",
                    )
                })?;
                let parsed = PublicKey::from_inline(&read);
                parsed
                    .unwrap_or_else(|| PublicKey::from_pem(&read))
                    .map_err(|e| refuse(&format!("the key file {text:?}"), e))?
            }
        };
        let line = self.source.line(key.span().start);
        let taken = self.keys.insert(public, format!("{owner} (line {line})"));
        match taken {
            None => Ok(public),
            Some(other) => Err(key.error(
                format!("this is also the key of {other}"),
                "give everyone a key of their own: `quorate keygen --name NAME --out keys`",
            )),
        }
    }
}

impl Placement {
    /// Refuses an address that an earlier replica has. Several hosts may each have their own
    /// loopback admin address.
    fn refuse_taken(
        &self,
        earlier: &[Placement],
        address: &Key<'_>,
        admin: &Key<'_>,
    ) -> Result<(), ConfigError> {
        for other in earlier {
            let of = other.entry.id.number();
            if other.address == self.address {
                let problem =
                    format!("replica {of} has this address too (line {})", other.address_line);
                return Err(address.error(problem, "give each replica an address of its own"));
            }
            let reached = !self.entry.admin.ip().is_loopback();
            let same_host = other.address.host == self.address.host;
            if other.entry.admin == self.entry.admin && (reached || same_host) {
                let problem =
                    format!("replica {of} has this address too (line {})", other.admin_line);
                return Err(admin.error(problem, "give each replica a port of its own"));
            }
        }
        Ok(())
    }
}
