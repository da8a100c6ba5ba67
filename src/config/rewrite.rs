//! Changing one entry of the cluster file and nothing else of it: a key (M3), the fault model.

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

/// The text of a cluster file with this fault model, which begins with the state of this digest.
/// `None` if the text has no place for them that can be found.
pub fn with_model_changed(text: &str, fault_model: &str, initial_state: &str) -> Option<String> {
    let raw: RawFile = toml::from_str(text).ok()?;
    let model = raw.cluster.as_ref()?.get_ref().fault_model.as_ref()?.span();
    let mut changed = text.to_owned();
    let named = format!("initial_state = {}", quoted(initial_state));
    let mut edits = vec![(model, quoted(fault_model))];
    match raw.service.as_ref().map(Spanned::get_ref) {
        None => changed.push_str(&format!("\n[service]\nname = \"kv\"\n{named}\n")),
        Some(service) => match (&service.initial_state, &service.name) {
            (Some(state), _) => edits.push((state.span(), quoted(initial_state))),
            (None, Some(name)) => {
                let end = name.span().end;
                edits.push((end..end, format!("\n{named}")));
            }
            (None, None) => return None,
        },
    }
    // The later place first, so that the other one stays where it is.
    edits.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
    edits.into_iter().for_each(|(place, with)| changed.replace_range(place, &with));
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

    #[test]
    fn the_model_and_the_initial_state_change_and_nothing_else() {
        let head = "# ours\n[cluster]\nfault_model = \"byzantine\" # safe\nt = 1\n";
        let to = |text: &str| with_model_changed(text, "fail-stop", "ab").unwrap();
        let other = head.replace("byzantine", "fail-stop");
        assert_eq!(
            to(head),
            format!("{other}\n[service]\nname = \"kv\"\ninitial_state = \"ab\"\n")
        );
        let named = format!("[service]\nname = \"x\" # it\n\n{head}");
        let expected = format!("[service]\nname = \"x\"\ninitial_state = \"ab\" # it\n\n{other}");
        assert_eq!(to(&named), expected);
        let again = expected.replace("\"ab\"", "\"cd\"");
        assert_eq!(to(&again), expected);
        assert_eq!(with_model_changed("[cluster]\nt = 1\n", "fail-stop", "ab"), None);
        assert_eq!(with_model_changed(&format!("{head}[service]\n"), "fail-stop", "ab"), None);
    }
}
