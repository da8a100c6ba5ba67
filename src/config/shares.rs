//! `[[chain]]`: several chains under one master, and which keys each has.

use super::cluster::{ChainEntry, FaultModel};
use super::error::{ConfigError, Source};
use super::field::{Key, Section};
use super::keymap::{MAX_CHAINS, SLOTS, Share};
use super::raw::{Placed, RawChain, RawService};
use crate::types::ReplicaId;
use std::ops::Range;
use toml::{Spanned, Value};

/// Bytes of the key at which a chain begins, at most.
const MAX_FROM: usize = 1024;

/// A chain of the file, and the lines of its number and its share.
struct Placement {
    entry: ChainEntry,
    number_line: usize,
    share_line: usize,
    share_span: Range<usize>,
}

/// The chains in the order of their numbers; all keys are in them, each once. None if the file
/// lists none.
pub(super) fn parse(
    source: Source<'_>,
    raw: &[Spanned<RawChain>],
    cluster: (&[ReplicaId], u8),
) -> Result<Vec<ChainEntry>, ConfigError> {
    let mut placed: Vec<Placement> = Vec::new();
    for chain in raw {
        let section = Section::new(source, "[[chain]]", chain.span());
        let next = parse_chain(source, (&section, chain.get_ref()), cluster, &placed)?;
        placed.push(next);
    }
    check_cover(source, &placed)?;
    placed.sort_by_key(|p| p.entry.number);
    let mut chains: Vec<ChainEntry> = placed.into_iter().map(|p| p.entry).collect();
    for (i, chain) in chains.iter_mut().enumerate() {
        if chain.members.is_empty() {
            chain.members = members_from(cluster.0, i, chain.length);
        }
    }
    Ok(chains)
}

/// Replicas that may be in chains, in the order of their numbers, beginning with one further on for
/// each chain, so that heads and tails are spread.
pub(super) fn members_from(hosts: &[ReplicaId], first: usize, length: u8) -> Vec<ReplicaId> {
    let all = hosts.iter().copied().cycle().skip(first % hosts.len());
    all.take(usize::from(length).min(hosts.len())).collect()
}

fn parse_chain(
    source: Source<'_>,
    (section, raw): (&Section<'_>, &RawChain),
    (hosts, default_length): (&[ReplicaId], u8),
    earlier: &[Placement],
) -> Result<Placement, ConfigError> {
    let number_key = section.key("number", &raw.number, "0");
    let number = number_key.whole(0..=u64::from(MAX_CHAINS - 1))?;
    let number = u32::try_from(number).expect("it is below the bound");
    if let Some(other) = earlier.iter().find(|p| p.entry.number == number) {
        let line = other.number_line;
        let problem = format!("{number} is taken by the chain of line {line}");
        return Err(number_key.error(problem, "give each chain another number"));
    }
    let (share_key, share) = parse_share(section, raw, earlier)?;
    let members_key = section.key("members", &raw.members, "[1, 2]");
    let members = parse_members(&members_key, hosts)?;
    let given = u8::try_from(members.len()).expect("a roster has 31 replicas at most");
    let default = if given > 0 { given } else { default_length };
    let length_key = section.key("length", &raw.length, "2");
    let most = u8::try_from(hosts.len()).expect("a roster has 31 replicas at most");
    let length = length_key.whole_or(default, 1..=most)?;
    if given > length {
        let problem = format!("{length} is less than the {given} `members`");
        return Err(length_key.error(problem, format!("write length = {given}")));
    }
    let share_span = share_key.span();
    Ok(Placement {
        entry: ChainEntry { number, share, length, members },
        number_line: source.line(number_key.span().start),
        share_line: source.line(share_span.start),
        share_span,
    })
}

fn parse_share<'a>(
    section: &Section<'a>,
    raw: &'a RawChain,
    earlier: &[Placement],
) -> Result<(Key<'a>, Share), ConfigError> {
    let slots = section.key("slots", &raw.slots, "\"0-511\"");
    let from = section.key("from", &raw.from, "\"m\"");
    let (key, other) = match (slots.is_given(), from.is_given()) {
        (true, true) => {
            let problem = "this chain has `slots`, too";
            return Err(from.error(problem, "write the one or the other"));
        }
        (_, true) => (from, "slots"),
        (_, false) => (slots, "from"),
    };
    let share = match other {
        "from" => Share::Slots(parse_slots(&key)?),
        _ => Share::From(parse_from(&key)?),
    };
    let same_kind =
        |p: &Placement| std::mem::discriminant(&p.entry.share) == std::mem::discriminant(&share);
    if let Some(unlike) = earlier.iter().find(|p| !same_kind(p)) {
        let line = unlike.share_line;
        let problem = format!("the chain of line {line} says with `{other}` which keys it has");
        return Err(key.error(problem, "write `slots` for all chains, or `from` for all"));
    }
    for p in earlier {
        let line = p.share_line;
        match (&p.entry.share, &share) {
            (Share::Slots(theirs), Share::Slots(own)) => {
                let twice = own.iter().find_map(|o| theirs.iter().find_map(|t| common(*o, *t)));
                if let Some(slot) = twice {
                    let problem = format!("slot {slot} is of the chain of line {line}");
                    return Err(key.error(problem, "give each slot to one chain"));
                }
            }
            (Share::From(theirs), Share::From(own)) if theirs == own => {
                let problem = format!("the chain of line {line} begins here");
                return Err(key.error(problem, "let each chain begin at another key"));
            }
            _ => {}
        }
    }
    Ok((key, share))
}

