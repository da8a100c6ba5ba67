//! The file in which a client writes down its requests.

use super::ClientError;
use crate::caller::notebook::{Entry, Notebook, NotebookError, group};
use crate::types::{ClientId, Digest};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that grew by more than this since it was last written as a whole is written anew.
const GROWTH: u64 = if cfg!(test) { 4096 } else { 1 << 20 };

/// The open file, for one process at a time.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    file: File,
    cluster: Digest,
    client: ClientId,
    notebook: Notebook,
    grown: u64,
    growth: u64,
    // A write failed: what is in the file is not known.
    failed: bool,
    // Held as long as this is open. The file itself is replaced when it has grown.
    _lock: File,
}

impl StateFile {
    /// Opens a client's file, or makes it, and cuts off what was not written to its end.
    ///
    /// # Errors
    /// If another process has it, it is none of this client's, or it is damaged.
    pub fn open(path: &Path, cluster: Digest, client: ClientId) -> Result<Self, ClientError> {
        let failed = |what: &str| {
            let (path, what) = (path.to_owned(), what.to_owned());
            move |error: Error| ClientError::State {
                path,
                why: format!("cannot {what} it: {error}"),
            }
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(beside(path, "lock")).map_err(failed("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = "another process uses it: give each process a state file of its own";
                return Err(ClientError::State { path: path.to_owned(), why: why.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
        let mut file = options.open(path).map_err(failed("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read"))?;
        let read = Notebook::read(&bytes, &cluster, &client);
        let refused =
            |e: NotebookError| ClientError::State { path: path.to_owned(), why: e.to_string() };
        let (notebook, _) = read.map_err(refused)?;
        let mut state = Self {
            path: path.to_owned(),
            file,
            cluster,
            client,
            notebook,
            grown: 0,
            growth: GROWTH,
            failed: false,
            _lock: lock,
        };
        // Written as a whole it has nothing at its end that does not count.
        state.rewrite().map_err(failed("write"))?;
        Ok(state)
    }

    pub fn notebook(&self) -> &Notebook {
        &self.notebook
    }

    /// Writes entries down; with `sync` they are durable then, and all that came before them.
    ///
    /// # Errors
    /// If that fails, or did before: what is in the file is not known any more, and nothing may be
    /// sent.
    pub fn append(&mut self, entries: &[Entry], sync: bool) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.failed {
            return Err(Error::other("a write failed before"));
        }
        entries.iter().for_each(|entry| self.notebook.apply(entry));
        let written = self.write(&group(entries), sync);
        self.failed = written.is_err();
        written
    }

    fn write(&mut self, bytes: &[u8], sync: bool) -> Result<(), Error> {
        self.grown += bytes.len() as u64;
        if self.grown > self.growth {
            return self.rewrite();
        }
        self.file.write_all(bytes)?;
        if sync { self.file.sync_data() } else { Ok(()) }
    }

    // The file with what counts now, in place of the one that there is.
    fn rewrite(&mut self) -> Result<(), Error> {
        let new = beside(&self.path, "new");
        let bytes = self.notebook.to_bytes(&self.cluster, &self.client);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        let directory = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        file.seek(SeekFrom::End(0))?;
        (self.file, self.grown) = (file, 0);
        self.growth = GROWTH.max(bytes.len() as u64);
        Ok(())
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{CallId, SessionId};

    const CLUSTER: Digest = Digest([7; 32]);
    const CLIENT: ClientId = ClientId([9; 32]);

    fn id(number: u64) -> CallId {
        CallId { chain: 0, session: SessionId(5), number, part: None }
    }

    fn numbered(number: u64) -> Entry {
        Entry::Numbered { id: id(number), parts: vec![1] }
    }

    fn open(path: &Path) -> Result<StateFile, ClientError> {
        StateFile::open(path, CLUSTER, CLIENT)
    }

    #[test]
    fn what_was_written_is_there_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let mut state = open(&path).unwrap();
        state.append(&[numbered(1), numbered(2)], true).unwrap();
        state.append(&[Entry::Over { id: id(1) }], false).unwrap();
        let refused = open(&path).unwrap_err().to_string();
        assert!(refused.contains("another process uses it"), "{refused}");
        drop(state);
        // What was cut off does not come back, and what follows stands where it was.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&group(&[numbered(3)])[..9]).unwrap();
        let mut state = open(&path).unwrap();
        assert_eq!(state.notebook().open(), [id(2)]);
        state.append(&[numbered(4)], true).unwrap();
        drop(state);
        assert_eq!(open(&path).unwrap().notebook().open(), [id(2), id(4)]);
        let refused = StateFile::open(&path, CLUSTER, ClientId([1; 32])).unwrap_err().to_string();
        assert!(refused.contains("another key") && refused.contains("state"), "{refused}");
        std::fs::write(&path, "a letter").unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("no client's state file"));
        assert_eq!(std::fs::read(&path).unwrap(), b"a letter", "it is left alone");
    }

    #[test]
    fn a_file_that_has_grown_is_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let mut state = open(&path).unwrap();
        for n in 1..200 {
            state.append(&[numbered(n)], false).unwrap();
            if n > 1 {
                state.append(&[Entry::Over { id: id(n) }], false).unwrap();
            }
            // All that was ever written takes 16 KiB.
            assert!(std::fs::metadata(&path).unwrap().len() < GROWTH + 400);
        }
        drop(state);
        let state = open(&path).unwrap();
        assert_eq!((state.notebook().open(), state.notebook().start(0)), (vec![id(1)], None));
    }
}
