//! Stories: executions that are told by what goes wrong in them, and when.

use super::moves::Move;
use super::search::{Found, settles, tell, words};
use super::world::{Options, World};
use std::collections::BTreeMap;

/// How a story went.
#[derive(Clone, Debug)]
pub struct Told {
    /// The run in words, with what comes after the script and when nothing goes wrong any more.
    pub trace: String,
    /// What happened how often before that.
    pub counts: BTreeMap<&'static str, u32>,
    /// The promise that was broken, if one was.
    pub found: Option<Found>,
}

/// Tells a story. Each line of the script names something that has to happen first, and what goes
/// wrong then, as a [`Move`] prints itself: both by a part of the text. An empty first part stands
/// for *at once*. After the last line things go on as they do, for as long as the options say.
///
/// # Errors
/// The line that could not be told, with what happened instead.
pub fn story(options: &Options, script: &[(&str, &str)]) -> Result<Told, String> {
    let mut world = World::new(options);
    let mut moves: Vec<(Move, bool)> = Vec::new();
    let mut lines = script.iter().peekable();
    // What has been heard since the last line of the script.
    let mut heard = String::new();
    let mut found = None;
    while found.is_none() && !world.is_over() {
        let line = lines
            .next_if(|(after, what)| heard.contains(after) && deviation(&world, what).is_some());
        let (step, deviates) = match line.and_then(|(_, what)| deviation(&world, what)) {
            Some(step) => (Some(step), true),
            None => (world.next(), false),
        };
        let Some(step) = step else { break };
        if deviates {
            heard.clear();
        }
        heard += &words(&world, &step);
        moves.push((step.clone(), deviates));
        found = world.apply(&step).err();
        heard += &world.ghost.said.join("\n");
    }
    if let Some((after, what)) = lines.next() {
        return Err(format!(
            "after {after:?} no {what:?} could be done:\n{}",
            tell(options, &moves)
        ));
    }
    let counts = world.ghost.counts.clone();
    if found.is_none()
        && let Err((violation, more)) = settles(world)
    {
        moves.extend(more);
        found = Some(violation);
    }
    let trace = tell(options, &moves);
    let found = found.map(|violation| Found { violation, moves, trace: trace.clone() });
    Ok(Told { trace, counts, found })
}

fn deviation(world: &World, what: &str) -> Option<Move> {
    world.deviations().into_iter().find(|step| step.to_string().contains(what))
}
