//! Folds keys that do not fit into one header into prefixes that they share.
//!
//! A response's tags hold each key and each prefix that covers it, so that a record of any of them
//! is found. *Folding* a prefix replaces everything below it by one token, the prefix's *fold*. The
//! edge files the record of a key or prefix also under the fold of every prefix above it
//! ([`Scope::edge_hashes`](crate::Scope::edge_hashes)), so an invalidation of a folded key still
//! covers the response. An invalidation of any other key below the prefix then covers it as well.
//!
//! The prefix of an app without its version is never folded. It covers no more than the prefix with
//! the version, and each foldable prefix costs the edge a row per record.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::ScopeHash;
use crate::keys::prefix::tops;

/// Returns the folds that stand for the key `text` in the tags of a response built from it.
pub(crate) fn folds_above(text: &str) -> impl Iterator<Item = ScopeHash> {
    tops(text).filter(move |top| top.len() < text.len() && can_fold(top)).map(ScopeHash::fold)
}

fn can_fold(top: &str) -> bool {
    top.contains(':')
}

/// Returns the tokens of the keys, at most `room`, with as little folded as possible.
///
/// It begins with everything folded and unfolds while there is room: wide prefixes before those
/// below them, and among those of one depth the cheapest first.
///
/// # Errors
/// Returns the number of tokens with everything folded, if that exceeds `room`.
pub(crate) fn fold(keys: &BTreeSet<&str>, room: usize) -> Result<BTreeSet<ScopeHash>, usize> {
    let tree = Tree::of(keys);
    let mut shown = Shown { tree: &tree, tokens: BTreeSet::new(), used: 0, folded: BTreeSet::new() };
    tree.tops.keys().copied().filter(|top| !top.contains(':')).for_each(|app| shown.add(app, 0));
    if shown.used > room {
        return Err(shown.used);
    }
    while let Some((depth, cost, top)) = shown.folded.pop_first() {
        // A prefix that does not fit stays folded; a later one may still fit.
        if shown.used + cost <= room {
            shown.unfold(top, depth);
        }
    }
    Ok(shown.tokens)
}

/// All prefixes of the keys, by their tops.
struct Tree<'a> {
    tops: BTreeMap<&'a str, Node<'a>>,
}

#[derive(Default)]
struct Node<'a> {
    is_key: bool,
    /// The tops one segment below.
    below: BTreeSet<&'a str>,
}

impl Node<'_> {
    /// Returns the number of tokens with everything below the node folded: the prefix, the key if
    /// it is one, and the fold.
    fn width(&self) -> usize {
        1 + usize::from(self.is_key) + usize::from(!self.below.is_empty())
    }
}

impl<'a> Tree<'a> {
    fn of(keys: &BTreeSet<&'a str>) -> Self {
        let mut nodes: BTreeMap<&str, Node<'_>> = BTreeMap::new();
        for &key in keys {
            let mut above = None;
            for top in tops(key) {
                nodes.entry(top).or_default();
                if let Some(node) = above.and_then(|above| nodes.get_mut(above)) {
                    node.below.insert(top);
                }
                above = Some(top);
            }
            nodes.entry(key).or_default().is_key = true;
        }
        Self { tops: nodes }
    }

    /// Returns the number of additional tokens once the fold of `node` is replaced by what is below
    /// it.
    fn cost(&self, node: &Node<'_>) -> usize {
        let width: usize = node.below.iter().filter_map(|top| self.tops.get(top)).map(Node::width).sum();
        width.saturating_sub(1)
    }
}

/// The tokens so far, and the folded prefixes that could be unfolded.
struct Shown<'a> {
    tree: &'a Tree<'a>,
    tokens: BTreeSet<ScopeHash>,
    /// The number of tokens, which exceeds the size of the set if two hashes are equal.
    used: usize,
    /// Depth, cost of unfolding, and top.
    folded: BTreeSet<(usize, usize, &'a str)>,
}

impl<'a> Shown<'a> {
    /// Adds a prefix, with what is below it folded if possible.
    fn add(&mut self, top: &'a str, depth: usize) {
        let Some(node) = self.tree.tops.get(top) else { return };
        self.used += node.width();
        self.tokens.insert(ScopeHash::prefix(top));
        if node.is_key {
            self.tokens.insert(ScopeHash::key(top));
        }
        if node.below.is_empty() {
            return;
        }
        self.tokens.insert(ScopeHash::fold(top));
        if can_fold(top) {
            self.folded.insert((depth, self.tree.cost(node), top));
        } else {
            self.unfold(top, depth);
        }
    }

