//! Which chain a call is for, where one master serves several (docs/chain.md, CH-K1 to CH-K3).

use crate::config::KeyMap;
use crate::service::Touches;

/// Bytes of a key that a message shows at most.
const SHOWN: usize = 40;

/// The chain of what commands touch.
///
/// # Errors
/// If they touch what is of more than one; in words that name the chains and say what to do.
pub fn chain_for(map: &KeyMap, touched: impl IntoIterator<Item = Touches>) -> Result<u32, String> {
    // The chain, and what of it is touched.
    let mut first: Option<(u32, String)> = None;
    for touches in touched {
        let parts: Vec<(u32, String)> = match touches {
            Touches::All => vec![(map.chain_of_all().ok_or_else(|| all(map))?, String::new())],
            Touches::Prefix(prefix) => {
                let chain = map.chain_of_prefix(&prefix).ok_or_else(|| below(map, &prefix))?;
                vec![(chain, format!("keys that begin with {}", shown(&prefix)))]
            }
            Touches::Keys(keys) => {
                let part = |key: &bytes::Bytes| (map.chain_of(key), format!("key {}", shown(key)));
                keys.iter().map(part).collect()
            }
        };
        for (chain, what) in parts {
            match &first {
                None => first = Some((chain, what)),
                Some((other, theirs)) if *other != chain => {
                    return Err(format!(
                        "the call touches two chains: {theirs} is of chain {other}, {what} of \
                         chain {chain}; a call runs on one chain, so make one call for each"
                    ));
                }
                Some(_) => {}
            }
        }
    }
    Ok(first.map_or_else(|| map.chain_of_none(), |(chain, _)| chain))
}

/// Whether all that commands touch is of one chain: what touches nothing is of each.
pub fn is_for(map: &KeyMap, chain: u32, touched: impl IntoIterator<Item = Touches>) -> bool {
    touched.into_iter().all(|touches| match touches {
        Touches::All => map.chain_of_all() == Some(chain),
        Touches::Prefix(prefix) => map.chain_of_prefix(&prefix) == Some(chain),
        Touches::Keys(keys) => keys.iter().all(|key| map.chain_of(key) == chain),
    })
}

fn all(map: &KeyMap) -> String {
    format!(
        "a command that reads or changes more than single keys cannot be sent to {} chains, each \
         of which has its own keys; name the keys, one call for each",
        map.chains()
    )
}

fn below(map: &KeyMap, prefix: &[u8]) -> String {
    format!(
        "keys that begin with {} are of more than one of the {} chains, and a call runs on one; \
         name the keys, one call for each",
        shown(prefix),
        map.chains()
    )
}

fn shown(key: &[u8]) -> String {
    let more = if key.len() > SHOWN { "..." } else { "" };
    format!("\"{}\"{more}", key[..key.len().min(SHOWN)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ChainEntry, Share};
    use bytes::Bytes;

    fn map(shares: [Share; 2]) -> KeyMap {
        let entry = |(number, share)| ChainEntry { number, share, length: 1, members: Vec::new() };
        KeyMap::new(&(4..).zip(shares).map(entry).collect::<Vec<_>>())
    }

    fn keys(names: &[&'static str]) -> Touches {
        Touches::Keys(names.iter().map(|n| Bytes::from_static(n.as_bytes())).collect())
    }

    fn prefix(of: &'static str) -> Touches {
        Touches::Prefix(Bytes::from_static(of.as_bytes()))
    }

    /// A map, what is touched, and its chain or what is said.
    type Row<'a> = (&'a KeyMap, Vec<Touches>, Result<u32, &'a [&'a str]>);

    /// CH-K1 and CH-K2. Slots: `colour` is in 976, `a` in 152, `key-1` in 242.
    #[test]
    fn a_call_is_for_the_one_chain_whose_keys_it_touches() {
        let slots = map([Share::Slots(vec![(0, 511)]), Share::Slots(vec![(512, 1023)])]);
        let ranges = map([Share::From(Vec::new()), Share::From(b"k".to_vec())]);
        let two = "make one call for each";
        let rows: [Row<'_>; 13] = [
            (&slots, vec![], Ok(5)),
            (&slots, vec![keys(&[])], Ok(5)),
            (&slots, vec![keys(&["a"]), keys(&["key-1", "a"])], Ok(4)),
            (&slots, vec![keys(&[]), keys(&["colour"])], Ok(5)),
            (
                &slots,
                vec![keys(&["a"]), keys(&["colour"])],
                Err(&["key \"a\" is of chain 4", "key \"colour\" of chain 5", two]),
            ),
            (&slots, vec![keys(&["a", "colour"])], Err(&["touches two chains", two])),
            (&slots, vec![prefix("a")], Err(&["begin with \"a\"", "name the keys"])),
            (&slots, vec![Touches::All], Err(&["to 2 chains", "name the keys"])),
            (&ranges, vec![prefix("a"), keys(&["b"])], Ok(4)),
            (&ranges, vec![prefix("ka"), keys(&["k", "z"])], Ok(5)),
            (&ranges, vec![prefix("")], Err(&["more than one of the 2 chains"])),
            (&ranges, vec![prefix("ka"), keys(&["a"])], Err(&["keys that begin with \"ka\"", two])),
            (&ranges, vec![keys(&[]), Touches::All], Err(&["to 2 chains"])),
        ];
        for (map, touched, expected) in rows {
            let found = chain_for(map, touched.clone());
            match (&found, expected) {
                (Ok(chain), Ok(expected)) => {
                    assert_eq!(*chain, expected, "{touched:?}");
                    let touches_something = touched.iter().any(|t| *t != keys(&[]));
                    let elsewhere = 9 - expected;
                    assert!(is_for(map, expected, touched.clone()), "{touched:?}");
                    assert_eq!(is_for(map, elsewhere, touched.clone()), !touches_something);
                }
                (Err(why), Err(parts)) => {
                    assert!(parts.iter().all(|part| why.contains(part)), "{touched:?}: {why}");
                    assert!([4, 5].iter().all(|c| !is_for(map, *c, touched.clone())));
                }
                other => panic!("{touched:?}: {other:?}"),
            }
        }
        let one = KeyMap::new(&[]);
        assert_eq!(chain_for(&one, [Touches::All, keys(&["a"])]), Ok(0));
        assert!(is_for(&one, 0, [Touches::All, prefix("")]));
    }

    #[test]
    fn long_and_odd_keys_are_shown_short_and_plain() {
        assert_eq!(shown(b"a\n\xff"), "\"a\\n\\xff\"");
        assert_eq!(shown(&[b'x'; 50]), format!("\"{}\"...", "x".repeat(40)));
    }
}
