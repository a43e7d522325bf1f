//! The error responses of the API.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use origin_sdk::LoadError;

/// An error response: a status and a message, sent as `{"error": "..."}`.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub(crate) fn not_found(what: &str, id: u32) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: format!("there is no {what} {id}") }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    /// Logs the cause and returns a 500 that hides it from the client.
    fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(%cause, "a request failed");
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: "the shop could not answer; try again later".into(),
        }
    }
}

/// Returns the value of a read as JSON, or a 404 if it is `None`.
pub(crate) fn found<T>(value: Arc<Option<T>>, what: &str, id: u32) -> Result<Json<Arc<Option<T>>>, ApiError> {
    if value.is_some() { Ok(Json(value)) } else { Err(ApiError::not_found(what, id)) }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(serde_json::json!({ "error": self.message }))).into_response()
    }
}

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        Self::internal(&error)
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        Self::internal(&error)
    }
}

macro_rules! from_rejection {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for ApiError {
            fn from(rejection: $rejection) -> Self {
                Self { status: rejection.status(), message: rejection.body_text() }
            }
        }
    )*};
}
from_rejection!(JsonRejection, PathRejection, QueryRejection);
