//! The exchange with the origin: the request that is sent to it, and the response that it returns.

pub mod location;
pub mod request;
pub mod response;
