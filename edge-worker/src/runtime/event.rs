//! The fetch event: the worker's entry point.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll, Wake, Waker};

use http::StatusCode;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::futures::future_to_promise;
use worker::{Context, Env, web_sys, worker_sys};

use super::pipeline;
use crate::error::Error;

/// Handles the fetch event. Returns the response, or a promise of it.
///
/// A response from memory needs no I/O: the first poll returns it, without a promise and without a
/// task for it.
#[wasm_bindgen]
#[expect(unreachable_pub, reason = "an export to JavaScript must be public")]
pub fn fetch(request: web_sys::Request, env: Env, context: worker_sys::Context) -> JsValue {
    let context = Context::new(context);
    // If the worker fails, the zone's own origin answers.
    context.pass_through_on_exception();
    let mut answer: Pin<Box<dyn Future<Output = JsValue>>> = Box::pin(async move {
        match pipeline::handle(request, env, context).await {
            Ok(response) => response.into(),
            Err(error) => internal_error(&error),
        }
    });
    let later = Arc::new(LaterTask::default());
    match answer.as_mut().poll(&mut task::Context::from_waker(&Waker::from(Arc::clone(&later)))) {
        Poll::Ready(response) => response,
        Poll::Pending => future_to_promise(async move {
            later.start().await;
            Ok(answer.await)
        })
        .into(),
    }
}

/// The task that continues a future after its first poll.
///
/// A timer keeps the waker of its first poll, which precedes the task.
#[derive(Default)]
struct LaterTask(OnceLock<Waker>);

impl LaterTask {
    /// Lets the calling task receive the wakes of the first poll.
    async fn start(&self) {
        std::future::poll_fn(|context| {
            self.0.get_or_init(|| context.waker().clone());
            Poll::Ready(())
        })
        .await;
    }
}

impl Wake for LaterTask {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// Wakes the task. If it has not begun, its first poll will find what has happened.
    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(waker) = self.0.get() {
            waker.wake_by_ref();
        }
    }
}

/// Creates the response for an error that no other response states.
fn internal_error(error: &Error) -> JsValue {
    worker::console_error!("{error}");
    let init = web_sys::ResponseInit::new();
    init.set_status(StatusCode::INTERNAL_SERVER_ERROR.as_u16());
    let response = web_sys::Response::new_with_opt_str_and_init(Some("INTERNAL SERVER ERROR"), &init);
    response.map_or_else(|refused| refused, JsValue::from)
}
