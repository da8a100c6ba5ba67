//! `[chains]`: leases, and who is in a chain; `[master]`: who is the master of them.

use super::cluster::{ChainSettings, FaultModel, Reads};
use super::duration::show_duration as show;
use super::error::{ConfigError, Source};
use super::field::Section;
use super::raw::{Placed, RawChains, RawMaster};
use crate::types::{ClockKind, Ensemble, MAX_ROSTER, ReplicaId, Timing};
use std::ops::Range;
use std::time::Duration;

/// The longest lease: a stop lasts as long.
const MAX_LEASE: Duration = Duration::from_secs(3600);

/// What the fail-stop model needs, checked also where the file asks for the other one: the line
/// that picks it may be changed later.
pub(super) fn parse(
    source: Source<'_>,
    raw: &Placed<RawChains>,
    timing: &Timing,
    (ensemble, hosts, head): (Ensemble, usize, &Range<usize>),
) -> Result<ChainSettings, ConfigError> {
    let none = RawChains::default();
    let (raw, span) = match raw {
        Some(raw) => (raw.get_ref(), raw.span()),
        None => (&none, head.clone()),
    };
    let section = Section::new(source, "[chains]", span);
    let lease_key = section.key("lease", &raw.lease, "\"2s\"");
    let lease = lease_key.duration_or(default_lease(timing))?;
    let margin_key = section.key("margin", &raw.margin, "\"100ms\"");
    let margin = margin_key.duration_or(timing.delta)?;
    let reads = section.key("reads", &raw.reads, "\"tail\"").choice_or(Reads::Tail)?;
    let majority = u8::try_from(ensemble.majority()).expect("an ensemble has 31 replicas at most");
    let all = u8::try_from(hosts).expect("a roster has 31 replicas at most");
    let length = section.key("length", &raw.length, "2").whole_or(majority.min(all), 1..=all)?;
    if lease_key.is_given() && lease > MAX_LEASE {
        let what = format!("{} is above {}", show(lease), show(MAX_LEASE));
        return Err(lease_key.refuse(what));
    }
    let least = least_lease(timing, margin);
    if lease < least {
        let problem = format!(
            "a lease of {} is below {}: 4/3 of margin + patience + 3 delta, so leases would end \
             whenever one replica stops, since the master stands still for so long then",
            show(lease),
            show(least)
        );
        return Err(lease_key.error(problem, format!("write at least lease = \"{}\"", show(least))));
    }
    Ok(ChainSettings { lease, margin, reads, length })
}

/// `[master]`: the replicas that run the master and have no part in chains (docs/chain.md). Gives
/// those that chains are made of: all that vote if there is no such section, else those behind
/// them, out of so many that are `given`.
pub(super) fn parse_master(
    source: Source<'_>,
    raw: &Placed<RawMaster>,
    (model, ensemble): (FaultModel, Ensemble),
    given: usize,
) -> Result<Vec<ReplicaId>, ConfigError> {
    let Some(raw) = raw else { return Ok(ensemble.replicas().collect()) };
    let section = Section::new(source, "[master]", raw.span());
    let n = ensemble.n();
    let own: Vec<String> = (1..=n).map(|i| i.to_string()).collect();
    let wanted = format!("replicas = [{}]", own.join(", "));
    let key = section.key("replicas", &raw.get_ref().replicas, "[1, 2, 3]");
    if model == FaultModel::Byzantine {
        return Err(source.error(
            raw.span(),
            "[master]: in this fault model all replicas vote, and there is no master",
            format!("remove the section, and the replicas above {n} with it"),
        ));
    }
    if !key.is_given() {
        return Err(source.error(
            raw.span(),
            "[master]: `replicas` is missing",
            format!("write {wanted}: with t = {} these run the master", ensemble.t()),
        ));
    }
    let mut named: Vec<i64> = Vec::new();
    for value in key.list()? {
        named.extend(value.as_integer());
    }
    named.sort_unstable();
    let is_first = named.len() == n && named.iter().zip(1..).all(|(id, wanted)| *id == wanted);
    if !is_first || key.list()?.len() != n {
        let problem = format!("the master is run by the first 2t + 1 = {n} replicas");
        return Err(key.error(problem, format!("write {wanted}, and number the others behind")));
    }
    let last = given.min(MAX_ROSTER);
    let hosts: Vec<ReplicaId> = (n..last).map(ReplicaId::from_index).collect();
    match hosts.is_empty() {
        true => Err(key.error(
            format!("no replica is left for the chains: the master has {n}, {given} are listed"),
            match n < MAX_ROSTER {
                true => format!("add sections [[replica]], up to id {} or more", n + 1),
                false => format!("leave this out: there are {MAX_ROSTER} replicas at most"),
            },
        )),
        false => Ok(hosts),
    }
}

/// The lease if the file says nothing: twenty Δ, or more where the timers ask for it.
pub fn default_lease(timing: &Timing) -> Duration {
    (20 * timing.delta).max(least_lease(timing, timing.delta))
}

/// The shortest lease that outlasts a stop of the master's group. A lease is renewed when a quarter
/// of it is over; one that was renewed just before somebody stops is left with three quarters
/// less the margin, and the group goes on after patience, Δ and a round.
fn least_lease(timing: &Timing, margin: Duration) -> Duration {
    let exact = (margin + timing.patience + 3 * timing.delta) * 4 / 3;
    Duration::from_millis(u64::try_from(exact.as_millis()).unwrap_or(u64::MAX).saturating_add(1))
}

/// Leases are durations of agreed time, so it must follow real time.
pub(super) fn check_clock(
    source: Source<'_>,
    (fault_model, span): (FaultModel, &Range<usize>),
    clock: ClockKind,
) -> Result<(), ConfigError> {
    if fault_model == FaultModel::FailStop && clock == ClockKind::Logical {
        return Err(source.error(
            span.clone(),
            "`fault_model`: \"fail-stop\" has leases, which a logical clock cannot measure",
            "write clock = \"hybrid\" under [order]",
        ));
    }
    Ok(())
}
