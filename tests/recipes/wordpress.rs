//! Users, commenters and changes of a real WordPress.

use reqwest::Method;
use strata_tests::eventually;

use crate::checks::new_name;
use crate::site::{Page, Site, Visitor};

const POST: &str = "/?p=1";

async fn guest(site: &Site) -> Page {
    let mut guest = site.visitor();
    guest.add_cookie("_ga", "GA1.1.1");
    guest.get(POST).await
}

async fn log_in(site: &Site) -> Visitor<'_> {
    let mut user = site.visitor();
    let login = user.submit("/wp-login.php", &[("log", "admin"), ("pwd", "password")]).await;
    assert_eq!(login.status, 302, "{login:?}");
    user
}

/// Changes a post as the editor in the browser does.
async fn change(user: &mut Visitor<'_>, path: &str, fields: &str) -> Page {
    let nonce = user.get("/wp-admin/admin-ajax.php?action=rest-nonce").await.body;
    let fields = fields.to_owned();
    let prepare = |request: reqwest::RequestBuilder| {
        request.header("X-WP-Nonce", nonce).header("Content-Type", "application/json").body(fields)
    };
    let changed =
        user.send_with(Method::POST, &format!("/index.php?rest_route=/wp/v2/{path}"), prepare).await;
    assert!(matches!(changed.status, 200 | 201), "{changed:?}");
    changed
}

pub(crate) async fn guests_share_a_post(site: &Site) {
    eventually("the post is stored", async || guest(site).await.is_hit()).await;
    let redirect = site.visitor().get("/wp-admin/").await;
    assert!(redirect.location().starts_with(site.url()), "{redirect:?}");
}

pub(crate) async fn a_change_in_the_editor_ends_the_stored_pages(site: &Site) {
    let front = async || site.visitor().get("/").await;
    eventually("both are stored", async || guest(site).await.is_hit() && front().await.is_hit()).await;
    let name = new_name();
    change(&mut log_in(site).await, "posts/1", &format!(r#"{{"title":"{name}"}}"#)).await;
    let shows = async || guest(site).await.body.contains(&name) && front().await.body.contains(&name);
    eventually("both show the new title", shows).await;
}

pub(crate) async fn a_new_post_ends_the_stored_front_page(site: &Site) {
    let front = async || site.visitor().get("/").await;
    eventually("it is stored", async || front().await.is_hit()).await;
    let name = new_name();
    let post = format!(r#"{{"title":"{name}","content":"text","status":"publish"}}"#);
    change(&mut log_in(site).await, "posts", &post).await;
    eventually("it shows the new post", async || front().await.body.contains(&name)).await;
}

pub(crate) async fn a_user_has_pages_of_the_own(site: &Site) {
    let mut user = log_in(site).await;
    for _ in 0..3 {
        let own = user.get(POST).await;
        assert!(own.body.contains("wpadminbar") && !own.is_hit(), "{:?}", own.headers);
        eventually("the guests' page is stored", async || guest(site).await.is_hit()).await;
        assert!(!guest(site).await.body.contains("wpadminbar"));
    }
}

pub(crate) async fn a_commenter_alone_sees_a_comment_before_it_is_approved(site: &Site) {
    let comment = new_name();
    let mut commenter = site.visitor();
    let fields = [
        ("comment", comment.as_str()),
        ("author", "Ada"),
        ("email", "ada@shop.example"),
        ("wp-comment-cookies-consent", "yes"),
    ];
    let sent = commenter.submit(POST, &fields).await;
    assert_eq!(sent.status, 302, "{sent:?}");
    let own = commenter.get(POST).await;
    assert!(own.body.contains(&comment) && !own.is_hit(), "{own:?}");
    eventually("the guests' page is stored", async || guest(site).await.is_hit()).await;
    assert!(!guest(site).await.body.contains(&comment));

    let id = sent.location().split_once("#comment-").expect("the redirect names the comment").1;
    let approve = r#"{"status":"approved"}"#;
    change(&mut log_in(site).await, &format!("comments/{id}"), approve).await;
    eventually("guests see it", async || guest(site).await.body.contains(&comment)).await;
}

pub(crate) async fn a_password_opens_a_post_for_its_visitor_alone(site: &Site) {
    let secret = new_name();
    let post = format!(r#"{{"title":"t","content":"{secret}","status":"publish","password":"open"}}"#);
    let post = change(&mut log_in(site).await, "posts", &post).await;
    let post: serde_json::Value = serde_json::from_str(&post.body).expect("JSON");
    let path = format!("/?p={}", post["id"]);
    let mut visitor = site.visitor();
    let opened = visitor.submit(&path, &[("post_password", "open")]).await;
    assert_eq!(opened.status, 302, "{opened:?}");
    for _ in 0..3 {
        assert!(visitor.get(&path).await.body.contains(&secret));
        assert!(!site.visitor().get(&path).await.body.contains(&secret));
    }
}
