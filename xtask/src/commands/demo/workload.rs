//! The requests of the load: the same on every machine and in every pass, with a skewed popularity.

use std::collections::HashSet;

use rand::distr::Distribution;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::Zipf;

use super::api::product_path;

const SEED: u64 = 42;
const EXPONENT: f64 = 0.99;
const READS_PERCENT: u32 = 95;
const PRODUCTS: u32 = 50_000;
const CATEGORIES: u32 = 200;
const USERS: u32 = 20_000;
/// A prime that divides none of the three, so that multiplication maps ids one to one.
const SPREAD: u64 = 7_919;

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation {
    Read { path: String },
    SetPrice { product: u32, price_cents: u32 },
}

/// All requests, in order.
pub(crate) struct Workload {
    pub(crate) operations: Vec<Operation>,
}

impl Workload {
    /// Generates the first `requests` requests of the fixed sequence.
    pub(crate) fn generate(requests: usize) -> Self {
        let mut draw = Draw::new();
        let operations = (0..requests).map(|n| draw.operation(n)).collect();
        Self { operations }
    }

    /// Describes the load in a sentence.
    pub(crate) fn description(&self) -> String {
        format!(
            "{} requests over {} products, {CATEGORIES} categories and {} users, Zipf {EXPONENT}, {READS_PERCENT}% reads, \
             {} connections; {:.0}% of the reads are the first of their resource",
            grouped(self.operations.len()),
            grouped(PRODUCTS as usize),
            grouped(USERS as usize),
            super::load::CONNECTIONS,
            self.first_time_share() * 100.0
        )
    }

    /// Returns the share of reads that no cache can answer, since they are the first of their
    /// resource; from 0 to 1.
    fn first_time_share(&self) -> f64 {
        let reads = self.operations.iter().filter_map(|operation| match operation {
            Operation::Read { path } => Some(path),
            Operation::SetPrice { .. } => None,
        });
        let (mut seen, mut count) = (HashSet::new(), 0_usize);
        for path in reads {
            seen.insert(path);
            count += 1;
        }
        seen.len() as f64 / count.max(1) as f64
    }
}

struct Draw {
    random: Xoshiro256PlusPlus,
    product: Zipf<f64>,
    category: Zipf<f64>,
    user: Zipf<f64>,
}

impl Draw {
    fn new() -> Self {
        let zipf = |n: u32| {
            Zipf::new(f64::from(n), EXPONENT).expect("more than one element, and an exponent above zero")
        };
        Self {
            random: Xoshiro256PlusPlus::seed_from_u64(SEED),
            product: zipf(PRODUCTS),
            category: zipf(CATEGORIES),
            user: zipf(USERS),
        }
    }

    fn operation(&mut self, n: usize) -> Operation {
        if !self.random.random_ratio(READS_PERCENT, 100) {
            let product = id(&mut self.random, &self.product, PRODUCTS);
            // Each write sets a different price, so that an answer identifies its write.
            let price_cents = 100 + n as u32;
            return Operation::SetPrice { product, price_cents };
        }
        let path = match self.random.random_range(0..100) {
            0..50 => product_path(id(&mut self.random, &self.product, PRODUCTS)),
            50..85 => {
                let category = id(&mut self.random, &self.category, CATEGORIES);
                // Most visitors see the first page in the default order.
                let sort = ["rank", "rank", "rank", "price", "name"][self.random.random_range(0..5)];
                let page = [1, 1, 1, 2, 3][self.random.random_range(0..5)];
                format!("/api/products?category={category}&page={page}&sort={sort}")
            }
            85..95 => format!("/api/users/{}/profile", id(&mut self.random, &self.user, USERS)),
            _ => format!("/api/users/{}/orders?page=1", id(&mut self.random, &self.user, USERS)),
        };
        Operation::Read { path }
    }
}

/// Renders a number with commas between its thousands.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// Draws an id from 1 to `count`. Popular ids are spread over the whole range, and so over all
/// categories.
fn id(random: &mut Xoshiro256PlusPlus, zipf: &Zipf<f64>, count: u32) -> u32 {
    let rank = zipf.sample(random) as u64;
    (rank * SPREAD % u64::from(count)) as u32 + 1
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_run_has_the_same_requests() {
        assert_eq!(Workload::generate(2_000).operations, Workload::generate(2_000).operations);
    }

    #[test]
    fn a_shorter_load_is_the_beginning_of_a_longer_one() {
        let long = Workload::generate(2_000).operations;
        assert_eq!(Workload::generate(500).operations, long[..500]);
    }

    #[test]
    fn the_first_request_never_changes() {
        // A literal, so that figures of different versions stay comparable.
        assert_eq!(
            Workload::generate(1).operations,
            [Operation::Read { path: "/api/products/388".to_owned() }]
        );
    }

    #[test]
    fn one_request_in_twenty_is_a_write_and_every_id_exists() {
        let operations = Workload::generate(20_000).operations;
        let products = operations.iter().filter_map(|operation| match operation {
            Operation::SetPrice { product, .. } => Some(*product),
            Operation::Read { .. } => None,
        });
        let products: Vec<u32> = products.collect();
        assert!((800..1_200).contains(&products.len()), "{}", products.len());
        assert!(products.iter().all(|id| (1..=PRODUCTS).contains(id)));
    }

    #[test]
    fn few_paths_get_many_requests_and_many_paths_get_few() {
        let mut counts: HashMap<String, u32> = HashMap::new();
        for operation in Workload::generate(20_000).operations {
            if let Operation::Read { path } = operation {
                *counts.entry(path).or_default() += 1;
            }
        }
        let most = counts.values().max().copied().unwrap();
        assert!(most > 500, "{most}");
        assert!(counts.len() > 4_000, "{}", counts.len());
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!([grouped(7), grouped(20_000), grouped(1_234_567)], ["7", "20,000", "1,234,567"]);
    }

    #[test]
    fn the_first_of_equal_reads_counts_as_first() {
        let read = |path: &str| Operation::Read { path: path.to_owned() };
        let write = Operation::SetPrice { product: 1, price_cents: 100 };
        let workload = Workload { operations: vec![read("/a"), read("/b"), write, read("/a"), read("/a")] };
        assert_eq!(workload.first_time_share(), 0.5);
    }

    #[test]
    fn spreading_maps_different_ranks_to_different_ids() {
        for count in [PRODUCTS, CATEGORIES, USERS] {
            let ids: HashSet<u64> =
                (1..=u64::from(count)).map(|rank| rank * SPREAD % u64::from(count)).collect();
            assert_eq!(ids.len(), count as usize);
        }
    }
}
