//! `[limits]`, which all replicas share, and `[quotas]`, which each process has for itself.

use super::error::{ConfigError, Source};
use super::field::{Key, Section};
use super::raw::{Field, Placed, RawLimits, RawQuotas};
use crate::types::{ClockKind, MembershipLimits, OrderLimits, Quotas};
use crate::wire::{MAX_CANDIDATES, MAX_COMMANDS, MAX_FRAME, Replies, Reply, SnapshotPart};

/// The largest request body: a frame must hold it together with the headers of a
/// [`crate::wire::Request`] inside of a [`crate::wire::Body`], which take less than 128 bytes.
const MAX_REQUEST: u32 = MAX_FRAME as u32 - 128;

/// The smallest request body that is of any use.
const MIN_REQUEST: u32 = 256;

const MILLION: u32 = 1_000_000;

/// What [`MembershipLimits`] are under the logical clock, which counts ticks.
const LOGICAL: MembershipLimits = MembershipLimits {
    join_wait: 1_000,
    join_wait_cap: 100_000,
    good_service: 1_000_000,
    join_lag: 1024,
};

/// Bytes of an outcome with outputs that are neither outputs nor lengths of outputs.
const OUTCOME_HEADER: usize = 5;

pub(super) fn parse_limits(
    source: Source<'_>,
    raw: &Placed<RawLimits>,
    clock: ClockKind,
) -> Result<OrderLimits, ConfigError> {
    let d = defaults(clock);
    let Some(raw) = raw else { return Ok(d) };
    let section = Section::new(source, "[limits]", raw.span());
    let raw = raw.get_ref();
    let key = |name, value, example| section.key(name, value, example);
    let candidates = u32::try_from(MAX_CANDIDATES).expect("MAX_CANDIDATES is 16384");
    let commands = u32::try_from(MAX_COMMANDS).expect("MAX_COMMANDS is 65536");
    let agreed = Agreed { section: &section, clock };
    let limits = OrderLimits {
        max_request: key("max_request", &raw.max_request, "262144")
            .whole_or(d.max_request, MIN_REQUEST..=MAX_REQUEST)?,
        max_output: key("max_output", &raw.max_output, "524288")
            .whole_or(d.max_output, 1..=MAX_REQUEST)?,
        max_commands: key("max_commands", &raw.max_commands, "1024")
            .whole_or(d.max_commands, 1..=commands)?,
        max_candidates: key("max_candidates", &raw.max_candidates, "4096")
            .whole_or(d.max_candidates, 1..=candidates)?,
        sole_quota: key("sole_quota", &raw.sole_quota, "65536")
            .whole_or(d.sole_quota, 1..=MILLION)?,
        forget_after: key("forget_after", &raw.forget_after, "64")
            .whole_or(d.forget_after, 1..=u64::from(u32::MAX))?,
        forget_time: agreed.time_or(
            d.forget_time,
            ("forget_time", &raw.forget_time),
            ("10000000", "\"10s\""),
        )?,
        max_sessions: key("max_sessions", &raw.max_sessions, "4096")
            .whole_or(d.max_sessions, 1..=MILLION)?,
        window: key("window", &raw.window, "1024").whole_or(d.window, 1..=65_536)?,
        checkpoint_every: key("checkpoint_every", &raw.checkpoint_every, "256")
            .whole_or(d.checkpoint_every, 1..=u64::from(MILLION))?,
        max_unexecuted: key("max_unexecuted", &raw.max_unexecuted, "65536")
            .whole_or(d.max_unexecuted, 1..=16 * MILLION)?,
        membership: parse_membership(&agreed, raw, d.membership)?,
    };
    refuse_output_above_a_message(&section, raw, &limits)?;
    Ok(limits)
}

/// Limits of a file that names none.
fn defaults(clock: ClockKind) -> OrderLimits {
    let membership = match clock {
        ClockKind::Logical => LOGICAL,
        ClockKind::RealTime | ClockKind::Hybrid => MembershipLimits::default(),
    };
    OrderLimits { membership, ..OrderLimits::default() }
}

/// When a replica that was out may join again (M1, M4).
fn parse_membership(
    agreed: &Agreed<'_, '_>,
    raw: &RawLimits,
    d: MembershipLimits,
) -> Result<MembershipLimits, ConfigError> {
    let join_wait =
        agreed.time_or(d.join_wait, ("join_wait", &raw.join_wait), ("1000", "\"1s\""))?;
    let cap = ("join_wait_cap", &raw.join_wait_cap);
    let cap_example = ("100000", "\"300s\"");
    // A longer first wait without a word on the others makes them as long.
    let join_wait_cap = agreed.time_or(d.join_wait_cap.max(join_wait), cap, cap_example)?;
    if join_wait_cap < join_wait {
        return Err(agreed.key(cap, cap_example).refuse("this is shorter than join_wait"));
    }
    let service = ("good_service", &raw.good_service);
    Ok(MembershipLimits {
        join_wait,
        join_wait_cap,
        good_service: agreed.time_or(d.good_service, service, ("1000000", "\"600s\""))?,
        join_lag: agreed
            .section
            .key("join_lag", &raw.join_lag, "1024")
            .whole_or(d.join_lag, 1..=u64::from(u32::MAX))?,
    })
}

