//! A list in the order of keys, that is searched without touching what is in it.

/// The first bytes of a key as a number, high and low half, with zeros behind a shorter key. The
/// lower of two of them is that of the lower key; equal ones say nothing.
pub(super) type Lead = (u64, u64);

/// The lead of a key.
pub(super) fn lead(key: &[u8]) -> Lead {
    let (mut first, n) = ([0; size_of::<Lead>()], key.len().min(size_of::<Lead>()));
    first[..n].copy_from_slice(&key[..n]);
    let all = u128::from_be_bytes(first);
    ((all >> 64) as u64, all as u64)
}

/// What has keys.
pub(super) trait Keyed {
    /// Its first key.
    fn first(&self) -> &[u8];
    /// A lead that is not above that of its first key, and not below that of any key before it.
    fn lead(&self) -> Lead;
}

/// Things in the order of their keys. The leads stand by themselves, close together: to look
/// through those of a page takes hardly longer than to fetch one entry into the cache.
#[derive(Clone, Debug)]
pub(super) struct List<T> {
    /// Of each: not above the lead of any key in it, and not below that of any key before it.
    leads: Vec<Lead>,
    all: Vec<T>,
}

// Nothing in it does not ask for anything of what it could hold.
impl<T> Default for List<T> {
    fn default() -> Self {
        Self { leads: Vec::new(), all: Vec::new() }
    }
}

impl<T: Keyed> List<T> {
    /// One that has room for so many, with the first.
    pub(super) fn of(first: T, room: usize) -> Self {
        let (mut leads, mut all) = (Vec::with_capacity(room), Vec::with_capacity(room));
        leads.push(first.lead());
        all.push(first);
        Self { leads, all }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn all(&self) -> &[T] {
        &self.all
    }

    /// The lead of each.
    pub(super) fn leads(&self) -> &[Lead] {
        &self.leads
    }

    pub(super) fn get_mut(&mut self, at: usize) -> &mut T {
        &mut self.all[at]
    }

    /// A key was put into the thing at this place, perhaps in front of its others.
    pub(super) fn begins_by(&mut self, at: usize, lead: Lead) {
        self.leads[at] = self.leads[at].min(lead);
    }

    pub(super) fn push(&mut self, new: T) {
        self.leads.push(new.lead());
        self.all.push(new);
    }

    /// Inserts and gives the upper part if that makes it too long. What grows at its end only
    /// leaves full lists behind.
    pub(super) fn insert(
        &mut self,
        at: usize,
        new: T,
        most: usize,
        at_the_end: bool,
    ) -> Option<Self> {
        self.leads.insert(at, new.lead());
        self.all.insert(at, new);
        if self.len() <= most {
            return None;
        }
        let is_appended = at_the_end && at + 1 == self.len();
        let keep = if is_appended { most } else { self.len() / 2 };
        let upper = Self { leads: self.leads.split_off(keep), all: self.all.split_off(keep) };
        self.leads.shrink_to_fit();
        self.all.shrink_to_fit();
        Some(upper)
    }

    pub(super) fn remove(&mut self, at: usize) -> T {
        self.leads.remove(at);
        self.all.remove(at)
    }

    /// Where a key is, or where it would have to be put, if each thing has one key.
    pub(super) fn find(&self, lead: Lead, key: &[u8]) -> Result<usize, usize> {
        // All of them one after the other, and not by halves: nothing waits for what came before.
        let below = self.leads.iter().map(|l| usize::from(*l < lead)).sum::<usize>();
        match self.leads.get(below) {
            Some(first) if *first == lead => {}
            _ => return Err(below),
        }
        let like = self.leads[below..].partition_point(|l| *l == lead);
        let found = self.all[below..below + like].binary_search_by(|e| e.first().cmp(key));
        found.map(|at| below + at).map_err(|at| below + at)
    }

    /// Which of the things has a key, or would get it: the last that does not begin behind it.
    pub(super) fn part_of(&self, lead: Lead, key: &[u8]) -> usize {
        let below = self.leads.partition_point(|l| *l < lead);
        let like = self.leads[below..].partition_point(|l| *l == lead);
        let alike = &self.all[below..below + like];
        (below + alike.partition_point(|part| part.first() <= key)).saturating_sub(1)
    }
}

impl<T: Keyed + Clone> List<T> {
    /// Puts another's behind its own.
    pub(super) fn extend(&mut self, other: &Self) {
        self.leads.extend_from_slice(&other.leads);
        self.all.extend_from_slice(&other.all);
    }
}
