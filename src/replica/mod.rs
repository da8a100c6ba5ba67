//! One replica: links, intake, ordering, execution, replies (work in progress).

mod actions;
mod input;
mod status;

pub use actions::{Action, Actions, CloseReason, Event, Lane, StepTrace, TraceEntry};
pub use input::Input;
pub use status::{LinkStatus, Standing, Status, Waiting};
