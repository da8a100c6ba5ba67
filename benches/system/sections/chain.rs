//! A chain of two with a spare.

use super::measure;
use crate::cluster::Plan;
use crate::lab::Lab;
use crate::load::{Load, Outcome};
use crate::report::{Case, Goal, Section, table_of};

pub fn chain(lab: &Lab) -> anyhow::Result<Section> {
    let loads = [(4, 64), (16, 64)].map(|(c, w)| Load::new(c, w));
    let mut cases = loads.each_ref().map(|load| Case::new(load.name()));
    let plan = Plan { chain: true, ..Plan::default() };
    for _ in 0..lab.rounds {
        measure(lab, &plan, &loads, &mut cases)?;
    }
    let mut section = Section::new(
        "`fault_model = \"fail-stop\"`, a chain of two and a spare, Δ = 1 s, `durability = \
         \"reply\"` on the disk, puts of 128 bytes over 10,000 keys, closed loop.",
    );
    section.parts.push(table_of("sessions × outstanding", &cases));
    for case in &cases {
        let what = format!("processor time of a put, {}", case.name);
        section.goals.push(Goal::at_most(what, case.median(Outcome::cpu), 8.0, "µs"));
    }
    Ok(section)
}
