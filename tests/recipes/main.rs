//! Tests of the recipes in `docs/guides/recipes`: real frameworks behind the built worker.
//!
//! Each folder is an app that `cargo xtask recipes` installs and builds before it runs these
//! tests. README.md describes what the apps have in common.

#![expect(clippy::expect_used, clippy::panic, reason = "a test panics to fail")]

mod checks;
mod documentation;
mod html;
mod next;
mod purge;
mod react_router;
mod site;
mod wordpress;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use site::{LazySite, Recipe, Site};
use tokio::runtime::Runtime;

const ASTRO: Recipe = Recipe { name: "astro", command: &["node", "dist/server/entry.mjs"] };
const DJANGO: Recipe = Recipe { name: "django", command: &["sh", "start.sh"] };
const EXPRESS: Recipe = Recipe { name: "express", command: &["node", "server.mjs"] };
const FASTAPI: Recipe = Recipe { name: "fastapi", command: &["sh", "start.sh"] };
const NEXT: Recipe = Recipe { name: "next", command: &["node", "node_modules/next/dist/bin/next", "start"] };
const REACT_ROUTER: Recipe = Recipe { name: "react-router", command: &["node", "server.mjs"] };
const WORDPRESS: Recipe = Recipe { name: "wordpress", command: &["sh", "start.sh"] };

/// A test of a running site, with its name.
type Check = (&'static str, for<'a> fn(&'a Site) -> Pin<Box<dyn Future<Output = ()> + 'a>>);

macro_rules! checks {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$((stringify!($name), |site| Box::pin($module::$name(site)))),*]
    };
}

/// The checks of every app.
const COMMON: &[Check] = checks![
    checks::a_shared_page_is_stored,
    checks::a_saved_form_ends_the_stored_page,
    checks::a_page_of_a_user_is_never_shared,
    checks::redirects_stay_on_the_site,
    checks::forms_and_redirects_work_under_the_name_of_the_site,
];
/// The checks of all apps but the one on Next.js, which stores no page that reads cookies. Its
/// handlers do not know the site's name.
const USUAL: &[Check] =
    checks![checks::guests_share_a_page_that_users_have_their_own_of, checks::urls_in_pages_name_the_site,];
/// The framework refuses forms of other sites.
const FORMS: &[Check] = checks![checks::a_form_of_another_site_is_refused];
const OF_NEXT: &[Check] = checks![
    next::a_router_payload_is_stored_apart_from_the_page,
    next::a_saved_form_ends_the_stored_payload,
    next::a_revalidated_path_ends_the_stored_page,
    next::a_revalidated_pattern_ends_its_pages,
    next::a_revalidated_tag_is_served_stale_once,
    next::a_deployment_ends_everything,
];
const OF_REACT_ROUTER: &[Check] = checks![react_router::the_data_of_a_page_is_stored_and_ends_with_it];
const OF_WORDPRESS: &[Check] = checks![
    wordpress::guests_share_a_post,
    wordpress::a_change_in_the_editor_ends_the_stored_pages,
    wordpress::a_new_post_ends_the_stored_front_page,
    wordpress::a_user_has_pages_of_the_own,
    wordpress::a_commenter_alone_sees_a_comment_before_it_is_approved,
    wordpress::a_password_opens_a_post_for_its_visitor_alone,
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests of a recipe share its app and change its data.
    arguments.test_threads = Some(1);
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let trials = [
        purge::trials(&runtime),
        vec![documentation::trial()],
        trials(&runtime, &ASTRO, &[COMMON, USUAL, FORMS]),
        trials(&runtime, &DJANGO, &[COMMON, USUAL, FORMS]),
        trials(&runtime, &EXPRESS, &[COMMON, USUAL]),
        trials(&runtime, &FASTAPI, &[COMMON, USUAL]),
        trials(&runtime, &NEXT, &[COMMON, FORMS, OF_NEXT]),
        trials(&runtime, &REACT_ROUTER, &[COMMON, USUAL, FORMS, OF_REACT_ROUTER]),
        trials(&runtime, &WORDPRESS, &[OF_WORDPRESS]),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

/// Returns a test per check, named after the recipe and the check. All share one site.
fn trials(runtime: &Arc<Runtime>, recipe: &'static Recipe, checks: &[&[Check]]) -> Vec<Trial> {
    let site = Arc::new(LazySite::new(recipe));
    let trial = |&(name, check): &Check| {
        let (runtime, site) = (Arc::clone(runtime), Arc::clone(&site));
        Trial::test(format!("{}::{name}", recipe.name), move || {
            runtime.block_on(async { check(site.get().await).await });
            Ok(())
        })
    };
    checks.iter().copied().flatten().map(trial).collect()
}
