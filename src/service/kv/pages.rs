//! An ordered map whose copies cost next to nothing: a copy shares all pages with the original,
//! and whoever writes first copies the page that it writes to.
//!
//! There are always three levels, whatever the number of entries: the root points to branches,
//! these point to pages, and a page has up to [`PAGE`] entries. So a copy of a million entries
//! copies some hundred pointers, and the first write to a page after that a few dozen. No crate
//! with such a map has a licence that this one allows (the usual ones are under the MPL), and
//! three levels of vectors need little code.
//!
//! Key and value of an entry stand in one allocation, which copies of its page share. What points
//! to an entry, a page or a branch has beside it what the key there begins with, so that the way to
//! an entry touches no other one unless both keys begin alike for long: most are in no cache.

use crate::types::Digest;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

/// Entries of a page at most: what a first write to it has to copy.
const PAGE: usize = if cfg!(test) { 4 } else { 32 };
/// Pages of a branch at most.
const BRANCH: usize = if cfg!(test) { 4 } else { 128 };

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    lead: Lead,
    /// The key, and behind it the value.
    bytes: Arc<[u8]>,
    key_bytes: u32,
    /// Set by whoever keeps the map, for themselves.
    pub(super) dirty: bool,
    /// A digest of both, for whoever keeps the map.
    pub(super) digest: Digest,
}

impl Entry {
    fn new(key: &[u8], value: &[u8]) -> Self {
        let key_bytes = u32::try_from(key.len()).expect("limits keep keys far below 4 GiB");
        let mut bytes = Vec::with_capacity(key.len() + value.len());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        let (lead, bytes, digest) = (lead(key), bytes.into(), Digest::ZERO);
        Self { lead, bytes, key_bytes, dirty: false, digest }
    }

    fn dirty(key: &[u8], value: &[u8]) -> Self {
        Self { dirty: true, ..Self::new(key, value) }
    }

    /// Sets the value: in place, if it is as long as the old one and no copy shares that.
    fn replace(&mut self, value: &[u8]) {
        let same = self.value().len() == value.len();
        match Arc::get_mut(&mut self.bytes).filter(|_| same) {
            Some(bytes) => bytes[self.key_bytes as usize..].copy_from_slice(value),
            None => self.bytes = Self::new(self.key(), value).bytes,
        }
    }

    /// The key.
    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.key_bytes as usize]
    }

    /// The value.
    pub(super) fn value(&self) -> &[u8] {
        &self.bytes[self.key_bytes as usize..]
    }
}

/// The first bytes of a key as a number, high and low half, with zeros behind a shorter key. The
/// lower of two of them is that of the lower key; equal ones say nothing.
type Lead = (u64, u64);

fn lead(key: &[u8]) -> Lead {
    let (mut first, n) = ([0; size_of::<Lead>()], key.len().min(size_of::<Lead>()));
    first[..n].copy_from_slice(&key[..n]);
    let all = u128::from_be_bytes(first);
    ((all >> 64) as u64, all as u64)
}

/// A page or a branch: entries, or pages, in the order of their keys and never none.
#[derive(Clone, Debug)]
struct Part<T> {
    /// Not above that of any key in it, and not below that of any key before it.
    lead: Lead,
    all: Arc<Vec<T>>,
}

type Page = Part<Entry>;
type Branch = Part<Page>;

/// What has keys.
trait Keyed {
    fn lead(&self) -> Lead;
    /// Its first key.
    fn first(&self) -> &[u8];
}

impl Keyed for Entry {
    fn lead(&self) -> Lead {
        self.lead
    }

    fn first(&self) -> &[u8] {
        self.key()
    }
}

impl<T: Keyed> Keyed for Part<T> {
    fn lead(&self) -> Lead {
        self.lead
    }

    fn first(&self) -> &[u8] {
        self.all[0].first()
    }
}

impl<T: Keyed> Part<T> {
    fn new(all: Vec<T>) -> Self {
        Self { lead: all[0].lead(), all: Arc::new(all) }
    }
}

impl Page {
    // One that will be full.
    fn of(first: Entry) -> Self {
        let mut page = Vec::with_capacity(PAGE);
        page.push(first);
        Self::new(page)
    }
}

