//! An ordered map whose copies cost next to nothing: a copy shares all pages with the original,
//! and whoever writes first copies the page that it writes to.
//!
//! There are always three levels, whatever the number of entries: the root points to branches,
//! these point to pages, and a page has up to [`PAGE`] entries. So a copy of a million entries
//! copies some hundred pointers, and the first write to a page after that a few dozen. No crate
//! with such a map has a licence that this one allows (the usual ones are under the MPL), and
//! three levels of vectors need little code.
//!
//! Key and value of an entry stand in one allocation, which copies of its page share. A list has
//! beside what it holds what the keys there begin with (`list.rs`), so that the way to an entry
//! touches no other one unless both keys begin alike for long: most are in no cache.

use super::list::{Keyed, Lead, List, lead};
use crate::types::Digest;
use std::ops::Bound;
use std::sync::Arc;

/// Entries of a page at most: what a first write to it has to copy.
const PAGE: usize = if cfg!(test) { 4 } else { 32 };
/// Pages of a branch at most.
const BRANCH: usize = if cfg!(test) { 4 } else { 128 };

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
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
        Self { bytes: bytes.into(), key_bytes, dirty: false, digest: Digest::ZERO }
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

/// Entries in the order of their keys, never none; and such lists, never none.
type Page = Arc<List<Entry>>;
type Branch = Arc<List<Page>>;

impl Keyed for Entry {
    fn first(&self) -> &[u8] {
        self.key()
    }

    fn lead(&self) -> Lead {
        lead(self.key())
    }
}

impl<T: Keyed> Keyed for Arc<List<T>> {
    fn first(&self) -> &[u8] {
        self.all()[0].first()
    }

    fn lead(&self) -> Lead {
        self.leads()[0]
    }
}

/// The map. A clone is a copy as it is now, whatever is written to either later.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    branches: List<Branch>,
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
        Some(&self.branches.all()[branch].all()[page].all()[at.ok()?])
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
        let pages = Arc::make_mut(self.branches.get_mut(branch));
        Some(Arc::make_mut(pages.get_mut(page)).get_mut(at))
    }

    fn is_at(&self, Spot { branch, page, at }: Spot, key: &[u8]) -> bool {
        let pages = self.branches.all().get(branch as usize);
        let page = pages.and_then(|pages| pages.all().get(page as usize));
        page.and_then(|page| page.all().get(at as usize)).is_some_and(|entry| entry.key() == key)
    }

    /// Sets a key's value and marks its entry as dirty. A new entry has the digest zero; one that
    /// was there keeps its own. Gives where it is, if it was not dirty before.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Option<Spot> {
        let Some(Place { branch, page, at }) = self.find(key) else {
            (self.len, self.bytes) = (1, key.len() + value.len());
            self.branches.push(branch_of(Entry::dirty(key, value)));
            return Some(Spot::new(0, 0, 0));
        };
        let is_last = branch + 1 == self.branches.len();
        let pages = Arc::make_mut(self.branches.get_mut(branch));
        let is_last = is_last && page + 1 == pages.len();
        let entries = Arc::make_mut(pages.get_mut(page));
        let at = match at {
            Err(at) => at,
            Ok(at) => {
                let entry = entries.get_mut(at);
                self.bytes = self.bytes - entry.value().len() + value.len();
                entry.replace(value);
                let was_clean = !std::mem::replace(&mut entry.dirty, true);
                return was_clean.then(|| Spot::new(branch, page, at));
            }
        };
        (self.len, self.bytes) = (self.len + 1, self.bytes + key.len() + value.len());
        let behind = entries.insert(at, Entry::dirty(key, value), PAGE, is_last);
        pages.begins_by(page, lead(key));
        let behind = behind.and_then(|b| pages.insert(page + 1, Arc::new(b), BRANCH, is_last));
        self.branches.begins_by(branch, lead(key));
        if let Some(behind) = behind {
            self.branches.insert(branch + 1, Arc::new(behind), usize::MAX, false);
        }
        Some(Spot::new(branch, page, at))
    }

    /// Adds an entry behind all others; it is not dirty, and its digest is zero.
    ///
    /// # Panics
    /// If its key is not above theirs.
    pub(super) fn add_last(&mut self, key: &[u8], value: &[u8]) {
        let entry = Entry::new(key, value);
        (self.len, self.bytes) = (self.len + 1, self.bytes + entry.bytes.len());
        if let Some(branch) = self.branches.len().checked_sub(1) {
            let pages = Arc::make_mut(self.branches.get_mut(branch));
            let last = pages.get_mut(pages.len() - 1);
            assert!(
                last.all().last().is_some_and(|e| e.key() < key),
                "the caller looks at the order"
            );
            if last.len() < PAGE {
                return Arc::make_mut(last).push(entry);
            }
            if pages.len() < BRANCH {
                return pages.push(page_of(entry));
            }
        }
        self.branches.push(branch_of(entry));
    }

    /// Removes a key. Gives the digest of its entry, if it was there.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Digest> {
        let Place { branch, page, at } = self.find(key)?;
        let at = at.ok()?;
        let pages = Arc::make_mut(self.branches.get_mut(branch));
        let gone = Arc::make_mut(pages.get_mut(page)).remove(at);
        (self.len, self.bytes) = (self.len - 1, self.bytes - gone.bytes.len());
        shrink(pages, page, PAGE);
        shrink(&mut self.branches, branch, BRANCH);
        Some(gone.digest)
    }

    /// Goes through all entries in the order of their keys, to change what their keeper sets.
    pub(super) fn each_mut(&mut self, mut change: impl FnMut(&mut Entry)) {
        for branch in 0..self.branches.len() {
            let pages = Arc::make_mut(self.branches.get_mut(branch));
            for page in 0..pages.len() {
                let entries = Arc::make_mut(pages.get_mut(page));
                (0..entries.len()).for_each(|at| change(entries.get_mut(at)));
            }
        }
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
        let (first, later) = match self.branches.all().get(branch..) {
            Some([first, later @ ..]) => (&first.all()[page..], later),
            _ => (&[][..], &[][..]),
        };
        let pages = first.iter().chain(later.iter().flat_map(|branch| branch.all()));
        pages.flat_map(|page| page.all()).skip(at)
    }

    /// Nothing if there are no entries.
    fn find(&self, key: &[u8]) -> Option<Place> {
        let lead = lead(key);
        let branch = self.branches.part_of(lead, key);
        let pages = self.branches.all().get(branch)?;
        let page = pages.part_of(lead, key);
        Some(Place { branch, page, at: pages.all()[page].find(lead, key) })
    }
}

// One that will be full.
fn page_of(first: Entry) -> Page {
    Arc::new(List::of(first, PAGE))
}

fn branch_of(first: Entry) -> Branch {
    Arc::new(List::of(page_of(first), 1))
}

/// Removes what became empty at this place, or puts it together with a neighbour if it became
/// small: so there are not many more parts than the entries need.
fn shrink<T: Keyed + Clone>(parts: &mut List<Arc<List<T>>>, at: usize, most: usize) {
    let len = |at: usize| parts.all().get(at).map_or(usize::MAX, |part| part.len());
    if len(at) == 0 {
        parts.remove(at);
        return;
    }
    let left = if at + 1 < parts.len() { at } else { at.saturating_sub(1) };
    if len(at) > most / 4 || len(left).saturating_add(len(left + 1)) > most / 2 {
        return;
    }
    let right = parts.remove(left + 1);
    Arc::make_mut(parts.get_mut(left)).extend(&right);
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
