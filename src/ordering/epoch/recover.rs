//! Starting from what a disk holds (§7).

use super::{Checked, Entered, Stage};
use crate::crypto::Scheme;
use crate::ordering::{Action, Core, Event, Statement};
use crate::types::Now;
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::wire::Record;
use std::sync::Arc;

impl<S: Scheme> Core<S> {
    /// Takes up what this replica had written down before it stopped. One that had entered an epoch
    /// and lost its state says so and signs nothing in it; one that stopped between a promise and
    /// entering goes on from its Report.
    pub(in crate::ordering) fn recover(&mut self, records: &[Record]) {
        let mut report = None;
        for record in records {
            match record {
                Record::Promise { .. } if planted("s7-promise-forgotten") => {}
                Record::Promise { call, .. } => self.change.promise = *call,
                Record::Report { report: one, .. } => report = Some(one),
                // The keyring that this replica was given has them.
                Record::Keys(_) => {}
                Record::Entered { epoch, members, opening, reports, .. } => {
                    let headers = reports.iter().map(|r| r.verify_ref(&self.keyring));
                    let Ok(signed) = headers.collect::<Result<Vec<_>, _>>() else { continue };
                    let certificate = signed.iter().map(|r| r.header()).collect();
                    let (epoch, members, opening) = (*epoch, *members, *opening);
                    self.change.entered = Entered { epoch, members, opening, certificate };
                    if let Some(first) = signed.first()
                        && first.header.call.number() >= self.change.promise.number()
                    {
                        self.change.promise = first.header.call;
                    }
                }
            }
        }
        if planted("s7-signs-on") {
            return;
        }
        self.blank = true;
        let entered = self.change.entered.epoch;
        self.change.restarted = Some(entered);
        if self.change.promise.number() <= entered {
            return;
        }
        // The promise binds; its Report is sent again, or written now, marked restarted.
        let own = report.and_then(|r| r.verify_ref(&self.keyring).ok());
        let own = own.filter(|r| r.header.call == self.change.promise);
        let own = own.and_then(|r| {
            Checked::new(r, &self.keyring, self.limits.max_candidates).ok().map(Arc::new)
        });
        let own = own.filter(|_| !planted("s7-report-anew"));
        mark(match own {
            Some(_) => "§7 a Report from the disk was sent again",
            None => "§7 a promise from the disk got its Report after a restart",
        });
        self.change.stage = match own {
            Some(report) => Stage::Writing { report, sequence: 0 },
            None => Stage::Counting,
        };
    }

    /// The first thing after a start with something on disk.
    pub(in crate::ordering) fn resume(&mut self, now: Now, out: &mut Vec<Action>) {
        if let Some(epoch) = self.change.restarted {
            out.push(Action::Event(Event::Restarted { epoch }));
        }
        match self.change.stage {
            Stage::Counting => out.push(Action::Count { requests: Vec::new() }),
            Stage::Writing { sequence: 0, .. } => self.written(now, out),
            _ => {}
        }
        if let Some(own) = self.own_restarted() {
            self.on_restarted(own.clone());
            out.push(Action::TellAll(Statement::Restarted(own)));
        }
        if self.blank {
            self.fall_behind(now, out);
        }
    }
}
