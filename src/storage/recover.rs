//! Opening a log: everything is read and judged, an unfinished write is cut off, and what is good
//! in the last file is written anew.

use super::damage::{Cut, Found, Progress, What};
use super::disk::{Disk, DiskError, Point};
use super::error::LogError;
use super::log::{Log, Options};
use super::place::{Placing, RENEW};
use super::record::{Seed, chain_start};
use super::scan;
use super::segment::{self, Gap, HEADER, Header, Segment, VERSION};
use super::window::Window;
use super::{Position, disk_error};
use std::collections::BTreeSet;

/// Bytes that are copied at once.
const PIECE: usize = 256 << 10;

/// Opens the log in the directory, or begins one.
pub(super) fn open<D: Disk>(
    disk: &mut D,
    options: Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Log, Found), LogError> {
    let seed = Seed::new(&options.secret);
    let (firsts, leftovers) = tidy(disk)?;
    let mut log = Log::closed(options, seed);
    if firsts.is_empty() {
        begin(disk, &mut log)?;
    } else {
        log.segments = read_all(disk, &log, &firsts, progress)?;
        let (first, start) =
            (log.options.first, chain_start(&log.options.owner, log.options.first));
        if let Some(oldest) =
            log.segments.first_mut().filter(|s| s.first == first && s.chain().is_none())
        {
            oldest.begin_at(start);
        }
        link(&mut log.segments);
    }
    let bytes = log.segments.iter().map(|s| s.length).sum();
    let durable = log.segments.iter().map(|s| s.durable).max();
    let durable = durable.unwrap_or_default().max(log.options.known);
    let cut = judge_end(&mut log.segments, durable);
    let damages = log.damages();
    renew(disk, &mut log, durable, cut.is_some())?;
    let found = Found {
        first: log.first(),
        next: log.next().max(durable),
        durable,
        records: log.segments.iter().map(Segment::records).sum(),
        bytes,
        cut,
        damages,
        leftovers,
    };
    // What was read may never have been durable before; now it is.
    log.durable = found.next;
    Ok((log, found))
}

// The segments that there are, by their names. Files that never got their names are removed.
fn tidy(disk: &mut impl Disk) -> Result<(BTreeSet<Position>, u64), LogError> {
    let names = disk.list().map_err(|e| disk_error("the directory", e))?;
    let mut leftovers = 0;
    let is_ours = |file: &str| segment::first_of(file).is_some();
    for file in names.iter().filter(|file| segment::intended(file).is_some_and(is_ours)) {
        disk.remove(Point::LeftoverRemove, file).map_err(|e| disk_error(file, e))?;
        leftovers += 1;
    }
    Ok((names.iter().filter_map(|file| segment::first_of(file)).collect(), leftovers))
}

fn begin(disk: &mut impl Disk, log: &mut Log) -> Result<(), LogError> {
    let first = log.options.first;
    if log.options.known > first {
        return Err(LogError::Missing(log.options.known));
    }
    let chain = chain_start(&log.options.owner, first);
    log.place_segment(disk, first, chain)
}

