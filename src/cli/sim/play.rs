//! One run, a panic in it being a failure like any other.

use crate::crypto::Keyed;
use crate::simulator::{NodeId, Options, Report, run_watched};
use std::cell::RefCell;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

thread_local! {
    /// Where this thread has panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// Which, in a word or two.
    pub(super) rule: &'static str,
    pub(super) at: Option<Duration>,
    pub(super) what: String,
}

impl Broken {
    /// One that has no time.
    pub(super) fn of(rule: &'static str, what: &str) -> Self {
        Self { rule, at: None, what: format!("{rule}: {what}") }
    }
}

/// From now on panics are not printed where they happen but told with the seed.
pub(super) fn quiet() {
    std::panic::set_hook(Box::new(|panic| {
        PLACE.set(panic.location().map(ToString::to_string));
    }));
}

/// Runs one seed.
pub(super) fn play(
    seed: u64,
    options: &Options,
    watch: &mut dyn FnMut(u64, NodeId, &dyn Display),
) -> Result<Report, Broken> {
    #[cfg(feature = "plant")]
    super::plants::plant_here();
    let run = AssertUnwindSafe(|| run_watched::<Keyed>(seed, options, watch));
    match catch_unwind(run) {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(failure)) => {
            let (rule, what) = (failure.violation.rule, failure.violation.to_string());
            Err(Broken { rule, at: Some(failure.at), what })
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let place = PLACE.take().map_or(String::new(), |place| format!(" at {place}"));
            let what = format!("{}{place}", text.unwrap_or("without words"));
            Err(Broken::of("panic", &what))
        }
    }
}
