//! Δ and the timers derived from it.

use super::duration::show_duration as show;
use super::error::{ConfigError, Source};
use super::field::Section;
use super::raw::{Placed, RawTimers};
use crate::types::{Ensemble, Lag, Timing};
use std::ops::Range;
use std::time::Duration;

/// The shortest and the longest Δ. Below it handling alone takes longer.
const DELTA: (Duration, Duration) = (Duration::from_micros(100), Duration::from_secs(60));

/// Timers by the rules of [`Timing::from_delta`], with what `[timers]` says instead.
pub(super) fn parse(
    source: Source<'_>,
    raw: &Placed<RawTimers>,
    (delta, ensemble): (Duration, Ensemble),
    delta_span: &Range<usize>,
) -> Result<Timing, ConfigError> {
    if delta < DELTA.0 || delta > DELTA.1 {
        let range = format!("{} to {}", show(DELTA.0), show(DELTA.1));
        return Err(source.error(
            delta_span.clone(),
            format!("`delta`: {} is outside of {range}", show(delta)),
            "write a bound on the delay of one message and its handling: delta = \"100ms\"",
        ));
    }
    let none = RawTimers::default();
    let (raw, span) = match raw {
        Some(raw) => (raw.get_ref(), raw.span()),
        None => (&none, delta_span.clone()),
    };
    let section = Section::new(source, "[timers]", span);
    let default = Timing::from_delta(delta);
    let join_key = section.key("join_delay", &raw.join_delay, "\"10ms\"");
    let join_delay = join_key.duration_or(default.join_delay)?;
    if join_delay > delta {
        return Err(join_key.refuse(format!("{} is above delta", show(join_delay))));
    }
    let patience_key = section.key("patience", &raw.patience, "\"510ms\"");
    let patience = patience_key.duration_or(5 * delta + join_delay)?;
    let gather_key = section.key("gather", &raw.gather, "\"500us\"");
    let gather = gather_key.duration_or(default.gather.min(join_delay))?;
    if gather > join_delay {
        let limit = show(join_delay);
        return Err(gather_key.error(
            format!("{} is longer than join_delay, {limit}", show(gather)),
            format!("write at most gather = \"{limit}\""),
        ));
    }
    let heartbeat_key = section.key("heartbeat", &raw.heartbeat, "\"1s\"");
    let heartbeat = heartbeat_key.duration_or(default.heartbeat)?;
    if heartbeat < delta {
        return Err(heartbeat_key.refuse(format!("{} is below delta", show(heartbeat))));
    }
    let ping_key = section.key("ping_every", &raw.ping_every, "\"500ms\"");
    let ping_every = ping_key.duration_or(default.ping_every)?;
    if ping_every < Duration::from_millis(1) {
        return Err(ping_key.refuse(format!("{} is below 1ms", show(ping_every))));
    }
    let least = least_patience(delta, join_delay);
    if patience < least {
        let problem = format!(
            "patience is {}, below 4 delta + join_delay + {} of timer grain = {}: \
             good replicas could be blamed",
            show(patience),
            show(Timing::TIMER_GRAIN),
            show(least)
        );
        if !patience_key.is_given() {
            let remedy = "write a delta of at least 1ms, or patience under [timers]";
            return Err(source.error(delta_span.clone(), format!("`delta`: {problem}"), remedy));
        }
        return Err(
            patience_key.error(problem, format!("write at least patience = \"{}\"", show(least)))
        );
    }
    let timing = Timing { delta, patience, join_delay, gather, heartbeat, ping_every, lag: None };
    Ok(Timing { lag: lag(&section, raw, &timing, ensemble)?, ..timing })
}

/// What members may be waited for beyond what is usual, if the file says so.
fn lag(
    section: &Section<'_>,
    raw: &RawTimers,
    timing: &Timing,
    ensemble: Ensemble,
) -> Result<Option<Lag>, ConfigError> {
    let delta_key = section.key("lag_delta", &raw.lag_delta, "\"5ms\"");
    let budget_key = section.key("lag_budget", &raw.lag_budget, "\"500ms\"");
    if !delta_key.is_given() && !budget_key.is_given() {
        return Ok(None);
    }
    // One means nothing without the other.
    let lag = Lag { delta: delta_key.duration()?, budget: budget_key.duration()? };
    // With less the grain of the timers would count as a delay.
    if lag.delta < Timing::TIMER_GRAIN {
        return Err(delta_key.refuse(format!("{} is below 1ms", show(lag.delta))));
    }
    let usual = lag.patience(timing.join_delay);
    if usual >= timing.patience {
        return Err(delta_key.refuse(format!(
            "5 lag_delta + join_delay is {}, not below patience, {}",
            show(usual),
            show(timing.patience)
        )));
    }
    // t liars that take turns, each a while late for others, must not fill all of the time.
    let turns = u32::try_from(2 * ensemble.t()).unwrap_or(u32::MAX);
    let most = Lag::WINDOW / turns.max(2);
    if lag.budget < lag.delta || lag.budget > most {
        let range = format!("{} to {}", show(lag.delta), show(most));
        return Err(budget_key.refuse(format!("{} is outside of {range}", show(lag.budget))));
    }
    Ok(Some(lag))
}

/// The shortest patience under which a good replica is never blamed (docs/protocol.md §1).
pub fn least_patience(delta: Duration, join_delay: Duration) -> Duration {
    4 * delta + join_delay + Timing::TIMER_GRAIN
}
