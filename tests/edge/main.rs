//! The built worker in workerd: what HTTP caching, the journal and purges look like from outside.
//!
//! All tests share one worker and one scripted origin, each on paths of its own.

#![expect(clippy::expect_used, reason = "a test panics to fail")]

mod attacks;
mod bodies;
mod caching;
mod collapse;
mod faults;
mod gate;
mod invalidation;
mod memory;
mod outage;
mod ranges;
mod responses;
mod rules;
mod safety;
mod stale;
mod unreachable;
mod validation;
mod verify;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Trial};
use origin_sdk::Cache;
use reqwest::Response;
use strata_tests::{Edge, Origin, OriginReply, OriginRequest, eventually};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// What every test gets.
struct Stack {
    edge: Edge,
    origin: Origin,
    scripts: Arc<Scripts>,
    /// A service's cache that ships its journal to the edge.
    cache: Cache,
}

/// What most origins say here: that all may keep the answer for longer than a test takes.
const SHARED: (&str, &str) = ("cache-control", "max-age=600");

type Script = Box<dyn Fn(&OriginRequest) -> OriginReply + Send + Sync>;

/// What the origin answers below each path; of several that match, the longest counts.
#[derive(Default)]
struct Scripts(Mutex<HashMap<String, Arc<Script>>>);

impl Stack {
    async fn start() -> Self {
        let scripts = Arc::new(Scripts::default());
        let origin = Origin::start({
            let scripts = Arc::clone(&scripts);
            move |request| scripts.answer(request)
        })
        .await;
        let edge = Edge::start_with(
            origin.url(),
            &[
                "--var",
                &format!("RULES:{}", rules::RULES),
                "--var",
                "ORIGIN_TIMEOUT_SECS:5",
                "--var",
                "SERVER_TIMING:1",
            ],
        )
        .await;
        let cache = Cache::builder("test").edge(edge.url(), Edge::secret()).build().await.expect("a cache");
        // A new journal begins with a record that covers everything; the tests begin after it.
        eventually("the first record is shipped", async || cache.stats().records_shipped == 1).await;
        Self { edge, origin, scripts, cache }
    }

    /// From now on the origin answers requests below `path` by `script`.
    fn origin_answers(&self, path: &str, script: impl Fn(&OriginRequest) -> OriginReply + Send + Sync + 'static) {
        let mut scripts = self.scripts.0.lock().unwrap_or_else(PoisonError::into_inner);
        scripts.insert(path.to_owned(), Arc::new(Box::new(script)));
    }

    /// How many requests for `target` the origin has had.
    fn origin_requests(&self, target: &str) -> usize {
        self.origin.requests(target).len()
    }

    async fn get(&self, path: &str) -> Reply {
        Reply::read(self.edge.get(path).await).await
    }

    /// The replies to so many requests for `path` at once.
    fn get_at_once(&self, number: usize, path: &str) -> JoinSet<Reply> {
        let send = || self.edge.request(reqwest::Method::GET, path).send();
        let replies = (0..number).map(|_| send());
        replies.map(async |reply| Reply::read(reply.await.expect("the worker answers")).await).collect()
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let request = self.edge.request(reqwest::Method::GET, path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Reply::read(request.send().await.expect("the worker answers")).await
    }
}

impl Scripts {
    fn answer(&self, request: &OriginRequest) -> OriginReply {
        let scripts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let below = scripts.iter().filter(|(path, _)| request.target.starts_with(path.as_str()));
        let script = below.max_by_key(|(path, _)| path.len());
        let script = script.map(|(_, script)| Arc::clone(script));
        drop(scripts);
        script
            .map_or_else(|| OriginReply { status: 404, headers: vec![], body: String::new() }, |script| script(request))
    }
}

/// What a client sees.
struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: String,
}

impl Reply {
    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.text().await.expect("the body arrives") }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text"))
    }

    /// The edge's member of `Cache-Status`, the last one.
    fn edge_status(&self) -> &str {
        let last = self.headers.get_all("cache-status").iter().next_back();
        let last = last.map_or("", |value| value.to_str().expect("a text"));
        last.rsplit(", ").next().unwrap_or(last)
    }

    fn is_hit(&self) -> bool {
        self.edge_status().starts_with("strata-edge; hit")
    }
}