    /// Replaces the fold of a prefix by what is below it.
    fn unfold(&mut self, top: &'a str, depth: usize) {
        let Some(node) = self.tree.tops.get(top) else { return };
        self.used -= 1;
        self.tokens.remove(&ScopeHash::fold(top));
        node.below.iter().for_each(|below| self.add(below, depth + 1));
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::Scope;

    fn fold_texts(keys: &[String], room: usize) -> Result<BTreeSet<ScopeHash>, usize> {
        fold(&keys.iter().map(String::as_str).collect(), room)
    }

    fn unfolded(keys: &[String]) -> BTreeSet<ScopeHash> {
        keys.iter().flat_map(|key| ScopeHash::of_key(key)).collect()
    }

    fn is_covered(tokens: &BTreeSet<ScopeHash>, scope: &Scope) -> bool {
        scope.edge_hashes().iter().any(|hash| tokens.contains(hash))
    }

    fn key(text: &str) -> Scope {
        Scope::Key(text.into())
    }

    #[test]
    fn keys_are_folded_only_as_far_as_needed() {
        let items = (0..100).map(|n| format!("a:v1:{{item:{n}}}"));
        let orders = (0..5).map(|n| format!("a:v1:{{user:42}}:orders:{n}"));
        let keys: Vec<_> = items.chain(orders).collect();
        let tokens = fold_texts(&keys, 100).unwrap();
        assert!(is_covered(&tokens, &key("a:v1:{item:7}")) && is_covered(&tokens, &key("a:v1:{item:777}")));
        assert!(is_covered(&tokens, &key("a:v1:{user:42}:orders:3")));
        assert!(is_covered(&tokens, &key("a:v2:{item:7}")), "the same datum in another schema version");
        for other in [
            "a:v1:{user:42}:orders:7",
            "a:v1:{user:42}",
            "a:v1:{user:4}",
            "a:v1:{other:1}",
            "a:v2:{other:1}",
            "a:v1",
        ] {
            assert!(!is_covered(&tokens, &key(other)), "{other}");
        }
    }

    #[test]
    fn a_key_above_others_keeps_its_own_token() {
        let keys: Vec<_> = (0..9).map(|n| format!("a:v1:{{b:1}}:{n}")).chain(["a:v1:{b:1}".into()]).collect();
        let tokens = fold_texts(&keys, 6).unwrap();
        let expected = ["a", "a:v1", "a:v1:{b", "a:v1:{b:1}"].map(ScopeHash::prefix);
        let folded = [ScopeHash::key("a:v1:{b:1}"), ScopeHash::fold("a:v1:{b:1}")];
        assert_eq!(tokens, expected.into_iter().chain(folded).collect());
    }

    #[test]
    fn keys_of_two_apps_do_not_fold_together() {
        let keys = ["a:v1:{x:1}", "b:v1:{x:1}"].map(String::from);
        assert_eq!(fold_texts(&keys, 5), Err(6));
        let tokens = fold_texts(&keys, 6).unwrap();
        assert!(is_covered(&tokens, &key("a:v1:{y:1}")) && !is_covered(&tokens, &key("c:v1:{x:1}")));
    }

    proptest! {
        #[test]
        fn folding_never_drops_coverage_and_never_exceeds_the_room(
            keys in proptest::collection::vec("[ab](:v1(:\\{[ab](:[0-9%~]{1,2}\\}(:[ab](:[0-9])?)?)?)?)?", 0..30),
            room in 0usize..60,
        ) {
            let all = unfolded(&keys);
            match fold_texts(&keys, room) {
                Ok(tokens) => {
                    prop_assert!(tokens.len() <= room);
                    for text in &keys {
                        for scope in Scope::of_key(text) {
                            prop_assert!(is_covered(&tokens, &scope), "{}", scope);
                        }
                    }
                    prop_assert_eq!(tokens == all, all.len() <= room);
                }
                Err(least) => {
                    prop_assert!(least > room && least <= all.len());
                    prop_assert_eq!(fold_texts(&keys, least).map(|tokens| tokens.len()), Ok(least));
                }
            }
        }

        #[test]
        fn a_key_that_is_not_folded_is_covered_only_by_its_own_record(
            keys in proptest::collection::vec("a:v1:\\{[ab]:[0-9]\\}(:[ab]){0,2}", 1..9), other in "a:v1:\\{[ab]:[0-9]\\}(:[ab]){0,2}",
        ) {
            prop_assert_eq!(is_covered(&unfolded(&keys), &key(&other)), keys.contains(&other));
        }
    }
}
