//! The words of a command, on the command line and in a batch.

use super::super::Failure;
use super::super::USAGE;
use crate::service::kv;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

/// Entries of a scan without `--limit`.
const SCAN_LIMIT: u64 = 1000;

/// One command.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum Words {
    /// Set a key's value
    Put {
        /// The key
        #[arg(allow_negative_numbers = true)]
        key: OsString,
        /// The value: literal, @FILE, or - for standard input
        #[arg(allow_negative_numbers = true)]
        value: OsString,
    },
    /// Print a key's value as it is; a newline follows on a terminal only
    Get {
        /// The key
        #[arg(allow_negative_numbers = true)]
        key: OsString,
    },
    /// Remove a key
    Delete {
        /// The key
        #[arg(allow_negative_numbers = true)]
        key: OsString,
    },
    /// Set a key's value if the present one is OLD, or with --absent if there is none
    #[command(override_usage = "quorate client [OPTIONS] cas KEY OLD NEW\n       \
                                quorate client [OPTIONS] cas KEY --absent NEW")]
    Cas {
        /// The key
        #[arg(allow_negative_numbers = true)]
        key: OsString,
        /// The value that must be there
        #[arg(value_name = "OLD", allow_negative_numbers = true)]
        old: OsString,
        /// The value to set
        #[arg(value_name = "NEW", allow_negative_numbers = true)]
        new: Option<OsString>,
        /// The key must not exist; OLD is left out
        #[arg(long)]
        absent: bool,
    },
    /// Add to a key whose value is a whole number; a missing key counts as 0
    Incr {
        /// The key
        #[arg(allow_negative_numbers = true)]
        key: OsString,
        /// What to add, may be negative
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
    },
    /// Print the entries whose keys start with PREFIX: key, tab, value, one a line, escaped
    Scan {
        /// What keys must start with; '' for all
        #[arg(allow_negative_numbers = true)]
        prefix: OsString,
        /// Entries at most; many come in several requests, so others may write in between
        #[arg(long, default_value_t = SCAN_LIMIT)]
        limit: u64,
    },
    /// Run a command that does nothing; print the agreed time and the time it took
    Ping,
}

/// What is asked of the service, all bytes at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Put { key: Vec<u8>, value: Vec<u8> },
    Get { key: Vec<u8> },
    Delete { key: Vec<u8> },
    Cas { key: Vec<u8>, old: Option<Vec<u8>>, new: Vec<u8> },
    Incr { key: Vec<u8>, by: i64 },
    Scan { prefix: Vec<u8>, limit: u64 },
    Ping,
}

impl Ask {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Ask::Put { .. } => "put",
            Ask::Get { .. } => "get",
            Ask::Delete { .. } => "delete",
            Ask::Cas { .. } => "cas",
            Ask::Incr { .. } => "incr",
            Ask::Scan { .. } => "scan",
            Ask::Ping => "ping",
        }
    }

    /// The service's command; of a scan that of its first page.
    pub fn command(&self) -> kv::Command<'_> {
        match self {
            Ask::Put { key, value } => kv::Command::put(key, value),
            Ask::Get { key } => kv::Command::get(key),
            Ask::Delete { key } => kv::Command::delete(key),
            Ask::Cas { key, old, new } => kv::Command::cas(key, old.as_deref(), new),
            Ask::Incr { key, by } => kv::Command::incr(key, *by),
            Ask::Scan { prefix, limit } => kv::Command::scan(prefix, page(*limit)),
            Ask::Ping => kv::Command::ping(b""),
        }
    }

    /// Whether the order of the two may be exchanged without anybody noticing.
    pub fn commutes_with(&self, other: &Ask) -> bool {
        if self.command().is_read_only() && other.command().is_read_only() {
            return true;
        }
        match (self, other) {
            (Ask::Ping, _) | (_, Ask::Ping) => true,
            (Ask::Scan { prefix, .. }, one) | (one, Ask::Scan { prefix, .. }) => {
                !one.key().is_some_and(|key| key.starts_with(prefix))
            }
            (a, b) => a.key() != b.key(),
        }
    }

    fn key(&self) -> Option<&[u8]> {
        match self {
            Ask::Put { key, .. }
            | Ask::Get { key }
            | Ask::Delete { key }
            | Ask::Cas { key, .. }
            | Ask::Incr { key, .. } => Some(key),
            Ask::Scan { .. } | Ask::Ping => None,
        }
    }
}

