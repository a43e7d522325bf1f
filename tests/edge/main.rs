//! Tests of the built worker in workerd: HTTP caching, the journal and purges as clients see them.
//!
//! All tests share one worker and one scripted origin. Each test uses paths of its own.

#![expect(clippy::expect_used, reason = "a test panics to fail")]

mod attacks;
mod bodies;
mod caching;
mod codings;
mod collapse;
mod conditions;
mod costs;
mod deployment;
mod entry;
mod faults;
mod gate;
mod groups;
mod invalidation;
mod memory;
mod origin_name;
mod outage;
mod persistent;
mod query;
mod ranges;
mod reconnects;
mod responses;
mod rules;
mod safety;
mod search;
mod sites;
mod stale;
mod streams;
mod successors;
mod unreachable;
mod validation;
mod verify;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Trial};
use origin_sdk::Cache;
use reqwest::Response;
use strata_tests::{Edge, Origin, OriginReply, OriginRequest, eventually};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// The worker, the origin and the service that all tests share.
struct Stack {
    edge: Edge,
    origin: Origin,
    scripts: Arc<Scripts>,
    /// A service's cache that ships its journal to the edge.
    cache: Cache,
}

/// The field of a response that may be stored for longer than a test takes.
const SHARED: (&str, &str) = ("cache-control", "max-age=600");

/// Returns a position of an origin that has applied everything that the stack's own cache has
/// shipped: half a day after the clock.
fn later_position() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    format!("{}-9", now.as_millis() + 12 * 60 * 60 * 1000)
}

type Script = Box<dyn Fn(&OriginRequest) -> OriginReply + Send + Sync>;

/// The origin's answers by path prefix. The longest matching prefix applies.
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
                "--var",
                "COUNTRY_FIELD:X-Test-Country",
            ],
        )
        .await;
        let cache = Cache::builder("test").edge(edge.url(), Edge::secret()).build().await.expect("a cache");
        // A new journal begins with a record for everything; the tests begin after it.
        eventually("the first record is shipped", async || cache.stats().records_shipped == 1).await;
        Self { edge, origin, scripts, cache }
    }

    /// Makes the origin answer requests below `path` by `script` from now on.
    fn origin_answers(
        &self,
        path: &str,
        script: impl Fn(&OriginRequest) -> OriginReply + Send + Sync + 'static,
    ) {
        let mut scripts = self.scripts.0.lock().unwrap_or_else(PoisonError::into_inner);
        scripts.insert(path.to_owned(), Arc::new(Box::new(script)));
    }

    /// Returns how many requests for `target` the origin has received.
    fn origin_requests(&self, target: &str) -> usize {
        self.origin.requests(target).len()
    }

    async fn get(&self, path: &str) -> Reply {
        Reply::read(self.edge.get(path).await).await
    }

    /// Sends `number` requests for `path` at once.
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
        script.map_or_else(
            || OriginReply { status: 404, headers: vec![], body: String::new() },
            |script| script(request),
        )
    }
}

/// A response as a client sees it.
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

    /// Returns the edge's member of `Cache-Status`, which is the last.
    fn edge_status(&self) -> &str {
        let last = self.headers.get_all("cache-status").iter().next_back();
        let last = last.map_or("", |value| value.to_str().expect("a text"));
        last.rsplit(", ").next().unwrap_or(last)
    }

    fn is_hit(&self) -> bool {
        self.edge_status().starts_with("strata-edge; hit")
    }
}

