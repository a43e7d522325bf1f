use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::*;

fn hash<V: Serialize>(value: &V) -> u64 {
    fingerprint(value, Format::Json).unwrap().hash
}

fn doubt<V: Serialize>(value: &V) -> String {
    fingerprint(value, Format::Json).unwrap().doubt.unwrap().to_string()
}

#[test]
fn values_that_serialise_alike_have_one_hash_and_others_have_another() {
    let distinct = [
        hash(&()),
        hash(&Some(1)),
        hash(&1),
        hash(&1.0),
        hash(&"1"),
        hash(&true),
        hash(&0.0),
        hash(&-0.0),
        hash(&[1]),
        hash(&[1, 1]),
        hash(&(1, 2)),
        hash(&(2, 1)),
        hash(&[[1], [2]]),
        hash(&HashMap::from([(1, 2)])),
        hash(&HashMap::from([(2, 1)])),
        hash(&Tree::Leaf),
        hash(&Tree::Boxed(Box::new(Tree::Leaf))),
    ];
    assert_eq!(distinct.iter().collect::<HashSet<_>>().len(), distinct.len());
    // Two sets have their elements in different orders.
    let set = || (0..100).collect::<HashSet<_>>();
    let map = || (0..100).map(|n| (n, n)).collect::<HashMap<_, _>>();
    assert_eq!((hash(&set()), hash(&map())), (hash(&set()), hash(&map())));
}

#[test]
fn a_doubt_names_the_part_of_the_value_and_how_to_correct_it() {
    #[derive(Serialize)]
    struct Outer {
        inner: Inner,
    }
    #[derive(Serialize)]
    struct Inner {
        ratio: f64,
    }
    let message = doubt(&Outer { inner: Inner { ratio: f64::NAN } });
    assert!(message.contains("use an enum, or `Format::Msgpack` (at .inner.ratio)"), "{message}");
    assert!(doubt(&Some(None::<u8>)).starts_with("expected a value that is not stored as null"));
}

#[derive(Serialize, Deserialize)]
enum Tree {
    Leaf,
    Children(Vec<Tree>),
    Boxed(Box<Tree>),
    Pair(Box<Tree>, u8),
    Named { child: Box<Tree> },
    Maybe(Option<Box<Tree>>),
}

#[test]
fn a_value_is_too_deep_if_the_formats_reader_refuses_it() {
    let wraps: [fn(Tree) -> Tree; 5] = [
        |tree| Tree::Children(vec![tree]),
        |tree| Tree::Boxed(Box::new(tree)),
        |tree| Tree::Pair(Box::new(tree), 1),
        |tree| Tree::Named { child: Box::new(tree) },
        |tree| Tree::Maybe(Some(Box::new(tree))),
    ];
    for wrap in wraps {
        let (mut tree, mut refused) = (Tree::Leaf, 0);
        for depth in 1..200 {
            tree = wrap(tree);
            let is_faithful = |format| fingerprint(&tree, format).is_ok();
            let is_readable = |format: Format| {
                let mut raw = Vec::new();
                format.write(&tree, &mut raw).is_ok() && format.read::<Tree>(&raw).is_ok()
            };
            assert_eq!(is_faithful(Format::Json), is_readable(Format::Json), "at {depth}");
            refused += u32::from(!is_faithful(Format::Json));
            #[cfg(feature = "msgpack")]
            assert!(!is_faithful(Format::Msgpack) || is_readable(Format::Msgpack), "at {depth}");
        }
        assert!(refused > 0);
    }
}
