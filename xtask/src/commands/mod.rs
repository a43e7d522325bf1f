//! One file or folder per command.

pub(crate) mod attack;
pub(crate) mod bench;
pub(crate) mod build_edge;
pub(crate) mod chaos;
pub(crate) mod conformance;
pub(crate) mod demo;
pub(crate) mod edge;
pub(crate) mod fuzz;
pub(crate) mod model;
pub(crate) mod package;
pub(crate) mod picture;
pub(crate) mod recipes;
mod request_log;
pub(crate) mod setup;
pub(crate) mod simulate;
pub(crate) mod test;
pub(crate) mod up;
pub(crate) mod vectors;
