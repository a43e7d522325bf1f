//! The promise G7 in the model of the edge, and the rules that it needs.

use stateright::{Checker, HasDiscoveries, Model};
use strata_model::edge::{EdgeBounds, EdgeRule};

const BOUNDS: EdgeBounds = EdgeBounds { writes: 2, each: 2, shipped: 3, broken: None };

#[test]
fn an_isolate_serves_no_response_that_an_applied_purge_covers() {
    let checker = BOUNDS.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("edge: {} states, {} steps deep", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

#[test]
fn g7_fails_without_any_one_of_its_rules() {
    for rule in [EdgeRule::OriginPositions, EdgeRule::SeqBeforeFetch, EdgeRule::PositionBeforeRequest] {
        let bounds = EdgeBounds { broken: Some(rule), ..BOUNDS };
        let checker = bounds.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let broken: Vec<_> =
            checker.discoveries().into_iter().filter(|(name, _)| name.starts_with("G7")).collect();
        let [(_, path)] = &broken[..] else { panic!("no promise fails without {rule:?}") };
        println!("without {rule:?}: {:?}", path.clone().into_actions());
    }
}