fn read_all(
    disk: &mut impl Disk,
    log: &Log,
    firsts: &BTreeSet<Position>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Segment>, LogError> {
    let (mut segments, mut bytes) = (Vec::new(), 0);
    for (first, files) in firsts.iter().zip(1..) {
        let end = firsts.range(first.next()..).next().copied();
        let file = segment::name(*first);
        let segment = scan::examine(disk, log.reading(), *first, end);
        let segment = segment.map_err(|e| disk_error(&file, e))?;
        if let Some(header) = segment.header {
            admit(&file, &header, &log.options)?;
        }
        bytes += segment.length;
        segments.push(segment);
        progress(Progress { files, of: firsts.len() as u64, bytes });
    }
    Ok(segments)
}

// A whole header that is not ours is no damage: somebody gave us another's directory.
fn admit(file: &str, header: &Header, options: &Options) -> Result<(), LogError> {
    let file = file.to_owned();
    if header.version != VERSION {
        return Err(LogError::Version { file, version: header.version });
    }
    if header.owner != options.owner {
        return Err(LogError::Foreign { file, owner: header.owner });
    }
    Ok(())
}

/// Compares each segment with the one behind it: it must reach up to that one, and chain to it.
pub(super) fn link(segments: &mut [Segment]) {
    for i in 1..segments.len() {
        let (front, back) = segments.split_at_mut(i);
        // Both exist since `1 <= i < len`.
        let (Some(this), Some(next)) = (front.last_mut(), back.first_mut()) else { return };
        reach(this, next);
    }
}

fn reach(this: &mut Segment, next: &mut Segment) {
    let end = next.first;
    if let Some(gap) = this.gaps.last_mut().filter(|gap| gap.next.is_none()) {
        // The next file says how many records the damage took.
        gap.next = Some(end);
    } else if this.reach() < end {
        let (from, first, what) = (this.length, this.reach(), What::Missing);
        this.add_gap(Gap { from, to: from, first, next: Some(end), what, unfinished: false });
    }
    let after = this.runs.last().filter(|run| run.next == end).map(|run| run.after);
    match (after, next.chain()) {
        (Some(after), Some(chain)) if after != chain => this.disbelieve_last(Some(end)),
        // Its header is broken and there is no record in it.
        (Some(after), None) => next.begin_at(after),
        _ => {}
    }
}

/// Judges what is wrong at the end of the log. Cuts off a write that was never finished; anything
/// else stays, as damage.
fn judge_end(segments: &mut [Segment], durable: Position) -> Option<Cut> {
    let last = segments.last_mut()?;
    let at = last.gaps.iter().position(|gap| gap.first >= durable);
    if let Some(at) = at
        && last.gaps[at..].iter().all(|gap| gap.unfinished)
    {
        let gap = last.gaps[at];
        let (behind, before) = last.runs.iter().partition::<Vec<_>, _>(|run| run.from >= gap.to);
        last.runs = before;
        last.gaps.truncate(at);
        let bytes = last.length.saturating_sub(gap.from);
        last.length = gap.from;
        let later = behind.iter().map(|run| run.next.0 - run.first.0).sum();
        return Some(Cut { file: last.file(), offset: gap.from, bytes, first: gap.first, later });
    }
    // A file of which nothing is left, its header neither, has no end and no gap.
    let reached = last.end().map(|(next, _)| next);
    let reached = reached.or(last.gaps.is_empty().then_some(last.reach()));
    if reached.is_some_and(|next| next < durable) {
        let (from, first) = (last.length, last.reach());
        let what = What::Missing;
        last.add_gap(Gap { from, to: from, first, next: None, what, unfinished: false });
    }
    None
}

// Makes everything that was read durable. What can be read after a crash need not be on the disk,
// and after a sync that failed in an earlier life no further sync would bring it there. So the
// last file, the only one that was not synced before it was left, is written anew and put in its
// own place; the old one is whole until then. All that was in it is durable by then, and the new
// header says so.
fn renew(
    disk: &mut impl Disk,
    log: &mut Log,
    durable: Position,
    is_cut: bool,
) -> Result<(), LogError> {
    let next = log.next();
    // `Log::closed` got at least one segment.
    let Some(last) = log.segments.last_mut() else { return Ok(()) };
    let is_new = last.header.is_some_and(|header| header.durable == next.max(durable));
    if is_new && !is_cut && last.marks == 0 && last.gaps.is_empty() {
        let names = disk.sync_names(Point::RenewNamesSync);
        return names.map_err(|e| disk_error("the directory", e));
    }
    let file = last.file();
    // A broken header of this file can be made anew if the chain's value is known.
    if let (None, Some(chain)) = (last.header, last.chain()) {
        let (owner, first) = (log.options.owner, last.first);
        last.header = Some(Header { version: VERSION, owner, first, durable, chain });
    }
    if last.gaps.iter().any(|gap| gap.what == What::Unreadable) {
        // What cannot be read today can perhaps be read tomorrow, but not from a copy.
        let synced = disk.sync(Point::RenewSync, &file);
        let synced = synced.and_then(|()| disk.sync_names(Point::RenewNamesSync));
        return synced.map_err(|e| disk_error(&file, e));
    }
    copy(disk, last, next.max(durable)).map_err(|e| match e {
        DiskError::NoSpace => LogError::NoSpace,
        e => disk_error(&file, e),
    })
}

fn copy(disk: &mut impl Disk, last: &mut Segment, durable: Position) -> Result<(), DiskError> {
    let mut window = Window::open(disk, &last.file())?;
    let placing = Placing::begin(disk, &RENEW, last.file())?;
    let mut at = 0;
    if let Some(header) = &mut last.header {
        header.durable = durable;
        last.durable = durable;
        placing.write(disk, &header.encode())?;
        at = HEADER;
    }
    copy_range(disk, &mut window, &placing, at..last.length)?;
    last.length = last.length.max(at);
    placing.finish(disk)
}

/// Copies bytes of a file to the end of one that is being made.
///
/// # Errors
/// If the disk does not do it.
pub(super) fn copy_range(
    disk: &mut impl Disk,
    window: &mut Window,
    placing: &Placing,
    range: std::ops::Range<u64>,
) -> Result<(), DiskError> {
    let mut at = range.start;
    while at < range.end {
        let want = usize::try_from(range.end - at).map_or(PIECE, |left| left.min(PIECE));
        let bytes = window.view(disk, at, want)?;
        let next = at + bytes.len() as u64;
        if bytes.is_empty() {
            return Err(DiskError::Failed("the file became shorter".to_owned()));
        }
        placing.write(disk, bytes)?;
        if window.is_unreadable(at..next) {
            return Err(DiskError::Failed("what could be read cannot be read again".to_owned()));
        }
        at = next;
    }
    Ok(())
}