/// Entries of the next page of a scan that still wants so many.
pub(super) fn page(wanted: u64) -> u32 {
    u32::try_from(wanted).unwrap_or(u32::MAX).clamp(1, kv::MAX_SCAN)
}

impl Words {
    /// Reads the files that the words name, and standard input if `stdin` allows it.
    ///
    /// # Errors
    /// What cannot be read, and what the service's limits forbid.
    pub fn resolve(self, stdin: bool) -> anyhow::Result<Ask> {
        let mut values = Values { stdin };
        let ask = match self {
            Words::Put { key, value } => Ask::Put { key: raw(key), value: values.read(value)? },
            Words::Get { key } => Ask::Get { key: raw(key) },
            Words::Delete { key } => Ask::Delete { key: raw(key) },
            Words::Cas { key, old: new, new: None, absent: true } => {
                Ask::Cas { key: raw(key), old: None, new: values.read(new)? }
            }
            Words::Cas { key, old, new: Some(new), absent: false } => {
                let old = Some(values.read(old)?);
                Ask::Cas { key: raw(key), old, new: values.read(new)? }
            }
            Words::Cas { .. } => {
                return usage("write cas KEY OLD NEW, or cas KEY --absent NEW".to_owned());
            }
            Words::Incr { key, by } => Ask::Incr { key: raw(key), by },
            Words::Scan { prefix, limit } => Ask::Scan { prefix: raw(prefix), limit },
            Words::Ping => Ask::Ping,
        };
        match ask.command().check() {
            Ok(()) => Ok(ask),
            Err(e) => usage(format!("{}: the limit on the {} is passed", ask.word(), e.what)),
        }
    }
}

fn raw(text: OsString) -> Vec<u8> {
    text.into_vec()
}

/// How values are written: literal, `@FILE`, `-`; `@@` begins a literal with `@`.
struct Values {
    // Whether standard input is still to be had.
    stdin: bool,
}

impl Values {
    fn read(&mut self, text: OsString) -> anyhow::Result<Vec<u8>> {
        let bytes = raw(text);
        match bytes.as_slice() {
            b"-" if self.stdin => {
                self.stdin = false;
                limited(std::io::stdin().lock(), Path::new("standard input"))
            }
            b"-" => usage(
                "- for standard input can be written once, and not in a batch; put the value \
                 into a file and write @FILE"
                    .to_owned(),
            ),
            [b'@', b'@', ..] => Ok(bytes[1..].to_vec()),
            [b'@', path @ ..] => {
                let path = Path::new(OsStr::from_bytes(path));
                let file = File::open(path);
                match file {
                    Ok(file) => limited(file, path),
                    Err(e) => usage(format!(
                        "cannot read {}: {e}; a value that begins with @ is written @@",
                        path.display()
                    )),
                }
            }
            _ => Ok(bytes),
        }
    }
}

fn limited(source: impl Read, name: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Err(e) = source.take(kv::MAX_VALUE as u64 + 1).read_to_end(&mut bytes) {
        return usage(format!("cannot read {}: {e}", name.display()));
    }
    if bytes.len() > kv::MAX_VALUE {
        let max = kv::MAX_VALUE;
        return usage(format!(
            "{} has more than {max} bytes, the limit of a value",
            name.display()
        ));
    }
    Ok(bytes)
}

fn usage<T>(message: String) -> anyhow::Result<T> {
    Err(Failure { code: USAGE, message }.into())
}

