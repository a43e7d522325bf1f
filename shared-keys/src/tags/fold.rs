//! Keys that do not fit into one header → prefixes that they share.
//!
//! A key stands in a response's tags as itself and as each prefix that covers it, so that a record of any of them is found.
//! *Folding* a prefix replaces all that lies below it by one token, its *fold*. So that an invalidation of a key below still
//! covers the response, the edge enters the record of a key or prefix also under the fold of every prefix above it
//! ([`Scope::edge_hashes`]). The price: an invalidation of another key below the prefix covers the response as well.
//!
//! The prefix of an app alone, without its version, is never folded: it covers no more than the one behind it, and each
//! prefix that can be folded costs the edge a row.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::ScopeHash;
use crate::keys::prefix::tops;

/// The folds that stand for what lies at `text`, in the tags of a response that was built from it.
pub(crate) fn folds_above(text: &str) -> impl Iterator<Item = ScopeHash> {
    tops(text).filter(move |top| top.len() < text.len() && can_fold(top)).map(ScopeHash::fold)
}

fn can_fold(top: &str) -> bool {
    top.contains(':')
}

/// The tokens of the keys, at most `room`: with nothing folded that need not be.
///
/// It begins with everything folded, and unfolds for as long as there is room: the widest prefixes before those below
/// them, and of these what takes the least room first.
///
/// # Errors
/// How many tokens there would be with everything folded, if that is more than `room`.
pub(crate) fn fold(keys: &BTreeSet<&str>, room: usize) -> Result<BTreeSet<ScopeHash>, usize> {
    let tree = Tree::of(keys);
    let mut shown = Shown { tree: &tree, tokens: BTreeSet::new(), used: 0, folded: BTreeSet::new() };
    tree.tops.keys().copied().filter(|top| !top.contains(':')).for_each(|app| shown.add(app, 0));
    if shown.used > room {
        return Err(shown.used);
    }
    while let Some((depth, cost, top)) = shown.folded.pop_first() {
        // What does not fit stays folded, and what follows may still fit.
        if shown.used + cost <= room {
            shown.unfold(top, depth);
        }
    }
    Ok(shown.tokens)
}

/// Every prefix of the keys, by its top.
struct Tree<'a> {
    tops: BTreeMap<&'a str, Node<'a>>,
}

#[derive(Default)]
struct Node<'a> {
    is_key: bool,
    /// The tops one segment further down.
    below: BTreeSet<&'a str>,
}

impl Node<'_> {
    /// The tokens that show it, with what is below it folded: its prefix, itself if it is a key, and the fold.
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

    /// How many more tokens there are once what is below `node` is shown instead of its fold.
    fn cost(&self, node: &Node<'_>) -> usize {
        let width: usize = node.below.iter().filter_map(|top| self.tops.get(top)).map(Node::width).sum();
        width.saturating_sub(1)
    }
}

/// The tokens so far, and what of them could be unfolded.
struct Shown<'a> {
    tree: &'a Tree<'a>,
    tokens: BTreeSet<ScopeHash>,
    /// How many tokens that is; more than in the set, should two hashes be equal.
    used: usize,
    /// Depth, what unfolding it costs, top.
    folded: BTreeSet<(usize, usize, &'a str)>,
}

impl<'a> Shown<'a> {
    /// Shows a prefix, with what is below it folded if it can be.
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

    /// Shows what is below a prefix instead of its fold.
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
    fn only_what_does_not_fit_is_folded() {
        let items = (0..100).map(|n| format!("a:v1:{{item:{n}}}"));
        let orders = (0..5).map(|n| format!("a:v1:{{user:42}}:orders:{n}"));
        let keys: Vec<_> = items.chain(orders).collect();
        let tokens = fold_texts(&keys, 100).unwrap();
        assert!(is_covered(&tokens, &key("a:v1:{item:7}")) && is_covered(&tokens, &key("a:v1:{item:777}")));
        assert!(is_covered(&tokens, &key("a:v1:{user:42}:orders:3")));
        for other in
            ["a:v1:{user:42}:orders:7", "a:v1:{user:42}", "a:v1:{user:4}", "a:v1:{other:1}", "a:v2:{item:7}", "a:v1"]
        {
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
        fn what_is_not_folded_is_covered_by_no_other_key(
            keys in proptest::collection::vec("a:v1:\\{[ab]:[0-9]\\}(:[ab]){0,2}", 1..9), other in "a:v1:\\{[ab]:[0-9]\\}(:[ab]){0,2}",
        ) {
            prop_assert_eq!(is_covered(&unfolded(&keys), &key(&other)), keys.contains(&other));
        }
    }
}
