//! Power losses: all that can be left of small doings, and a sample of what can be of long ones.

use super::world::{World, end};
use super::*;

/// Goes through all sequences of answers that dice can give, however many they are asked for.
#[derive(Default)]
struct Odometer {
    digits: Vec<(u64, u64)>,
    at: usize,
}

impl Odometer {
    // Of long ranges, the ends and the middle stand for all.
    fn next(&mut self, n: u64) -> u64 {
        let sides = if n > 4 { 4 } else { n };
        if self.at == self.digits.len() {
            self.digits.push((0, sides));
        }
        let (digit, its_sides) = self.digits[self.at];
        assert_eq!(its_sides, sides, "the same doings ask for the same dice");
        self.at += 1;
        if n > 4 { [0, 1, n / 2, n - 1][digit as usize] } else { digit }
    }

    /// Whether there is a further sequence.
    fn turn(&mut self) -> bool {
        self.at = 0;
        while let Some((digit, sides)) = self.digits.pop() {
            if digit + 1 < sides {
                self.digits.push((digit + 1, sides));
                return true;
            }
        }
        false
    }
}

fn small_work(disk: &mut MemoryDisk, world: &mut World) -> Result<(), LogError> {
    let mut log = world.check(disk)?;
    world.append(disk, &mut log, 2)?;
    world.sync(disk, &mut log)?;
    log.mark(disk)?;
    world.append(disk, &mut log, 3)?;
    world.append(disk, &mut log, 1)?;
    world.sync(disk, &mut log)?;
    // These go on to the next file.
    world.append(disk, &mut log, 2)?;
    world.append(disk, &mut log, 1)?;
    world.append(disk, &mut log, 1)?;
    world.drop_before(disk, &mut log, 6)
}

#[test]
fn whatever_a_power_loss_leaves_of_small_doings_is_recovered_from() {
    let (mut losses, mut cuts) = (0, 0);
    for call in 1.. {
        let mut is_reached = false;
        for moment in [Moment::Inside(75), Moment::After] {
            let (mut disk, mut world) = (MemoryDisk::new(), World::default());
            disk.faults.crash = Some(Crash { when: When::Call(call), moment });
            if small_work(&mut disk, &mut world).is_ok() {
                continue;
            }
            is_reached = true;
            let mut odometer = Odometer::default();
            loop {
                let mut left = disk.clone().without_power(&mut |n| odometer.next(n));
                let mut world = world.clone();
                world.check(&mut left).expect("it recovers");
                (losses, cuts) = (losses + 1, cuts + world.cuts);
                if !odometer.turn() {
                    break;
                }
            }
        }
        if !is_reached {
            break;
        }
    }
    println!("{losses} power losses, {cuts} cuts");
    assert!(losses > 1000 && cuts > 100, "{losses} power losses, {cuts} cuts");
}

/// One long run: lives of random doings, each ended by a crash somewhere.
fn long_run(seed: u64) -> Result<u64, LogError> {
    let mut dice = seeded(seed);
    let (mut disk, mut world) = (MemoryDisk::new(), World::default());
    for _ in 0..12 {
        let moment = match dice(3) {
            0 => Moment::Before,
            1 => Moment::Inside(dice(300)),
            _ => Moment::After,
        };
        let when = When::Call(disk.calls() + 1 + dice(90));
        disk.faults.crash = Some(Crash { when, moment });
        let lived = live(&mut disk, &mut world, &mut dice);
        assert!(lived.is_err(), "it ends by the crash alone");
        let how = if dice(3) == 0 { "kill" } else { "seeded" };
        disk = end(disk, how, seed * 100 + dice(100));
        world.check(&mut disk)?;
    }
    Ok(world.cuts)
}

fn live(
    disk: &mut MemoryDisk,
    world: &mut World,
    dice: &mut dyn FnMut(u64) -> u64,
) -> Result<(), LogError> {
    let mut log = world.check(disk)?;
    loop {
        match dice(10) {
            0..5 => world.append(disk, &mut log, 1 + dice(3))?,
            5..8 => world.sync(disk, &mut log)?,
            8 => log.mark(disk)?,
            _ => {
                let position = log.durable().0.saturating_sub(dice(12)).max(world.dropped);
                world.drop_before(disk, &mut log, position)?;
            }
        }
    }
}

#[test]
fn long_lives_with_many_crashes_lose_nothing() {
    let cuts = (0..60).map(|seed| long_run(seed).unwrap_or_else(|e| panic!("seed {seed}: {e}")));
    let cuts: u64 = cuts.sum();
    assert!(cuts > 30, "{cuts}");
}

#[test]
fn a_sync_that_failed_in_an_earlier_life_is_not_believed() {
    let mut disk = MemoryDisk::new();
    let (mut log, _) = opened(&mut disk);
    append(&mut log, &mut disk, 2, 0).expect("there is room");
    disk.faults.refused.insert(Point::LogSync, 1);
    assert!(matches!(log.sync(&mut disk), Err(LogError::Dead(_))));
    // The next life reads from memory what is not on the disk, and no sync would bring it there.
    let mut disk = disk.killed();
    let (_, found) = opened(&mut disk);
    assert_eq!(found.next, Position(2));
    let mut disk = disk.without_power(&mut |_| 0);
    let (mut log, found) = opened(&mut disk);
    assert_eq!((found.next, found.damages), (Position(2), vec![]));
    assert_eq!(records(&read_all(&mut log, &mut disk, Position(0))).len(), 2);
}

#[test]
fn several_unsynced_groups_of_which_a_later_one_stayed_are_cut_together() {
    let mut disk = MemoryDisk::new();
    let (mut log, _) = opened(&mut disk);
    append(&mut log, &mut disk, 1, 0).expect("there is room");
    log.sync(&mut disk).expect("the disk is good");
    for _ in 0..3 {
        append(&mut log, &mut disk, 1, 0).expect("there is room");
    }
    let mut keep = [0, 1, 1].into_iter();
    let mut disk = disk.without_power(&mut |_| keep.next().unwrap_or(0));
    let (_, found) = opened(&mut disk);
    assert_eq!(found.damages, vec![]);
    let cut = found.cut.expect("it was cut");
    assert_eq!((cut.first, cut.later), (Position(1), 2));
    assert_eq!(found.next, Position(1));
}

#[test]
fn the_name_of_a_file_that_was_found_is_durable_before_it_is_relied_on() {
    let mut disk = MemoryDisk::new();
    let when = When::Point(Point::SegmentNamesSync, 2);
    disk.faults.crash = Some(Crash { when, moment: Moment::Before });
    let (mut log, _) = opened(&mut disk);
    while append(&mut log, &mut disk, 1, 0).is_ok() {}
    let mut disk = disk.killed();
    let (mut log, found) = opened(&mut disk);
    append(&mut log, &mut disk, 1, 0).expect("there is room");
    log.sync(&mut disk).expect("the disk is good");
    let (_, again) = opened(&mut disk.without_power(&mut |_| 0));
    assert_eq!(again.next, found.next.next());
}
