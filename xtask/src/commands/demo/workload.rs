//! The requests of the load: the same on every machine and in every pass, over a working set with a
//! skewed popularity.

use std::collections::HashSet;

use rand::distr::Distribution;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::Zipf;
use strata_load::Operation;

use super::api::{price_body, product_path};

const SEED: u64 = 42;
/// Studies of web sites found exponents of 0.6 to 1.03 (Breslau et al., "Web caching and Zipf-like
/// distributions", INFOCOM 1999, and later ones).
const EXPONENT: f64 = 0.99;
/// The products of the database, and those of them that are read and written.
const PRODUCTS: u32 = 50_000;
const READ_PRODUCTS: u32 = 1_000;
const CATEGORIES: u32 = 200;
const READ_CATEGORIES: u32 = 40;
/// The users of the database, and those of them who are online.
const USERS: u32 = 20_000;
const ONLINE_USERS: u32 = 200;
/// Most visitors see the first page in the default order.
const SORTS: [&str; 5] = ["rank", "rank", "rank", "price", "name"];
const PAGES: [u32; 5] = [1, 1, 1, 2, 3];
/// A prime that divides none of the tables' sizes, so that multiplication maps ids one to one.
const SPREAD: u64 = 7_919;

/// The proportion of reads and writes.
#[derive(Clone, Copy)]
pub(crate) enum Mix {
    /// One request in 200 changes a price.
    ReadMostly,
    /// One request in ten does.
    WriteHeavy,
}

impl Mix {
    fn writes_per_thousand(self) -> u32 {
        match self {
            Self::ReadMostly => 5,
            Self::WriteHeavy => 100,
        }
    }
}

/// Generates the first `requests` requests of one of the mix's fixed sequences.
pub(crate) fn generate(mix: Mix, sequence: u32, requests: u32) -> Vec<Operation> {
    let mut draw = Draw::new(sequence);
    (0..requests).map(|n| draw.operation(mix, sequence * 1_000_000 + n)).collect()
}

/// Returns a read of each resource of the working set.
pub(crate) fn working_set() -> Vec<Operation> {
    let products = (1..=READ_PRODUCTS).map(|rank| product_path(spread(rank, PRODUCTS)));
    let lists = (1..=READ_CATEGORIES).flat_map(|rank| {
        let kinds = [1, 2, 3].into_iter().flat_map(|page| ["rank", "price", "name"].map(|sort| (page, sort)));
        kinds.map(move |(page, sort)| list_path(spread(rank, CATEGORIES), sort, page))
    });
    let users = (1..=ONLINE_USERS).map(|rank| spread(rank, USERS));
    let users = users.flat_map(|user| [profile_path(user), orders_path(user)]);
    products.chain(lists).chain(users).map(Operation::Get).collect()
}

/// Describes the load in a sentence, without its end.
pub(crate) fn description() -> String {
    format!(
        "{} connections read the {} resources that are in demand: pages of {} of the {} products and lists of \
         {READ_CATEGORIES} of the {CATEGORIES} categories, by Zipf's law with the exponent {EXPONENT}, and, with 6% of \
         the requests, the profiles and orders of {ONLINE_USERS} users, which the edge may not store; \
         one request in {} changes a price",
        super::load::CONNECTIONS,
        grouped(working_set().len()),
        grouped(READ_PRODUCTS as usize),
        grouped(PRODUCTS as usize),
        1000 / Mix::ReadMostly.writes_per_thousand()
    )
}

/// Returns the share of these reads whose resource was read before, in `warm` or among them, and
/// whose product was not changed since; from 0 to 1. No cache can answer more, or it would answer
/// with an old price. The lists that a changed product is on are not counted, so the true bound is
/// lower.
pub(crate) fn hit_potential(warm: &[Operation], operations: &[Operation]) -> f64 {
    let mut known: HashSet<&str> = HashSet::new();
    let (mut reads, mut hits) = (0_usize, 0_usize);
    for (operation, is_measured) in
        warm.iter().map(|operation| (operation, false)).chain(operations.iter().map(|one| (one, true)))
    {
        match operation {
            Operation::Get(path) => {
                let is_known = !known.insert(path);
                reads += usize::from(is_measured);
                hits += usize::from(is_measured && is_known);
            }
            Operation::Put(path, _) => {
                known.remove(path.as_str());
            }
        }
    }
    hits as f64 / reads.max(1) as f64
}

struct Draw {
    random: Xoshiro256PlusPlus,
    product: Zipf<f64>,
    category: Zipf<f64>,
}

impl Draw {
    fn new(sequence: u32) -> Self {
        let zipf = |n: u32| {
            Zipf::new(f64::from(n), EXPONENT).expect("more than one element, and an exponent above zero")
        };
        Self {
            random: Xoshiro256PlusPlus::seed_from_u64(SEED + u64::from(sequence)),
            product: zipf(READ_PRODUCTS),
            category: zipf(READ_CATEGORIES),
        }
    }

