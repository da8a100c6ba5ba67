//! Commands of services in words.

use super::kv::{Command, Kv};

/// Bytes of a key or value that are shown at most.
const MOST: usize = 64;

/// A command as people read it: in words where it is one of the key-value service, else as
/// escaped bytes. Long keys and values are cut short and their length is told.
pub fn in_words(service: &str, command: &[u8]) -> String {
    let parsed = (service == Kv::NAME).then(|| Command::parse(command).ok()).flatten();
    let Some(command) = parsed else { return text(command) };
    match command {
        Command::Put { key, value } => format!("put {} {}", text(key), text(value)),
        Command::Get { key } => format!("get {}", text(key)),
        Command::Delete { key } => format!("delete {}", text(key)),
        Command::Cas { key, old: Some(old), new } => {
            format!("cas {} {} {}", text(key), text(old), text(new))
        }
        Command::Cas { key, old: None, new } => format!("cas {} --absent {}", text(key), text(new)),
        Command::Incr { key, by } => format!("incr {} {by}", text(key)),
        Command::Scan { prefix, after: b"", limit } => {
            format!("scan {} --limit {limit}", text(prefix))
        }
        Command::Scan { prefix, after, limit } => {
            format!("scan {} --limit {limit} behind {}", text(prefix), text(after))
        }
        Command::Ping { payload } => format!("ping of {} bytes", payload.len()),
    }
}

/// Bytes as one word if they are plain, else in quotes with escapes.
pub fn text(bytes: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-+,@%:=".contains(b);
    let shown = bytes.get(..MOST).unwrap_or(bytes);
    let rest = match bytes.len() {
        n if n > MOST => format!("...({n} bytes)"),
        _ => String::new(),
    };
    match !shown.is_empty() && shown.iter().all(plain) {
        true => format!("{}{rest}", shown.escape_ascii()),
        false => format!("\"{}\"{rest}", shown.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_kv_are_told_in_words_and_others_as_bytes() {
        let words = |command: Command<'_>| in_words("kv", &command.encode());
        assert_eq!(words(Command::put("colour", "light blue")), "put colour \"light blue\"");
        assert_eq!(words(Command::cas("k", None, "v")), "cas k --absent v");
        assert_eq!(words(Command::incr("n", -3)), "incr n -3");
        assert_eq!(words(Command::get(&[0, 255])), "get \"\\x00\\xff\"");
        let long = words(Command::put("k", &"x".repeat(100)));
        assert!(long.ends_with("x...(100 bytes)") && long.len() < 120, "{long}");
        assert_eq!(in_words("kv", b"\x63"), "c");
        assert_eq!(in_words("counter", &Command::get("k").encode()[..1]), "\"\\x02\"");
    }
}