/// Durations in agreed time: written as durations, or under the logical clock as ticks.
struct Agreed<'a, 's> {
    section: &'s Section<'a>,
    clock: ClockKind,
}

impl<'a> Agreed<'a, '_> {
    // The examples are for ticks and for durations.
    fn key(
        &self,
        (name, value): (&'static str, &'a Field),
        (ticks, duration): (&'a str, &'a str),
    ) -> Key<'a> {
        let example = if self.clock == ClockKind::Logical { ticks } else { duration };
        self.section.key(name, value, example)
    }

    fn time_or(
        &self,
        default: u64,
        named: (&'static str, &'a Field),
        examples: (&'a str, &'a str),
    ) -> Result<u64, ConfigError> {
        let key = self.key(named, examples);
        match self.clock {
            _ if !key.is_given() => Ok(default),
            ClockKind::Logical => key.whole(1..=u64::from(u32::MAX)).map_err(|mut e| {
                e.problem.push_str(" (the logical clock counts ticks, one a candidate)");
                e
            }),
            ClockKind::RealTime | ClockKind::Hybrid => match key.duration()?.as_micros() {
                0 => Err(key.refuse("this must be longer than nothing")),
                micros => {
                    Ok(u64::try_from(micros).expect("a configured duration is at most a day"))
                }
            },
        }
    }
}

/// A reply must fit one message with the length of each output.
fn refuse_output_above_a_message(
    section: &Section<'_>,
    raw: &RawLimits,
    limits: &OrderLimits,
) -> Result<(), ConfigError> {
    let lengths = limits.max_commands as usize * crate::wire::Outcome::OUTPUT_OVERHEAD;
    let room = Replies::MAX_BYTES.saturating_sub(Reply::OVERHEAD + OUTCOME_HEADER + lengths);
    if limits.max_output as usize <= room {
        return Ok(());
    }
    let output = section.key("max_output", &raw.max_output, "524288");
    let commands = section.key("max_commands", &raw.max_commands, "1024");
    let at = if output.is_given() { output } else { commands };
    let (max_output, max_commands) = (limits.max_output, limits.max_commands);
    Err(at.error(
        format!("{max_output} bytes of output from {max_commands} commands do not fit one message"),
        format!("write at most max_output = {room}, or fewer max_commands"),
    ))
}

pub(super) fn parse_quotas(
    source: Source<'_>,
    raw: &Placed<RawQuotas>,
    limits: &OrderLimits,
    unless_given: Quotas,
) -> Result<Quotas, ConfigError> {
    let d = unless_given;
    // What a good replica has in progress must fit its quota in the order (O4).
    let d = Quotas { global: d.global.min(limits.sole_quota), ..d };
    let Some(raw) = raw else { return Ok(d) };
    let section = Section::new(source, "[quotas]", raw.span());
    let raw = raw.get_ref();
    let key = |name, value, example| section.key(name, value, example);
    let chunk = SnapshotPart::MAX as u64;
    let (request, frame, most) = (u64::from(limits.max_request), MAX_FRAME as u64, 1u64 << 40);
    Ok(Quotas {
        per_client: key("per_client", &raw.per_client, "4096")
            .whole_or(d.per_client, 1..=16 * MILLION)?,
        global: key("global", &raw.global, "65536").whole_or(d.global, 1..=limits.sole_quota)?,
        // Less than one request could never be taken, less than one frame never be sent.
        body_bytes: key("body_bytes", &raw.body_bytes, "268435456")
            .whole_or(d.body_bytes, request..=most)?,
        link_bytes: key("link_bytes", &raw.link_bytes, "33554432")
            .whole_or(d.link_bytes, frame..=most)?,
        links_per_client: key("links_per_client", &raw.links_per_client, "64")
            .whole_or(d.links_per_client, 1..=65_536)?,
        kept_bytes: key("kept_bytes", &raw.kept_bytes, "268435456")
            .whole_or(d.kept_bytes, request..=most)?,
        snapshot_bytes: key("snapshot_bytes", &raw.snapshot_bytes, "4294967296")
            .whole_or(d.snapshot_bytes, frame..=most)?,
        // A chunk fits, and what is in flight stays below what a link queues by default.
        transfer_bytes: key("transfer_bytes", &raw.transfer_bytes, "8388608")
            .whole_or(d.transfer_bytes, chunk..=256 * frame)?,
        // Slower than that a part of a chunk takes longer than sources are waited for.
        transfer_rate: key("transfer_rate", &raw.transfer_rate, "33554432")
            .whole_or(d.transfer_rate, frame..=most)?,
        log_bytes: key("log_bytes", &raw.log_bytes, "67108864")
            .whole_or(d.log_bytes, frame..=most)?,
        // Fewer would not let a good replica of a large group say what it has to.
        peer_signatures: key("peer_signatures", &raw.peer_signatures, "4096")
            .whole_or(d.peer_signatures, 1024..=16 * MILLION)?,
        whole_bytes: d.whole_bytes,
    })
}
