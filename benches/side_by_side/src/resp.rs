//! As much of RESP, the protocol of Redis, as the load needs.

use anyhow::{Result, bail};

/// Longer lines and strings are refused: nothing that is asked for answers with so much.
const LONGEST: usize = 1 << 20;

/// One reply of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+`, as `OK`.
    Simple(String),
    /// `-`: what went wrong.
    Error(String),
    /// `:`
    Int(i64),
    /// `$`: bytes, or nothing.
    Bulk(Option<Vec<u8>>),
}

/// Appends a command with its arguments.
pub fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// The first reply in these bytes and how many of them it is, or `None` while it is not all there.
///
/// # Errors
/// If the bytes are no reply, or one of another kind.
pub fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>> {
    let Some((line, after)) = line(bytes)? else { return Ok(None) };
    let Some((kind, rest)) = line.split_first() else { bail!("an empty line is no reply") };
    let text = String::from_utf8_lossy(rest);
    let reply = match kind {
        b'+' => Reply::Simple(text.into_owned()),
        b'-' => Reply::Error(text.into_owned()),
        b':' => Reply::Int(number(&text)?),
        b'$' => return bulk(number(&text)?, bytes, after),
        _ => bail!("a reply of an unknown kind: {:?}", String::from_utf8_lossy(line)),
    };
    Ok(Some((reply, after)))
}

/// The first line without its end, and where the next one begins.
fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>> {
    let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
        if bytes.len() > LONGEST {
            bail!("a line of more than {LONGEST} bytes");
        }
        return Ok(None);
    };
    match bytes[..end].strip_suffix(b"\r") {
        Some(line) => Ok(Some((line, end + 1))),
        None => bail!("a line that does not end with CR LF"),
    }
}

fn number(text: &str) -> Result<i64> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!("{text:?} is no number"),
    }
}

fn bulk(length: i64, bytes: &[u8], from: usize) -> Result<Option<(Reply, usize)>> {
    if length == -1 {
        return Ok(Some((Reply::Bulk(None), from)));
    }
    let length = usize::try_from(length).ok().filter(|n| *n <= LONGEST);
    let Some(length) = length else { bail!("a string of a length that cannot be") };
    let end = from + length;
    match bytes.get(end..end + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some((Reply::Bulk(Some(bytes[from..end].to_vec())), end + 2))),
        Some(_) => bail!("a string that is longer than it says"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut out = b"x".to_vec();
        command(&mut out, &[b"SET", b"k", b"a\r\nb"]);
        assert_eq!(out, b"x*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn replies_of_each_kind_are_read_one_after_the_other() {
        let bytes = b"+OK\r\n:2\r\n-ERR no such thing\r\n$4\r\na\r\nb\r\n$-1\r\n$0\r\n\r\n:-7\r\n";
        let due = [
            Reply::Simple("OK".to_owned()),
            Reply::Int(2),
            Reply::Error("ERR no such thing".to_owned()),
            Reply::Bulk(Some(b"a\r\nb".to_vec())),
            Reply::Bulk(None),
            Reply::Bulk(Some(Vec::new())),
            Reply::Int(-7),
        ];
        let mut at = 0;
        for reply in due {
            let (found, length) = parse(&bytes[at..]).unwrap().unwrap();
            assert_eq!(found, reply);
            at += length;
        }
        assert_eq!(at, bytes.len());
        assert_eq!(parse(&bytes[at..]).unwrap(), None);
    }

    #[test]
    fn of_a_reply_in_pieces_nothing_is_taken_before_the_last() {
        for whole in [&b"+OK\r\n"[..], b":12\r\n", b"-ERR\r\n", b"$4\r\na\r\nb\r\n", b"$-1\r\n"] {
            for end in 0..whole.len() {
                assert_eq!(parse(&whole[..end]).unwrap(), None, "{end} of {whole:?}");
            }
            // What follows is left.
            let mut more = whole.to_vec();
            more.extend_from_slice(b"+N");
            assert_eq!(parse(&more).unwrap().unwrap().1, whole.len());
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let rows = [
            (&b"\r\n"[..], "empty line"),
            (b"OK\r\n", "unknown kind"),
            (b"*1\r\n", "unknown kind"),
            (b"+OK\n", "CR LF"),
            (b":two\r\n", "no number"),
            (b"$-2\r\n", "length that cannot be"),
            (b"$9999999\r\n", "length that cannot be"),
            (b"$1\r\nabc\r\n", "longer than it says"),
        ];
        for (bytes, part) in rows {
            let error = parse(bytes).unwrap_err().to_string();
            assert!(error.contains(part), "{bytes:?}: {error}");
        }
        assert!(parse(&vec![b'+'; LONGEST + 1]).is_err());
    }
}
