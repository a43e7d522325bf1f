//! The end of the program, and of workerd.

use strata_tests::{eventually, free_port};

use crate::origin_of_large_pages;
use crate::server::{Server, entry};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_ends_after_sigterm_and_no_other_begins() {
    let origin = origin_of_large_pages().await;
    let mut server = Server::start(origin.url(), &[]).await;
    let rest = origin.body_goes_on("/slow");
    let response = server.get("/slow").await;
    server.signal("-TERM");
    eventually("no connection is accepted", async || server.try_get("/other").await.is_err()).await;
    let (status, health) = server.health().await;
    assert_eq!((status, health["reasons"][0].as_str()), (503, Some("it is stopping")));
    rest.send(Ok("the end".into())).expect("the worker reads");
    drop(rest);
    let body = response.text().await.expect("the body ends in order");
    assert!(body.ends_with("the end"));
    assert_eq!(server.end().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_end_in_time_are_cut_off() {
    let origin = origin_of_large_pages().await;
    let mut server = Server::start(origin.url(), &["--stop-timeout", "1"]).await;
    let _rest = origin.body_goes_on("/endless");
    let response = server.get("/endless").await;
    server.signal("-TERM");
    let status = server.end().await;
    assert_eq!(status.code(), Some(0));
    assert!(response.bytes().await.is_err(), "the client sees that the body is not complete");
    server.printed_with("have not ended within 1 s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_program_at_once() {
    let origin = origin_of_large_pages().await;
    let mut server = Server::start(origin.url(), &["--stop-timeout", "3600"]).await;
    let _rest = origin.body_goes_on("/endless");
    let response = server.get("/endless").await;
    server.signal("-INT");
    eventually("it is stopping", async || server.health().await.0 == 503).await;
    server.signal("-TERM");
    let status = server.end().await;
    assert_eq!(status.code(), Some(1));
    assert!(response.bytes().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workerd_that_dies_is_started_again() {
    let origin = origin_of_large_pages().await;
    let mut server = Server::start(origin.url(), &[]).await;
    for restarts in 1..=2 {
        server.signal_workerd("-KILL");
        let is_ready_again = async || {
            let (status, health) = server.health().await;
            status == 200 && health["workerd"]["restarts"] == restarts
        };
        eventually("it is ready again", is_ready_again).await;
        assert_eq!(server.metric("strata_edge_workerd_restarts_total").await, restarts);
        assert_eq!(server.get("/page").await.status(), 200);
    }
    let printed = server.printed_with("starting it again in 200 ms").await;
    assert!(printed.contains("SIGKILL"), "{printed}");
    server.signal("-TERM");
    assert_eq!(server.end().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_while_workerd_is_started_again() {
    let origin = origin_of_large_pages().await;
    let mut server = Server::start(origin.url(), &[]).await;
    server.signal_workerd("-KILL");
    eventually("it has ended", async || server.metric("strata_edge_workerd_restarts_total").await == 1).await;
    assert_eq!(server.get("/page").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workerd_that_never_answers_ends_the_program_with_an_error() {
    let origin = origin_of_large_pages().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let broken = entry(folder.path(), "this is no JavaScript");
    let mut server = Server::spawn(origin.url(), free_port(), &["--entry", &broken]).await;
    assert_eq!(server.end().await.code(), Some(1));
    let printed = server.printed_with("its messages are above").await;
    assert!(printed.contains("SyntaxError"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_ends_the_program_with_an_error() {
    let origin = origin_of_large_pages().await;
    let port = free_port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let mut server = Server::spawn(origin.url(), port, &[]).await;
    let status = server.end().await;
    assert_eq!(status.code(), Some(1));
    let printed = server.printed_with("expected --listen").await;
    assert!(printed.contains("Address already in use"), "{printed}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_the_program_ends_its_workerd_and_frees_the_address() {
    let origin = origin_of_large_pages().await;
    let port = free_port();
    for _ in 0..2 {
        Server::start_on(port, origin.url(), &[]).await.kill().await;
    }
}