/// Cuts a line into words as a shell does: spaces separate, '..' is literal, ".." and a backslash
/// escape, # at the start of a word begins a comment. There are no variables and no globs.
///
/// # Errors
/// A quote that is not closed, or a backslash at the end.
pub(super) fn split(line: &[u8]) -> Result<Vec<OsString>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\r' => words.extend(word.take()),
            b'#' if word.is_none() => break,
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next() {
                        Some(b'\'') => break,
                        Some(b) => word.push(b),
                        None => return Err("a ' is not closed"),
                    }
                }
            }
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next() {
                        Some(b'"') => break,
                        Some(b'\\') => match bytes.next() {
                            Some(b @ (b'"' | b'\\')) => word.push(b),
                            Some(b) => word.extend([b'\\', b]),
                            None => return Err("a \" is not closed"),
                        },
                        Some(b) => word.push(b),
                        None => return Err("a \" is not closed"),
                    }
                }
            }
            b'\\' => match bytes.next() {
                Some(b) => word.get_or_insert_default().push(b),
                None => return Err("a \\ at the end of the line"),
            },
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line.as_bytes()).unwrap().into_iter().map(|w| w.into_string().unwrap()).collect()
    }

    #[test]
    fn lines_are_cut_as_a_shell_does() {
        assert_eq!(words("put a b"), ["put", "a", "b"]);
        assert_eq!(words("  put\ta  'b c'  # why"), ["put", "a", "b c"]);
        assert_eq!(words(r#"put a "b \"c\" \n""#), ["put", "a", r#"b "c" \n"#]);
        assert_eq!(words(r"put a\ b c\\d''e#f"), ["put", "a b", r"c\de#f"]);
        assert_eq!(words("put a ''"), ["put", "a", ""]);
        assert!(words("").is_empty() && words(" # put a b").is_empty());
        for bad in ["put 'a", "put \"a", "put \"a\\", "put a\\"] {
            assert!(split(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(split(b"put \xff").unwrap()[1].as_bytes(), b"\xff");
    }

    fn put(value: &str) -> anyhow::Result<Ask> {
        Words::Put { key: "k".into(), value: value.into() }.resolve(false)
    }

    #[test]
    fn values_are_literal_or_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("value");
        std::fs::write(&file, b"\0\xff\n").unwrap();
        let value = |text: &str| match put(text).unwrap() {
            Ask::Put { value, .. } => value,
            other => panic!("{other:?}"),
        };
        assert_eq!(value("plain"), b"plain");
        assert_eq!(value(""), b"");
        assert_eq!(value("@@home"), b"@home");
        assert_eq!(value(&format!("@{}", file.display())), b"\0\xff\n");
        let error = |text: &str| put(text).unwrap_err().to_string();
        assert!(error("@/no/such").contains("is written @@"), "{}", error("@/no/such"));
        assert!(error("-").contains("write @FILE"));
        std::fs::write(&file, vec![0; kv::MAX_VALUE + 1]).unwrap();
        assert!(error(&format!("@{}", file.display())).contains("limit of a value"));
    }

    #[test]
    fn limits_are_checked_before_anything_is_sent() {
        let long = Words::Get { key: "k".repeat(kv::MAX_KEY + 1).into() }.resolve(false);
        assert!(long.unwrap_err().to_string().contains("key (1 to 4096 bytes)"));
        let empty = Words::Delete { key: "".into() }.resolve(false);
        assert!(empty.unwrap_err().to_string().contains("key (1 to 4096 bytes)"));
    }

    #[test]
    fn commands_may_change_places_only_if_nobody_can_tell() {
        let key = |k: &str| k.as_bytes().to_vec();
        let put = |k: &str| Ask::Put { key: key(k), value: vec![] };
        let get = |k: &str| Ask::Get { key: key(k) };
        let scan = |prefix: &str| Ask::Scan { prefix: key(prefix), limit: 1 };
        let yes = [
            (put("a"), put("b")),
            (put("a"), get("b")),
            (get("a"), get("a")),
            (scan("a"), get("ab")),
            (scan("a"), put("b")),
            (Ask::Ping, put("a")),
        ];
        let no = [(put("a"), put("a")), (put("a"), get("a")), (scan("a"), put("ab"))];
        for (a, b) in yes {
            assert!(a.commutes_with(&b) && b.commutes_with(&a), "{a:?} {b:?}");
        }
        for (a, b) in no {
            assert!(!a.commutes_with(&b) && !b.commutes_with(&a), "{a:?} {b:?}");
        }
    }
}
