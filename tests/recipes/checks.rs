//! The promises of every recipe. README.md describes the pages that all apps have.

use std::sync::atomic::{AtomicU32, Ordering};

use strata_tests::eventually;

use crate::site::{Site, Visitor};

/// Returns a name that no test has used.
pub(crate) fn new_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    format!("Name{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn a_shared_page_is_stored(site: &Site) {
    let mut visitor = site.visitor();
    let first = visitor.get("/products/1").await;
    assert_eq!(first.status, 200, "{first:?}");
    eventually("the page is stored", async || site.visitor().get("/products/1").await.is_hit()).await;
    let second = site.visitor().get("/products/1").await;
    assert_eq!(second.body, first.body);
}

/// The page is another one than the form redirects to, which the worker would end without a purge
/// (RFC 9111 section 4.4).
pub(crate) async fn a_saved_form_ends_the_stored_page(site: &Site) {
    let read = async || site.visitor().get("/products/2?from=list").await;
    eventually("the page is stored", async || read().await.is_hit()).await;
    let name = new_name();
    let saved = site.visitor().submit("/products/2/edit", &[("name", &name)]).await;
    assert!(matches!(saved.status, 302 | 303), "{saved:?}");
    eventually("the page shows the new name", async || read().await.body.contains(&name)).await;
    eventually("the new page is stored", async || read().await.is_hit()).await;
    assert!(read().await.body.contains(&name));
}

pub(crate) async fn a_page_of_a_user_is_never_shared(site: &Site) {
    let mut user = site.visitor();
    let name = log_in(&mut user).await;
    for _ in 0..3 {
        let own = user.get("/account").await;
        assert!(own.body.contains(&format!("Hello, {name}")) && !own.is_hit(), "{own:?}");
        let guests = site.visitor().get("/account").await;
        assert!(guests.body.contains("Hello, guest") && !guests.is_hit(), "{guests:?}");
    }
}

/// Guests share a page of which each user has another. The cookies of analytics tools do not make a
/// user.
pub(crate) async fn guests_share_a_page_that_users_have_their_own_of(site: &Site) {
    let mut user = site.visitor();
    let name = log_in(&mut user).await;
    // Before the guests' page is stored, and while it is.
    for _ in 0..2 {
        let own = user.get("/").await;
        assert!(own.body.contains(&format!("Hello, {name}")) && !own.is_hit(), "{own:?}");
        eventually("the guests' page is stored", async || site.visitor().get("/").await.is_hit()).await;
        for number in 0..3 {
            let mut guest = site.visitor();
            guest.add_cookie("_ga", &format!("GA1.1.{number}"));
            let page = guest.get("/").await;
            assert!(page.body.contains("Hello, guest") && page.is_hit(), "{page:?}");
        }
    }
}

async fn log_in(visitor: &mut Visitor<'_>) -> String {
    let name = new_name();
    let login = visitor.submit("/login", &[("user", &name)]).await;
    assert!(matches!(login.status, 302 | 303), "{login:?}");
    name
}

/// The site's own name differs from the origin's, and has no port while the origin has one.
pub(crate) async fn forms_and_redirects_work_under_the_name_of_the_site(site: &Site) {
    let mut visitor = site.visitor_of("shop.example");
    log_in(&mut visitor).await;
    let location = visitor.get("/old").await.location().to_owned();
    assert!(["/products/1", "http://shop.example/products/1"].contains(&location.as_str()), "{location}");
}

pub(crate) async fn redirects_stay_on_the_site(site: &Site) {
    let redirect = site.visitor().get("/old").await;
    assert!(matches!(redirect.status, 301 | 302 | 303 | 307 | 308), "{redirect:?}");
    let location = redirect.location();
    let is_on_site = location.starts_with('/') || location.starts_with(&format!("{}/", site.url()));
    assert!(is_on_site && location.ends_with("/products/1"), "{redirect:?}");
}

/// The worker rewrites the origin's URLs in redirects, but not in pages.
pub(crate) async fn urls_in_pages_name_the_site(site: &Site) {
    for host in [site.host(), "shop.example"] {
        let page = site.visitor_of(host).get("/where").await;
        assert!(page.body.contains(&format!("http://{host}/products/1")), "{page:?}");
    }
}

/// A form that another site sends is refused, so the recipe has not turned the framework's check
/// off.
pub(crate) async fn a_form_of_another_site_is_refused(site: &Site) {
    let name = new_name();
    let mut visitor = site.visitor();
    let refused = visitor.submit_from("https://evil.example", "/products/1/edit", &[("name", &name)]).await;
    assert!(refused.status >= 400, "{refused:?}");
    assert!(!visitor.get("/products/1").await.body.contains(&name));
}
