//! The list of planted bugs, and the places that ask for them.

use super::source::Source;
use std::collections::BTreeSet;

/// What the code calls to ask whether a bug is planted.
const ASKS: &str = "planted(\"";

/// Names that code asks for and the list does not have, and names that it has for nothing: a bug
/// of a misspelt name would never be planted, and nobody would notice.
pub fn differences(files: &[Source], list: &str) -> Vec<String> {
    let list = list.split_once("PLANTS").map_or("", |(_, rest)| rest);
    let list = list.split_once("];").map_or(list, |(entries, _)| entries);
    let entries = list.split('(').filter_map(|entry| entry.trim_start().strip_prefix('"'));
    let listed: BTreeSet<&str> = entries.filter_map(|entry| entry.split('"').next()).collect();
    let (mut found, mut asked) = (Vec::new(), BTreeSet::new());
    for file in files.iter().filter(|f| !f.is_test) {
        for (number, line) in file.text.lines().enumerate() {
            for name in line.split(ASKS).skip(1).filter_map(|rest| rest.split('"').next()) {
                if !listed.contains(name) {
                    found.push(format!("{}:{}: `{name}` is not listed", file.path, number + 1));
                }
                asked.insert(name);
            }
        }
    }
    let idle = listed.difference(&asked);
    found.extend(idle.map(|name| format!("`{name}` is listed, and no code asks for it")));
    found
}