/// The map. A clone is a copy as it is now, whatever is written to either later.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    branches: Vec<Branch>,
    len: usize,
    /// Bytes of all keys and values.
    bytes: usize,
}

/// Where an entry was set. It may be elsewhere since: see [`Pages::get_mut_near`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    branch: u32,
    page: u32,
    at: u32,
}

impl Spot {
    fn new(branch: usize, page: usize, at: usize) -> Self {
        let near = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { branch: near(branch), page: near(page), at: near(at) }
    }
}

/// Where an entry is, or would have to be put.
struct Place {
    branch: usize,
    page: usize,
    /// Its index in the page, or the one that it would get.
    at: Result<usize, usize>,
}

impl Pages {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entry of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        let Place { branch, page, at } = self.find(key)?;
        Some(&self.branches[branch].all[page].all[at.ok()?])
    }

    /// The entry of a key, to be changed: its page is copied if a copy of the map shares it. It is
    /// looked for at a spot first, which spares the way there.
    pub(super) fn get_mut_near(&mut self, spot: Spot, key: &[u8]) -> Option<&mut Entry> {
        let (branch, page, at) = match self.is_at(spot, key) {
            true => (spot.branch as usize, spot.page as usize, spot.at as usize),
            false => {
                let Place { branch, page, at } = self.find(key)?;
                (branch, page, at.ok()?)
            }
        };
        let pages = Arc::make_mut(&mut self.branches[branch].all);
        Some(&mut Arc::make_mut(&mut pages[page].all)[at])
    }

    fn is_at(&self, Spot { branch, page, at }: Spot, key: &[u8]) -> bool {
        let page = self.branches.get(branch as usize).and_then(|b| b.all.get(page as usize));
        page.and_then(|page| page.all.get(at as usize)).is_some_and(|entry| entry.key() == key)
    }

    /// Sets a key's value and marks its entry as dirty. A new entry has the digest zero; one that
    /// was there keeps its own. Gives where it is, if it was not dirty before.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Option<Spot> {
        let Some(Place { branch, page, at }) = self.find(key) else {
            (self.len, self.bytes) = (1, key.len() + value.len());
            self.branches.push(Branch::new(vec![Page::of(Entry::dirty(key, value))]));
            return Some(Spot::new(0, 0, 0));
        };
        let is_last = branch + 1 == self.branches.len();
        let of_all = &mut self.branches[branch];
        let pages = Arc::make_mut(&mut of_all.all);
        let is_last = is_last && page + 1 == pages.len();
        let of_branch = &mut pages[page];
        let entries = Arc::make_mut(&mut of_branch.all);
        let at = match at {
            Err(at) => at,
            Ok(at) => {
                let entry = &mut entries[at];
                self.bytes = self.bytes - entry.value().len() + value.len();
                entry.replace(value);
                let was_clean = !std::mem::replace(&mut entry.dirty, true);
                return was_clean.then(|| Spot::new(branch, page, at));
            }
        };
        let entry = Entry::dirty(key, value);
        of_branch.lead = of_branch.lead.min(entry.lead());
        of_all.lead = of_all.lead.min(entry.lead());
        (self.len, self.bytes) = (self.len + 1, self.bytes + key.len() + value.len());
        if let Some(behind) = insert(entries, at, entry, PAGE, is_last)
            && let Some(behind) = insert(pages, page + 1, Part::new(behind), BRANCH, is_last)
        {
            self.branches.insert(branch + 1, Part::new(behind));
        }
        Some(Spot::new(branch, page, at))
    }

    /// Adds an entry with its digest behind all others.
    ///
    /// # Panics
    /// If its key is not above theirs.
    pub(super) fn add_last(&mut self, key: &[u8], value: &[u8], digest: Digest) {
        let entry = Entry { digest, ..Entry::new(key, value) };
        (self.len, self.bytes) = (self.len + 1, self.bytes + entry.bytes.len());
        if let Some(branch) = self.branches.last_mut() {
            let pages = Arc::make_mut(&mut branch.all);
            let last = &mut pages.last_mut().expect("no branch is empty").all;
            assert!(last.last().is_some_and(|e| e.key() < key), "the caller looks at the order");
            if last.len() < PAGE {
                return Arc::make_mut(last).push(entry);
            }
            if pages.len() < BRANCH {
                return pages.push(Page::of(entry));
            }
        }
        self.branches.push(Branch::new(vec![Page::of(entry)]));
    }

    /// Removes a key. Gives the digest of its entry, if it was there.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Digest> {
        let Place { branch, page, at } = self.find(key)?;
        let at = at.ok()?;
        let pages = Arc::make_mut(&mut self.branches[branch].all);
        let gone = Arc::make_mut(&mut pages[page].all).remove(at);
        (self.len, self.bytes) = (self.len - 1, self.bytes - gone.bytes.len());
        shrink(pages, page, PAGE);
        shrink(&mut self.branches, branch, BRANCH);
        Some(gone.digest)
    }

    /// All entries from a key on, in the order of their keys.
    pub(super) fn range(&self, from: Bound<&[u8]>) -> impl Iterator<Item = &Entry> {
        let (branch, page, at) = match from {
            Bound::Unbounded => (0, 0, 0),
            Bound::Included(key) | Bound::Excluded(key) => match self.find(key) {
                None => (0, 0, 0),
                Some(Place { branch, page, at: Err(at) }) => (branch, page, at),
                Some(Place { branch, page, at: Ok(at) }) => {
                    (branch, page, at + usize::from(matches!(from, Bound::Excluded(_))))
                }
            },
        };
        let (first, later) = match self.branches.get(branch..) {
            Some([first, later @ ..]) => (&first.all[page..], later),
            _ => (&[][..], &[][..]),
        };
        let pages = first.iter().chain(later.iter().flat_map(|branch| branch.all.iter()));
        pages.flat_map(|page| page.all.iter()).skip(at)
    }

    /// Nothing if there are no entries.
    fn find(&self, key: &[u8]) -> Option<Place> {
        let lead = lead(key);
        let branch = part_of(&self.branches, lead, key);
        let pages = &self.branches.get(branch)?.all;
        let page = part_of(pages, lead, key);
        let cmp = |e: &Entry| e.lead.cmp(&lead).then_with(|| e.key().cmp(key));
        let at = pages[page].all.binary_search_by(cmp);
        Some(Place { branch, page, at })
    }
}

