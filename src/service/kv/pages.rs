//! An ordered map whose copies cost next to nothing: a copy shares all pages with the original,
//! and whoever writes first copies the page that it writes to.
//!
//! There are always three levels, whatever the number of entries: the root points to branches,
//! these point to pages, and a page has up to [`PAGE`] entries. So a copy of a million entries
//! copies some hundred pointers, and the first write to a page after that a few dozen. No crate
//! with such a map has a licence that this one allows (the usual ones are under the MPL), and
//! three levels of vectors need little code.
//!
//! Key and value of an entry stand in one allocation, which copies of its page share.

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
    /// A digest of both, for whoever keeps the map.
    pub(super) digest: Digest,
}

impl Entry {
    fn new(key: &[u8], value: &[u8]) -> Self {
        let key_bytes = u32::try_from(key.len()).expect("limits keep keys far below 4 GiB");
        let mut bytes = Vec::with_capacity(key.len() + value.len());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        Self { bytes: bytes.into(), key_bytes, digest: Digest::ZERO }
    }

    /// Sets the value: in place, if it is as long as the old one and no copy shares that.
    fn replace(&mut self, value: &[u8]) {
        let same = self.value().len() == value.len();
        match Arc::get_mut(&mut self.bytes).filter(|_| same) {
            Some(bytes) => bytes[self.key_bytes as usize..].copy_from_slice(value),
            None => *self = Self { digest: self.digest, ..Self::new(self.key(), value) },
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

/// Sorted by key and never empty.
type Page = Vec<Entry>;
/// In the order of their keys and never empty.
type Branch = Vec<Arc<Page>>;

/// The map. A clone is a copy as it is now, whatever is written to either later.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    branches: Vec<Arc<Branch>>,
    len: usize,
    /// Bytes of all keys and values.
    bytes: usize,
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
        Some(&self.branches[branch][page][at.ok()?])
    }

    /// The entry of a key, to be changed: its page is copied if a copy of the map shares it.
    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let Place { branch, page, at } = self.find(key)?;
        let at = at.ok()?;
        let branch = Arc::make_mut(&mut self.branches[branch]);
        Some(&mut Arc::make_mut(&mut branch[page])[at])
    }

    /// Sets a key's value. A new entry has the digest zero; one that was there keeps its own, and
    /// that is what this gives.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Option<Digest> {
        let Some(Place { branch, page, at }) = self.find(key) else {
            (self.len, self.bytes) = (1, key.len() + value.len());
            self.branches.push(Arc::new(vec![page_of(Entry::new(key, value))]));
            return None;
        };
        let is_last = branch + 1 == self.branches.len();
        let pages = Arc::make_mut(&mut self.branches[branch]);
        let is_last = is_last && page + 1 == pages.len();
        let entries = Arc::make_mut(&mut pages[page]);
        let at = match at {
            Err(at) => at,
            Ok(at) => {
                self.bytes = self.bytes - entries[at].value().len() + value.len();
                entries[at].replace(value);
                return Some(entries[at].digest);
            }
        };
        let entry = Entry::new(key, value);
        (self.len, self.bytes) = (self.len + 1, self.bytes + key.len() + value.len());
        if let Some(behind) = insert(entries, at, entry, PAGE, is_last)
            && let Some(behind) = insert(pages, page + 1, Arc::new(behind), BRANCH, is_last)
        {
            self.branches.insert(branch + 1, Arc::new(behind));
        }
        None
    }

    /// Adds an entry with its digest behind all others.
    ///
    /// # Panics
    /// If its key is not above theirs.
    pub(super) fn add_last(&mut self, key: &[u8], value: &[u8], digest: Digest) {
        let entry = Entry { digest, ..Entry::new(key, value) };
        (self.len, self.bytes) = (self.len + 1, self.bytes + entry.bytes.len());
        if let Some(branch) = self.branches.last_mut() {
            let pages = Arc::make_mut(branch);
            let last = pages.last_mut().expect("no branch is empty");
            assert!(last.last().is_some_and(|e| e.key() < key), "the caller looks at the order");
            if last.len() < PAGE {
                return Arc::make_mut(last).push(entry);
            }
            if pages.len() < BRANCH {
                return pages.push(page_of(entry));
            }
        }
        self.branches.push(Arc::new(vec![page_of(entry)]));
    }

    /// Removes a key. Gives the digest of its entry, if it was there.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Digest> {
        let Place { branch, page, at } = self.find(key)?;
        let at = at.ok()?;
        let pages = Arc::make_mut(&mut self.branches[branch]);
        let gone = Arc::make_mut(&mut pages[page]).remove(at);
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
            Some([first, later @ ..]) => (&first[page..], later),
            _ => (&[][..], &[][..]),
        };
        let pages = first.iter().chain(later.iter().flat_map(|branch| branch.iter()));
        pages.flat_map(|page| page.iter()).skip(at)
    }

    /// Nothing if there are no entries.
    fn find(&self, key: &[u8]) -> Option<Place> {
        let not_behind = |first: &Entry| first.key() <= key;
        let branch = self.branches.partition_point(|b| not_behind(&b[0][0])).saturating_sub(1);
        let pages = self.branches.get(branch)?;
        let page = pages.partition_point(|p| not_behind(&p[0])).saturating_sub(1);
        let at = pages[page].binary_search_by(|e| e.key().cmp(key));
        Some(Place { branch, page, at })
    }
}

/// A page that will be full.
fn page_of(first: Entry) -> Arc<Page> {
    let mut page = Vec::with_capacity(PAGE);
    page.push(first);
    Arc::new(page)
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
fn shrink<T: Clone>(all: &mut Vec<Arc<Vec<T>>>, at: usize, most: usize) {
    if all[at].is_empty() {
        all.remove(at);
        return;
    }
    if all[at].len() > most / 4 {
        return;
    }
    let left = if at + 1 < all.len() { at } else { at.saturating_sub(1) };
    let Some(right) = all.get(left + 1).filter(|r| r.len() + all[left].len() <= most / 2) else {
        return;
    };
    let right = right.clone();
    Arc::make_mut(&mut all[left]).extend(right.iter().cloned());
    all.remove(left + 1);
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
