//! Changing one entry of the cluster file and nothing else of it (M3).

use super::raw::{RawFile, RawReplica};
use toml::{Spanned, Value};

/// The text of a cluster file in which the replica of this number has another key. `former_keys` is
/// the list of its earlier ones, as it stands in the file. `None` if the text has no such replica.
pub fn with_key_replaced(
    text: &str,
    number: u8,
    public_key: &str,
    former_keys: &str,
) -> Option<String> {
    let raw: RawFile = toml::from_str(text).ok()?;
    let id = |entry: &RawReplica| entry.id.as_ref().and_then(|id| id.get_ref().as_integer());
    let mut entries = raw.replica.iter().map(Spanned::get_ref);
    let entry = entries.find(|entry| id(entry) == Some(i64::from(number)))?;
    let key = entry.public_key.as_ref().map(Spanned::span)?;
    let mut changed = text.to_owned();
    match entry.former_keys.as_ref().map(Spanned::span) {
        // The later place first, so that the other one stays where it is.
        Some(list) if list.start > key.start => {
            changed.replace_range(list, former_keys);
            changed.replace_range(key, &quoted(public_key));
        }
        Some(list) => {
            changed.replace_range(key, &quoted(public_key));
            changed.replace_range(list, former_keys);
        }
        None => {
            let both = format!("{}\nformer_keys = {former_keys}", quoted(public_key));
            changed.replace_range(key, &both);
        }
    }
    Some(changed)
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\n[[replica]]\nid = 2\npublic_key = \"old2\" # a note\n\n\
                        [[replica]]\nid = 1\nformer_keys = [{ key = \"x\", until = 1 }]\n\
                        public_key = \"keys/r1.pub.pem\"\naddress = \"a:1\"\n";

    #[test]
    fn one_entry_changes_and_nothing_else() {
        let two = with_key_replaced(FILE, 2, "new2", "[{ key = \"old2\", until = 4 }]").unwrap();
        let expected =
            FILE.replace("\"old2\"", "\"new2\"\nformer_keys = [{ key = \"old2\", until = 4 }]");
        assert_eq!(two, expected);
        let one = with_key_replaced(FILE, 1, "new1", "[]").unwrap();
        let expected = FILE.replace("[{ key = \"x\", until = 1 }]", "[]");
        assert_eq!(one, expected.replace("keys/r1.pub.pem", "new1"));
        assert_eq!(with_key_replaced(FILE, 3, "new", "[]"), None);
    }
}
