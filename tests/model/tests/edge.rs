//! At the edge: what an isolate knows to be purged it does not serve, whoever built it and whenever it is kept.

use stateright::{Checker, HasDiscoveries, Model};
use strata_model::edge::{EdgeBounds, EdgeRule};

const BOUNDS: EdgeBounds = EdgeBounds { writes: 2, each: 2, shipped: 3, broken: None };

#[test]
fn no_response_outlives_a_purge_that_its_isolate_has_applied() {
    let checker = BOUNDS.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("edge: {} states, {} steps deep", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

#[test]
fn each_rule_is_needed() {
    for rule in [EdgeRule::OriginPositions, EdgeRule::SeqBeforeFetch, EdgeRule::PositionBeforeRequest] {
        let bounds = EdgeBounds { broken: Some(rule), ..BOUNDS };
        let checker = bounds.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let broken: Vec<_> = checker.discoveries().into_iter().filter(|(name, _)| name.starts_with("G7")).collect();
        let [(_, path)] = &broken[..] else { panic!("nothing breaks without {rule:?}") };
        println!("without {rule:?}: {:?}", path.clone().into_actions());
    }
}
