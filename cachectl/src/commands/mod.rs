//! The subcommands, one file each.

pub(crate) mod acl;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod inspect;
pub(crate) mod journal;
pub(crate) mod purge;
pub(crate) mod ship;
pub(crate) mod stats;
pub(crate) mod sweep;
pub(crate) mod verify;
