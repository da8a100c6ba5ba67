//! The module table in the documentation of `src/lib.rs`.

use super::source::Source;
use super::tree;
use std::collections::BTreeSet;

/// One module.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Its layer.
    pub layer: u8,
    /// Its name.
    pub module: String,
    /// The modules that it may use.
    pub may_use: BTreeSet<String>,
    /// Whether it must not touch the world.
    pub pure: bool,
}

/// All modules, from the bottom up.
#[derive(Debug)]
pub struct Table(Vec<Row>);

impl Table {
    /// The table of this crate.
    pub fn of_this_crate() -> Self {
        Self::parse(&tree::read("src/lib.rs").text).unwrap_or_else(|e| panic!("src/lib.rs: {e}"))
    }

    /// Reads the rows `| layer | module | what | may use | pure |`. "May use" is `–` for nothing,
    /// names, layers as `0–4`, or `all` for every row above; a pure module may use only pure ones.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rows = Vec::new();
        for line in text.lines().filter_map(|l| l.strip_prefix("//! |")) {
            let cells: Vec<&str> = line.trim_end_matches('|').split('|').map(str::trim).collect();
            if cells[0] == "layer" || cells[0].starts_with("---") {
                continue;
            }
            let row = parse_row(&cells, &rows).map_err(|e| format!("row `{line}`: {e}"))?;
            rows.push(row);
        }
        if rows.is_empty() { Err("there is no module table".to_owned()) } else { Ok(Self(rows)) }
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.0
    }

    /// The row of a module.
    pub fn row(&self, module: &str) -> Option<&Row> {
        self.0.iter().find(|r| r.module == module)
    }
}

/// Where the table, the `pub mod` lines of `src/lib.rs` and the entries of `src` disagree.
pub fn differences(table: &Table, lib: &Source, entries: &BTreeSet<String>) -> Vec<String> {
    let rows: BTreeSet<&str> = table.rows().iter().map(|r| r.module.as_str()).collect();
    let mods: BTreeSet<&str> = lib
        .code
        .windows(3)
        .filter(|w| w[0].is("mod") && w[2].is(";"))
        .map(|w| w[1].text.as_str())
        .collect();
    let entries: BTreeSet<&str> = entries.iter().map(String::as_str).collect();
    let mut out = Vec::new();
    let mut say = |names: Vec<&str>, what: &str| {
        out.extend(names.iter().map(|name| format!("src/lib.rs: `{name}` {what}")));
    };
    say(rows.difference(&mods).copied().collect(), "has a row in the table but no `mod` line");
    say(mods.difference(&rows).copied().collect(), "is a module without a row in the table");
    say(entries.difference(&mods).copied().collect(), "lies in src but is no module");
    out
}

fn parse_row(cells: &[&str], above: &[Row]) -> Result<Row, String> {
    let [layer, module, _, may_use, pure] = cells else {
        return Err(format!("{} cells where 5 are due", cells.len()));
    };
    let layer: u8 = layer.parse().map_err(|_| format!("`{layer}` is no layer"))?;
    if above.last().is_some_and(|r| r.layer > layer) {
        return Err("rows stand in the order of their layers".to_owned());
    }
    let module = module.trim_matches('`').to_owned();
    if above.iter().any(|r| r.module == module) {
        return Err(format!("`{module}` has two rows"));
    }
    let pure = match *pure {
        "yes" => true,
        "no" => false,
        other => return Err(format!("pure is yes or no, not `{other}`")),
    };
    let may_use = parse_uses(may_use, above)?;
    let is_pure = |name: &String| above.iter().any(|r| r.module == *name && r.pure);
    if let Some(impure) = may_use.iter().find(|name| pure && !is_pure(name)) {
        return Err(format!("a pure module cannot use `{impure}`, which is not pure"));
    }
    Ok(Row { layer, module, may_use, pure })
}

fn parse_uses(cell: &str, above: &[Row]) -> Result<BTreeSet<String>, String> {
    let mut out = BTreeSet::new();
    for word in cell.split([' ', ',']).filter(|w| !w.is_empty() && *w != "–") {
        let range = word.split_once('–').map(|(a, b)| (a.parse::<u8>(), b.parse::<u8>()));
        let names: Vec<&Row> = match (word, range) {
            ("all", _) => above.iter().collect(),
            (_, Some((Ok(from), Ok(to)))) => {
                above.iter().filter(|r| (from..=to).contains(&r.layer)).collect()
            }
            _ => above.iter().filter(|r| r.module == word).collect(),
        };
        if names.is_empty() {
            return Err(format!("`{word}` is no row above this one"));
        }
        out.extend(names.into_iter().map(|r| r.module.clone()));
    }
    Ok(out)
}