    fn operation(&mut self, mix: Mix, n: u32) -> Operation {
        if self.random.random_ratio(mix.writes_per_thousand(), 1000) {
            // Each write of all sequences has its own price, so that an answer identifies it.
            return Operation::Put(product_path(self.product()), price_body(100 + n));
        }
        Operation::Get(match self.random.random_range(0..100) {
            0..58 => product_path(self.product()),
            58..94 => {
                let category = spread(self.category.sample(&mut self.random) as u32, CATEGORIES);
                let (sort, page) = (self.random.random_range(0..5), self.random.random_range(0..5));
                list_path(category, SORTS[sort], PAGES[page])
            }
            94..98 => profile_path(self.user()),
            _ => orders_path(self.user()),
        })
    }

    fn product(&mut self) -> u32 {
        spread(self.product.sample(&mut self.random) as u32, PRODUCTS)
    }

    fn user(&mut self) -> u32 {
        spread(self.random.random_range(1..=ONLINE_USERS), USERS)
    }
}

fn list_path(category: u32, sort: &str, page: u32) -> String {
    format!("/api/products?category={category}&page={page}&sort={sort}")
}

fn profile_path(user: u32) -> String {
    format!("/api/users/{user}/profile")
}

fn orders_path(user: u32) -> String {
    format!("/api/users/{user}/orders?page=1")
}

/// Maps a rank to an id from 1 to `count`. Popular ids are spread over the whole range, and so over
/// all categories.
fn spread(rank: u32, count: u32) -> u32 {
    (u64::from(rank) * SPREAD % u64::from(count)) as u32 + 1
}

/// Renders a number with commas between its thousands.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn paths(operations: &[Operation]) -> impl Iterator<Item = &str> {
        operations.iter().filter_map(|operation| match operation {
            Operation::Get(path) => Some(path.as_str()),
            Operation::Put(..) => None,
        })
    }

    #[test]
    fn every_run_has_the_same_requests_and_a_shorter_load_is_the_beginning_of_a_longer_one() {
        let long = generate(Mix::ReadMostly, 1, 2_000);
        assert_eq!(generate(Mix::ReadMostly, 1, 500), long[..500]);
    }

    #[test]
    fn every_read_is_of_the_working_set() {
        let set = working_set();
        let set: HashSet<&str> = paths(&set).collect();
        assert_eq!(set.len(), 1_000 + 40 * 9 + 200 * 2);
        let operations = generate(Mix::ReadMostly, 1, 20_000);
        assert!(paths(&operations).all(|path| set.contains(path)));
    }

    #[test]
    fn the_mixes_differ_in_their_writes() {
        for (mix, range) in [(Mix::ReadMostly, 50..150), (Mix::WriteHeavy, 1_800..2_200)] {
            let operations = generate(mix, 1, 20_000);
            let writes = operations.len() - paths(&operations).count();
            assert!(range.contains(&writes), "{writes}");
        }
    }

    #[test]
    fn few_paths_get_many_requests_and_many_paths_get_few() {
        let operations = generate(Mix::ReadMostly, 1, 20_000);
        let mut counts: HashMap<&str, u32> = HashMap::new();
        paths(&operations).for_each(|path| *counts.entry(path).or_default() += 1);
        let mut counts: Vec<u32> = counts.into_values().collect();
        counts.sort_unstable();
        let top: u32 = counts.iter().rev().take(counts.len() / 10).sum();
        assert!(top > 9_000, "the tenth that is read most has {top} of 20,000 requests");
        assert!(counts.len() > 1_000, "{}", counts.len());
    }

    #[test]
    fn the_hit_potential_counts_first_reads_and_changes_as_misses() {
        let get = |path: &str| Operation::Get(path.to_owned());
        let put = Operation::Put("/a".to_owned(), String::new());
        assert_eq!(hit_potential(&[], &[get("/a"), get("/b"), get("/a"), get("/a")]), 0.5);
        assert_eq!(hit_potential(&[get("/a")], &[get("/a"), put, get("/a"), get("/a")]), 2.0 / 3.0);
        assert_eq!(hit_potential(&[], &[]), 0.0);
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!([grouped(7), grouped(20_000), grouped(1_234_567)], ["7", "20,000", "1,234,567"]);
    }

    #[test]
    fn spreading_maps_different_ranks_to_different_ids() {
        for count in [PRODUCTS, CATEGORIES, USERS] {
            let ids: HashSet<u32> = (1..=count).map(|rank| spread(rank, count)).collect();
            assert_eq!(ids.len(), count as usize);
        }
    }
}