/// Creates one test per function, named after it.
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
    let mut arguments = Arguments::from_args();
    // The tests mostly wait, so they run at the same time.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let stack = Arc::new(runtime.block_on(Stack::start()));
    let trials = trials![runtime, stack:
        caching::a_miss_is_stored_and_the_next_request_is_a_hit,
        caching::a_head_is_answered_from_a_stored_get,
        caching::a_post_response_is_stored_for_get_only_if_a_rule_allows_it,
        caching::a_client_that_has_the_current_representation_gets_a_304,
        caching::variants_are_separate,
        caching::the_order_of_query_parameters_counts_unless_a_rule_sorts_them,
        caching::an_origin_that_redirects_to_its_own_order_of_parameters_does_not_loop,
        caching::a_response_to_the_clients_own_spelling_is_never_stored,
        caching::the_origin_gets_the_spelling_of_the_key,
        caching::responses_that_must_not_be_stored_are_not,
        caching::a_targeted_field_wins_over_cache_control,
        caching::values_beyond_ascii_are_forwarded_and_select,
        caching::a_value_that_is_not_utf8_selects_nothing,
        caching::the_cookie_of_a_response_that_is_not_stored_arrives,
        caching::a_response_that_is_not_stored_answers_conditions,
        caching::the_origin_evaluates_preconditions,
        caching::a_newer_response_that_is_not_stored_removes_the_old_one,
        caching::rarely_used_variants_give_way_to_new_ones,
        caching::responses_with_different_vary_fields_do_not_replace_each_other,
        caching::server_timing_names_the_layer,
        caching::the_networks_own_cache_is_bypassed,
        codings::the_clients_own_codings_select_the_variant,
        codings::a_coding_without_vary_is_not_given_to_clients_that_do_not_take_it,
        codings::dictionaries_have_variants_of_their_own,
        codings::a_bypassing_request_has_the_clients_own_codings,
        collapse::cold_misses_become_one_request,
        collapse::each_variant_collapses_separately,
        collapse::requests_for_an_uncacheable_response_are_not_serialised,
        collapse::a_failing_origin_is_not_requested_per_client_if_stale_can_be_served,
        collapse::a_lost_leader_costs_a_bounded_time,
        collapse::after_an_unsafe_request_no_client_gets_a_response_requested_before_it,
        collapse::after_a_purge_no_client_gets_a_response_requested_before_it,
        collapse::a_body_streams_to_the_first_client_while_it_is_stored,
        collapse::a_response_that_is_stored_while_others_wait_answers_them_at_once,
        collapse::an_origin_that_breaks_off_releases_all_waiters,
        memory::a_small_response_is_soon_served_from_memory,
        memory::a_large_response_is_served_from_the_store,
        memory::a_purge_removes_a_response_from_memory,
        memory::memory_separates_variants,
        origin_name::the_origins_own_urls_become_the_sites,
        origin_name::each_site_gets_urls_of_its_own,
        origin_name::a_redirect_at_the_origin_to_its_own_spelling_does_not_loop,
        origin_name::a_rule_forwards_the_origins_urls_unchanged,
        origin_name::an_unsafe_request_invalidates_what_the_origin_names_by_its_own_url,
        origin_name::the_origin_is_told_the_sites_name_and_no_clients,
        query::a_query_is_stored_under_its_content_and_the_fields_about_it,
        query::equal_queries_become_one_request,
        query::a_query_is_stored_only_with_an_explicit_lifetime,
        query::a_long_query_bypasses_the_store_with_its_content,
        query::a_query_varies_is_validated_and_answers_conditions_as_a_get,
        query::purges_end_stored_queries,
        query::an_unsafe_request_invalidates_all_queries_of_its_url,
        query::a_rule_keeps_queries_from_the_store,
        ranges::a_part_is_cut_from_a_whole_stored_response,
        ranges::a_part_is_cut_from_a_response_that_is_being_stored,
        ranges::a_stored_part_answers_its_range_and_not_the_whole,
        ranges::a_multipart_response_answers_the_same_range_field,
        ranges::a_part_of_the_whole_length_is_stored_as_the_whole,
        ranges::a_head_updates_or_removes_the_stored_response,
        ranges::a_head_does_not_delete_what_a_failing_origin_needs,
        rules::a_lifetime_applies_if_the_origin_declares_none,
        rules::a_rules_lifetime_shares_no_response_to_credentials,
        rules::a_private_response_to_credentials_does_not_remove_the_shared_one,
        rules::an_override_replaces_the_origins_lifetime,
        rules::a_rule_does_not_lift_what_the_origin_forbids,
        rules::dropped_parameters_are_neither_keyed_nor_forwarded,
        rules::languages_with_the_same_normal_value_share_a_variant,
        rules::cookies_and_fields_bypass,
        rules::a_path_bypasses_the_store,
        rules::an_ambiguous_path_bypasses_the_store,
        rules::a_bypassing_request_is_forwarded_unchanged,
        rules::errors_have_lifetimes,
        rules::a_rule_allows_stale_responses,
        rules::an_unsafe_request_invalidates_the_key_of_its_rule,
        rules::a_page_at_a_files_url_is_not_stored,
        rules::a_heuristic_lifetime_stores_no_page_at_a_files_url_unless_a_rule_allows_it,
        rules::a_rule_chooses_the_parameters_and_their_order,
        rules::an_exact_url_reaches_the_origin_octet_by_octet,
        rules::a_refused_spelling_of_an_exact_url_answers_no_other,
        rules::a_rule_applies_to_its_methods,
        rules::invalid_rules_send_every_request_to_the_origin,
        stale::a_stale_response_is_served_during_its_revalidation,
        stale::stale_is_served_if_the_origin_fails,
        stale::stale_is_served_if_the_origin_takes_too_long,
        stale::many_stale_hits_start_one_refresh,
        stale::a_failing_origin_is_not_requested_per_stale_hit,
        stale::a_refresh_times_out_and_another_begins,
        stale::without_a_window_stale_is_not_served,
        stale::a_purge_during_a_validation_is_obeyed,
        stale::a_response_for_one_client_does_not_remove_a_stale_one,
        stale::a_window_beside_s_maxage_is_obeyed,
        stale::a_refused_window_is_reported,
        responses::cache_status_states_why_a_response_is_not_stored,
        responses::fields_determine_the_lifetime,
        responses::responses_of_many_statuses_are_stored,
        responses::stale_is_not_served_if_a_directive_forbids_it,
        responses::a_rule_obeys_request_directives_and_stores_cookies,
        responses::a_request_limits_age_and_staleness,
        responses::the_origin_gets_the_normal_value,
        responses::hop_by_hop_fields_are_removed,
        responses::a_misspelt_field_still_forbids,
        responses::surrogate_control_is_obeyed,
        responses::a_get_or_head_with_a_body_bypasses_the_store,
        responses::a_safe_method_evicts_nothing,
        responses::a_body_of_unknown_length_is_not_said_to_be_stored,
        responses::an_expired_response_is_said_to_be_stale,
        responses::other_methods_are_forwarded_with_their_bodies,
        streams::each_client_of_a_stream_gets_its_beginning_at_once,
        streams::an_event_source_does_not_wait_for_another,
        streams::a_feed_holds_other_clients_for_a_moment_only,
        streams::a_body_that_cannot_answer_others_holds_none,
        streams::a_slow_body_holds_other_clients_once,
        streams::the_origin_sees_that_the_client_of_a_stream_has_left,
        streams::a_feed_that_breaks_off_breaks_off_for_its_client,
        validation::a_stale_response_is_validated,
        validation::a_304_for_another_representation_validates_nothing,
        validation::a_304_with_no_store_removes_the_stored_response,
        validation::a_304_with_a_cookie_validates_and_the_cookie_is_for_its_client,
        validation::a_cookie_for_one_client_does_not_remove_the_stored_response,
        validation::the_origins_answer_to_a_date_condition_is_final,
        validation::a_304_to_a_client_has_the_fields_that_caches_need,
        validation::a_response_to_credentials_is_shared_only_if_the_origin_allows_it,
        validation::a_successful_post_invalidates_its_location_fields,
        validation::a_body_that_breaks_off_is_not_stored,
        validation::an_origin_that_refuses_conditions_beside_no_cache_validates,
        validation::values_in_latin_1_confirm_nothing_and_arrive_unchanged,
        bodies::a_body_beyond_the_limit_is_delivered_and_not_stored,
        bodies::a_client_that_disconnects_harms_no_other,
        bodies::an_encoded_body_arrives_as_the_origin_sent_it,
        invalidation::a_purge_of_a_tag_is_obeyed_within_the_bound,
        invalidation::a_purge_by_the_previous_secret_is_obeyed_during_a_rotation,
        invalidation::a_purge_by_a_process_of_another_schema_version_reaches_the_response,
        invalidation::a_purge_of_a_path_spares_its_siblings,
        invalidation::an_expire_may_still_be_served_stale,
        invalidation::a_response_built_before_the_purge_is_delivered_but_not_stored,
        invalidation::a_position_from_the_future_is_not_believed,
        invalidation::an_invalidation_in_the_sdk_reaches_the_edge,
        invalidation::a_purge_of_a_key_reaches_a_response_with_folded_tags,
        invalidation::an_unsafe_method_invalidates_its_target,
        invalidation::an_unsafe_method_invalidates_all_variants,
        invalidation::the_documented_curl_example_purges_what_any_origin_tagged,
        groups::an_unsafe_request_invalidates_the_groups_that_its_response_names,
        groups::after_an_invalidation_no_client_gets_a_response_requested_before_it,
        groups::safe_requests_and_malformed_fields_invalidate_no_group,
        groups::a_group_of_another_host_is_not_invalidated,
        groups::the_invalidation_of_groups_is_appended_to_the_journal,
        conditions::a_client_never_gets_the_response_to_one_that_another_rule_matched,
        conditions::a_rule_for_some_clients_bypasses_the_store,
        conditions::a_field_that_the_origin_may_read_for_another_bypasses_the_store,
        conditions::a_hop_by_hop_field_selects_no_rule,
        conditions::a_client_cannot_state_what_selects,
        conditions::a_rule_keys_by_field_cookie_country_and_device,
        conditions::an_unsafe_request_invalidates_the_responses_of_all_clients,
        sites::each_site_has_its_origin_its_keys_and_its_purges,
        sites::invalid_sites_refuse_every_request_and_tell_no_client_why,
        search::urls_that_the_origin_declares_equivalent_share_a_response,
        search::a_malformed_statement_makes_no_urls_equivalent,
        search::a_rule_ignores_no_vary_search,
        search::a_response_is_used_only_for_urls_that_its_own_statement_covers,
        search::an_unsafe_request_invalidates_all_equivalent_urls,
        search::an_unsafe_request_invalidates_a_first_response_in_progress,
        search::a_purge_of_a_path_or_tag_ends_the_response_of_all_equivalent_urls,
        search::a_redirect_to_an_equivalent_url_is_not_stored,
        search::equivalent_urls_collapse_once_the_path_is_known,
        attacks::a_purge_signed_with_another_secret_is_refused,
        attacks::a_purge_for_another_host_is_refused,
        attacks::a_purge_whose_body_was_changed_is_refused,
        attacks::a_purge_with_a_truncated_mac_is_refused,
        attacks::a_purge_without_a_signature_is_refused,
        attacks::a_purge_from_another_time_is_refused,
        attacks::a_purge_that_is_replayed_is_refused,
        attacks::a_nonce_that_was_used_for_another_purge_is_refused,
        attacks::a_purge_with_a_huge_body_is_refused,
        attacks::a_purge_with_a_malformed_scope_is_refused_as_a_whole,
        attacks::only_a_post_purges,
        costs::unsafe_requests_do_not_empty_the_store,
        costs::an_unsigned_purge_is_refused_before_its_body_is_read,
        costs::unfinished_purges_delay_no_real_one_and_end,
        costs::a_url_that_is_too_long_is_refused,
        deployment::wrangler_runs_the_worker_with_its_bindings,
        faults::the_origin_answers_if_a_part_of_the_platform_fails,
        persistent::a_bucket_holds_responses_for_all_data_centres,
        persistent::a_namespace_holds_responses_for_all_data_centres,
        safety::internal_fields_are_removed_in_both_directions,
        safety::a_client_cannot_choose_a_variants_key,
        safety::the_origin_gets_no_parameter_outside_the_key,
        safety::no_spelling_of_a_reserved_path_reaches_the_origin,
        safety::an_invalid_status_of_the_origin_is_a_bad_gateway,
        safety::unkeyed_fields_do_not_reach_the_origin,
        safety::a_field_with_an_underscore_reaches_the_origin,
        safety::a_body_of_ambiguous_length_is_refused,
        safety::a_body_is_forwarded_with_its_own_framing,
        safety::a_misconfigured_worker_tells_no_client_why,
        safety::a_loop_is_detected,
        safety::an_origin_url_that_leads_back_is_reported,
        safety::max_forwards_is_obeyed,
        safety::only_a_websocket_upgrade_bypasses_the_cache,
        safety::a_websocket_reaches_the_origin_and_back,
        safety::the_body_of_an_unsafe_request_is_streamed,
        outage::stored_responses_are_served_for_the_configured_outage,
        outage::without_a_journal_no_stored_response_is_served_and_a_purge_is_refused,
        successors::a_response_to_post_outlasts_its_late_invalidation,
        successors::the_next_request_sees_the_effect_of_a_response,
        reconnects::a_safe_request_is_repeated_once_if_its_connection_breaks,
        unreachable::stored_responses_are_served_unless_a_directive_forbids_it,
        verify::a_correct_worker_passes_and_zone_checks_are_not_checkable,
        verify::another_secret_fails,
        verify::without_credentials_no_check_that_needs_them_passes,
        verify::a_page_that_is_not_stored_fails,
        verify::another_server_fails,
        verify::inspecting_the_edge_reports_its_entries_and_stores_none,
    ];
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Stops the worker: this is the last reference to the stack.
    drop(stack);
    conclusion.exit_code()
}