/// The first slot that both have.
fn common(a: (u16, u16), b: (u16, u16)) -> Option<u16> {
    let (low, high) = (a.0.max(b.0), a.1.min(b.1));
    (low <= high).then_some(low)
}

fn parse_slots(key: &Key<'_>) -> Result<Vec<(u16, u16)>, ConfigError> {
    let last = SLOTS - 1;
    let wrong = |part: &str| {
        key.refuse(format!("{part:?} is no slot and no range of slots within 0-{last}"))
    };
    let slot = |text: &str, part: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let slot = text.parse().ok().filter(|slot| is_number && *slot <= last);
        slot.ok_or_else(|| wrong(part))
    };
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for part in key.text()?.split(',').map(str::trim) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let range = (slot(low.trim(), part)?, slot(high.trim(), part)?);
        if range.0 > range.1 {
            return Err(wrong(part));
        }
        if let Some(slot) = ranges.iter().find_map(|r| common(*r, range)) {
            return Err(key.error(format!("slot {slot} is there twice"), "write each once"));
        }
        ranges.push(range);
    }
    ranges.sort_unstable();
    Ok(ranges)
}

fn parse_from(key: &Key<'_>) -> Result<Vec<u8>, ConfigError> {
    let text = key.text()?;
    if text.len() > MAX_FROM {
        let problem = format!("{} bytes, where {MAX_FROM} are allowed", text.len());
        return Err(key.refuse(problem));
    }
    Ok(text.as_bytes().to_vec())
}

/// None if they are not written.
fn parse_members(key: &Key<'_>, hosts: &[ReplicaId]) -> Result<Vec<ReplicaId>, ConfigError> {
    let (first, last) = (hosts[0].number(), hosts[hosts.len() - 1].number());
    let mut members = Vec::new();
    for value in key.list()? {
        let id = match value {
            Value::Integer(i) => u8::try_from(*i).ok().and_then(ReplicaId::new),
            _ => None,
        };
        let Some(id) = id.filter(|id| hosts.contains(id)) else {
            return Err(key.refuse(format!("{value} is not one of the ids {first} to {last}")));
        };
        if members.contains(&id) {
            return Err(key.refuse(format!("{} is there twice", id.number())));
        }
        members.push(id);
    }
    if key.is_given() && members.is_empty() {
        return Err(key.error("a chain begins with one member at least", "leave the line out"));
    }
    Ok(members)
}

/// Every key must have a chain; what has two is refused before.
fn check_cover(source: Source<'_>, placed: &[Placement]) -> Result<(), ConfigError> {
    let Some(last) = placed.last() else { return Ok(()) };
    let at = last.share_span.clone();
    let mut slots: Vec<(u16, u16)> = Vec::new();
    for p in placed {
        match &p.entry.share {
            Share::Slots(ranges) => slots.extend(ranges),
            Share::From(from) if from.is_empty() => return Ok(()),
            Share::All | Share::From(_) => {}
        }
    }
    if slots.is_empty() {
        let problem = "no chain has the keys before the first `from`";
        return Err(source.error(at, problem, "write from = \"\" for one of the chains"));
    }
    slots.sort_unstable();
    let mut next = 0;
    for (low, high) in slots.into_iter().chain([(SLOTS, SLOTS)]) {
        if low > next {
            let missing = Share::Slots(vec![(next, low - 1)]);
            let problem = format!("no chain has the {missing}");
            return Err(source.error(at, problem, "add them to a chain's `slots`"));
        }
        next = high + 1;
    }
    Ok(())
}

/// A state to begin with is one for all keys, and nobody can take it apart.
pub(super) fn check_start(
    source: Source<'_>,
    fault_model: FaultModel,
    (chains, service): (&[Spanned<RawChain>], &Placed<RawService>),
) -> Result<(), ConfigError> {
    let state = service.as_ref().and_then(|s| s.get_ref().initial_state.as_ref());
    match state {
        Some(state) if fault_model == FaultModel::FailStop && chains.len() > 1 => Err(source
            .error(
                state.span(),
                "`initial_state`: several chains cannot begin with one state of all keys",
                "leave it out and write what it has by a client, or run one chain",
            )),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