/// Which of these parts has a key, or would get it: the last that does not begin behind it.
fn part_of<T: Keyed>(parts: &[Part<T>], lead: Lead, key: &[u8]) -> usize {
    let not_behind = |part: &Part<T>| match part.lead.cmp(&lead) {
        Ordering::Less => true,
        Ordering::Equal => part.first() <= key,
        Ordering::Greater => false,
    };
    parts.partition_point(not_behind).saturating_sub(1)
}

/// Inserts and gives the upper part if that makes it too long. What grows at its end only leaves
/// full parts behind.
fn insert<T>(all: &mut Vec<T>, at: usize, new: T, most: usize, at_the_end: bool) -> Option<Vec<T>> {
    all.insert(at, new);
    if all.len() <= most {
        return None;
    }
    let is_appended = at_the_end && at + 1 == all.len();
    let keep = if is_appended { most } else { all.len() / 2 };
    let upper = all.split_off(keep);
    all.shrink_to_fit();
    Some(upper)
}

/// Removes what became empty at this place, or puts it together with a neighbour if it became
/// small: so there are not many more parts than the entries need.
fn shrink<T: Clone>(parts: &mut Vec<Part<T>>, at: usize, most: usize) {
    if parts[at].all.is_empty() {
        parts.remove(at);
        return;
    }
    if parts[at].all.len() > most / 4 {
        return;
    }
    let left = if at + 1 < parts.len() { at } else { at.saturating_sub(1) };
    let fits = |right: &&Part<T>| right.all.len() + parts[left].all.len() <= most / 2;
    let Some(right) = parts.get(left + 1).filter(fits).map(|right| right.all.clone()) else {
        return;
    };
    Arc::make_mut(&mut parts[left].all).extend(right.iter().cloned());
    parts.remove(left + 1);
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