/// A test by its function's name.
macro_rules! trials {
    ($runtime:ident, $stack:ident: $($module:ident::$name:ident),* $(,)?) => {
        vec![$({
            let (runtime, stack) = (Arc::clone(&$runtime), Arc::clone(&$stack));
            Trial::test(concat!(stringify!($module), "::", stringify!($name)), move || {
                runtime.block_on($module::$name(&stack));
                Ok(())
            })
        }),*]
    };
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let stack = Arc::new(runtime.block_on(Stack::start()));
    let trials = trials![runtime, stack:
        caching::a_miss_is_stored_and_the_next_request_is_a_hit,
        caching::a_head_is_answered_from_a_stored_get,
        caching::an_answer_to_a_post_is_stored_if_it_says_that_gets_get_it,
        caching::a_client_that_has_the_current_representation_gets_a_304,
        caching::variants_stay_apart,
        caching::the_order_of_query_parameters_does_not_matter,
        caching::an_origin_that_redirects_to_its_own_order_of_parameters_does_not_loop,
        caching::the_origin_is_asked_for_the_spelling_that_is_keyed,
        caching::what_must_not_be_stored_is_not,
        caching::a_targeted_field_wins_over_cache_control,
        caching::values_beyond_ascii_arrive_whole_and_select,
        caching::a_value_that_cannot_be_told_selects_nothing,
        caching::the_cookie_of_a_response_that_is_not_stored_arrives,
        caching::what_is_not_stored_answers_conditions_too,
        caching::a_precondition_is_for_the_origin_to_judge,
        caching::a_newer_answer_that_is_not_stored_ends_the_old_one,
        caching::a_url_has_a_bounded_number_of_variants,
        caching::responses_that_name_different_fields_do_not_replace_each_other,
        caching::server_timing_names_the_layer,
        caching::the_networks_own_cache_is_passed_by,
        collapse::cold_misses_become_one_request,
        collapse::variants_collapse_each_for_itself,
        collapse::what_is_of_no_use_to_others_is_not_answered_one_after_the_other,
        collapse::an_origin_that_fails_is_not_asked_by_each_that_can_be_served_stale,
        collapse::a_lost_leader_costs_a_bounded_time,
        collapse::after_an_unsafe_request_nobody_gets_what_was_asked_for_before_it,
        collapse::after_a_purge_nobody_gets_what_was_asked_for_before_it,
        collapse::a_body_streams_to_the_first_client_while_it_is_stored,
        memory::a_small_response_is_soon_served_from_memory,
        memory::a_large_response_is_served_from_the_store,
        memory::a_purge_drops_what_is_in_memory,
        memory::variants_stay_apart_in_memory,
        ranges::a_part_is_cut_from_what_is_stored_whole,
        ranges::a_part_that_came_answers_for_itself_and_not_for_the_whole,
        ranges::several_parts_answer_the_field_that_they_came_for,
        ranges::a_part_of_the_whole_length_is_stored_as_the_whole,
        ranges::a_head_updates_what_is_stored_or_drops_it,
        rules::a_lifetime_holds_where_the_origin_declares_none,
        rules::an_override_holds_whatever_the_origin_declares,
        rules::what_the_origin_forbids_stays_forbidden,
        rules::dropped_parameters_are_neither_keyed_nor_forwarded,
        rules::languages_that_select_the_same_share_a_variant,
        rules::cookies_and_fields_bypass,
        rules::a_path_is_passed,
        rules::a_path_that_leads_up_for_some_is_passed,
        rules::what_passes_goes_on_as_it_came,
        rules::errors_have_lifetimes,
        rules::stale_is_allowed_where_a_rule_says_so,
        rules::an_unsafe_request_invalidates_what_its_url_is_keyed_as,
        rules::a_page_that_looks_like_a_file_is_not_stored,
        rules::a_guess_makes_no_page_a_file_unless_a_rule_says_so,
        rules::parameters_and_their_order_count_as_a_rule_says,
        rules::a_rule_holds_for_its_methods,
        rules::wrong_rules_send_everything_to_the_origin_and_say_so,
        stale::stale_is_served_while_it_is_revalidated_and_then_the_new,
        stale::stale_is_served_if_the_origin_fails,
        stale::stale_is_served_if_the_origin_takes_too_long,
        stale::many_stale_hits_start_one_refresh,
        stale::an_origin_that_fails_is_not_asked_for_every_stale_hit,
        stale::a_refresh_that_takes_too_long_is_given_up_and_another_begins,
        stale::without_a_window_stale_is_not_served,
        stale::a_purge_is_obeyed_that_comes_while_the_origin_is_asked,
        stale::what_the_origin_tells_one_client_does_not_remove_what_is_stale,
        responses::why_nothing_is_stored_is_said,
        responses::a_lifetime_is_what_the_fields_say,
        responses::answers_of_many_statuses_are_stored,
        responses::stale_is_not_served_where_it_is_forbidden,
        responses::requests_are_obeyed_and_cookies_stored_where_a_rule_says_so,
        responses::a_client_says_how_old_it_takes_a_response,
        responses::the_origin_is_asked_with_the_value_that_selects,
        responses::fields_of_one_connection_end_here,
        responses::other_methods_pass_with_their_bodies,
        validation::what_is_stale_is_confirmed_by_its_validator,
        validation::a_304_for_another_representation_confirms_nothing,
        validation::a_304_that_forbids_to_store_ends_what_it_confirms,
        validation::a_304_with_a_cookie_confirms_and_the_cookie_is_for_its_client,
        validation::a_cookie_for_one_client_does_not_end_what_is_stored_for_all,
        validation::what_the_origin_answers_to_a_date_is_not_judged_again,
        validation::a_client_that_has_it_gets_a_304_with_what_a_cache_needs,
        validation::what_credentials_got_is_not_shared_unless_the_origin_says_so,
        validation::a_successful_post_invalidates_what_it_says_it_changed,
        validation::a_body_that_breaks_off_is_not_stored,
        bodies::a_body_beyond_the_limit_arrives_and_is_not_stored,
        bodies::a_client_that_leaves_spoils_nothing,
        bodies::an_encoded_body_arrives_as_the_origin_sent_it,
        invalidation::a_purge_of_a_tag_is_obeyed_within_the_bound,
        invalidation::a_purge_of_a_path_spares_its_siblings,
        invalidation::an_expire_may_still_be_served_stale,
        invalidation::a_response_built_before_the_purge_is_passed_on_but_not_kept,
        invalidation::an_invalidation_in_the_sdk_reaches_the_edge,
        invalidation::a_purge_of_a_key_finds_the_response_that_it_was_folded_into,
        invalidation::an_unsafe_method_invalidates_its_target,
        invalidation::an_unsafe_method_invalidates_all_variants,
        invalidation::the_documented_curl_example_purges_what_any_origin_tagged,
        attacks::a_purge_that_is_signed_by_a_stranger_is_refused,
        attacks::a_purge_whose_body_was_changed_is_refused,
        attacks::a_purge_with_a_truncated_mac_is_refused,
        attacks::a_purge_without_a_signature_is_refused,
        attacks::a_purge_from_another_time_is_refused,
        attacks::a_purge_that_is_replayed_is_refused,
        attacks::a_nonce_that_was_used_for_another_purge_is_refused,
        attacks::a_purge_with_a_huge_body_is_refused,
        attacks::a_purge_with_a_malformed_scope_is_refused_as_a_whole,
        attacks::only_a_post_purges,
        faults::whatever_fails_the_origin_answers,
        safety::internal_headers_cross_neither_way,
        safety::a_client_cannot_name_a_variant,
        safety::the_origin_sees_no_parameter_that_the_key_drops,
        safety::a_status_that_cannot_be_passed_on_is_a_bad_gateway,
        safety::fields_that_frameworks_act_on_do_not_reach_the_origin_unkeyed,
        safety::a_body_of_ambiguous_length_is_refused,
        safety::a_body_goes_on_in_a_frame_of_its_own,
        safety::a_loop_is_detected,
        safety::an_origin_that_leads_back_here_is_told_of,
        safety::a_request_goes_no_further_than_it_says,
        safety::only_a_websocket_goes_past_the_cache,
        safety::a_websocket_reaches_the_origin_and_back,
        safety::the_body_of_an_unsafe_request_is_streamed,
        outage::what_is_stored_is_served_for_as_long_as_the_configuration_says,
        outage::what_is_stored_is_not_served_without_a_journal_and_a_purge_is_sent_back,
        unreachable::what_is_stored_stands_in_unless_it_is_forbidden,
        verify::a_worker_that_is_right_passes_and_what_needs_a_zone_is_not_checkable,
        verify::another_secret_fails,
        verify::without_credentials_nothing_passes_that_needs_them,
        verify::a_page_that_is_not_stored_fails,
        verify::what_is_no_worker_fails,
        verify::the_edge_tells_what_it_holds_and_stores_nothing_for_being_asked,
    ];
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Stops the worker: nothing else holds the stack any more.
    drop(stack);
    conclusion.exit_code()
}
