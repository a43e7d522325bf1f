//! Purge messages as JSON. Parsing is strict: an unknown or repeated field, an array in place of an
//! object, or an exceeded bound rejects the whole message.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::Serialize;

use super::json::Reader;
use super::{MAX_BODY_BYTES, MAX_RECORDS, MAX_SCOPE_BYTES, VERSION};
use crate::{Mode, ParseError, Position, Scope};

/// One invalidation in a [`PurgeMessage`].
///
/// ```
/// use shared_keys::purge::{PurgeMessage, PurgeRecord};
/// use shared_keys::{Mode, Scope};
/// let records = vec![PurgeRecord { scope: Scope::All, mode: Mode::Expire, position: None }];
/// let json = r#"{"v":1,"records":[{"scope":"all","mode":"expire"}]}"#;
/// assert_eq!(PurgeMessage { records }.to_json(), json);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeRecord {
    /// The scope that is invalidated.
    pub scope: Scope,
    /// The effect on the entries in the scope.
    pub mode: Mode,
    /// The position in the origin's journal; `None` from a system without a journal.
    pub position: Option<Position>,
}

/// Invalidations to be sent to the edge.
///
/// ```
/// use shared_keys::purge::PurgeMessage;
/// let body = br#"{"v":1,"records":[{"scope":"tag:news","mode":"expire"}]}"#;
/// let message = PurgeMessage::parse(body).unwrap();
/// assert_eq!(message.to_json().as_bytes(), body);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeMessage {
    /// The invalidations, in the journal's order.
    pub records: Vec<PurgeRecord>,
}

#[derive(Serialize)]
struct WireMessage {
    v: u32,
    records: Vec<WireRecord>,
}

#[derive(Default, Serialize)]
pub(super) struct WireRecord {
    pub(super) scope: String,
    pub(super) mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<String>,
}

impl PurgeMessage {
    /// Returns the message as JSON, version 1. Bounds are not checked here: [`parse`](Self::parse)
    /// rejects a message that exceeds them.
    #[must_use]
    pub fn to_json(&self) -> String {
        let record = |record: &PurgeRecord| WireRecord {
            scope: record.scope.to_string(),
            mode: record.mode.as_str().to_string(),
            position: record.position.map(|position| position.to_string()),
        };
        let message = WireMessage { v: VERSION, records: self.records.iter().map(record).collect() };
        // Strings and numbers always serialise.
        serde_json::to_string(&message).unwrap_or_default()
    }

    /// Parses a message from a body.
    ///
    /// ```
    /// use shared_keys::purge::PurgeMessage;
    /// let body = br#"{"v":1,"records":[{"scope":"tag:a","mode":"drop"}]}"#;
    /// let message = r#"record 0, mode: expected `remove` or `expire` at byte 0 of "drop""#;
    /// assert_eq!(PurgeMessage::parse(body).unwrap_err().to_string(), message);
    /// ```
    ///
    /// # Errors
    /// Fails if it is not a version 1 message, exceeds a bound, or contains a malformed scope, mode
    /// or position; the error names the record and the field. No part of the message is accepted
    /// then.
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(MessageError::whole("at most 1 MiB in a message", MAX_BODY_BYTES, ""));
        }
        let text = core::str::from_utf8(body)
            .map_err(|error| MessageError::whole("UTF-8", error.valid_up_to(), ""))?;
        let records = match Reader::new(text).message() {
            Ok((VERSION, records)) => records,
            Ok(_) => return Err(MessageError::whole("message version 1", 0, text)),
            Err(at) => return Err(not_a_message(text, at)),
        };
        if records.len() > MAX_RECORDS {
            return Err(MessageError::whole("at most 10,000 records in a message", 0, text));
        }
        let records = records.iter().enumerate().map(|(number, record)| record.parse(number));
        Ok(Self { records: records.collect::<Result<_, _>>()? })
    }
}

impl WireRecord {
    fn parse(&self, number: usize) -> Result<PurgeRecord, MessageError> {
        if self.scope.len() > MAX_SCOPE_BYTES {
            let cause = ParseError::new("a scope of at most 4,096 bytes", MAX_SCOPE_BYTES, &self.scope);
            return Err(MessageError { field: Some((number, "scope")), cause });
        }
        Ok(PurgeRecord {
            scope: parse_field(number, "scope", &self.scope)?,
            mode: parse_field(number, "mode", &self.mode)?,
            position: self
                .position
                .as_deref()
                .map(|text| parse_field(number, "position", text))
                .transpose()?,
        })
    }
}

fn parse_field<T: FromStr<Err = ParseError>>(
    record: usize,
    name: &'static str,
    text: &str,
) -> Result<T, MessageError> {
    text.parse().map_err(|cause| MessageError { field: Some((record, name)), cause })
}

/// Returns the error for a body that is not a version 1 message. A message of another version gets
/// an error that names the version, not a field that version 1 lacks.
fn not_a_message(text: &str, at: usize) -> MessageError {
    match Reader::new(text).version() {
        Ok(version) if version != VERSION => MessageError::whole("message version 1", 0, text),
        _ => MessageError::whole(r#"{"v":1,"records":[{"scope":…,"mode":…,"position"?:…}]}"#, at, text),
    }
}

/// A body that is not a purge message: what was expected, where, and in which field of which
/// record.
///
/// ```
/// use shared_keys::purge::PurgeMessage;
/// let body = br#"{"v":1,"records":[{"scope":"key","mode":"remove"}]}"#;
/// let error = PurgeMessage::parse(body).unwrap_err();
/// assert_eq!(error.field(), Some((0, "scope")));
/// let error = PurgeMessage::parse(br#"{"v":1,"records":[}"#).unwrap_err();
/// assert_eq!((error.field(), error.cause().at()), (None, 18));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageError {
    field: Option<(usize, &'static str)>,
    cause: ParseError,
}

impl MessageError {
    fn whole(expected: &'static str, at: usize, text: &str) -> Self {
        Self { field: None, cause: ParseError::new(expected, at, text) }
    }

    /// Returns the malformed record, counted from 0, and the name of its field; `None` if the
    /// message as a whole is malformed.
    #[must_use]
    pub fn field(&self) -> Option<(usize, &'static str)> {
        self.field
    }

    /// Returns what was expected, and at which byte of the field or else of the body.
    #[must_use]
    pub fn cause(&self) -> &ParseError {
        &self.cause
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((record, name)) = self.field {
            write!(f, "record {record}, {name}: ")?;
        }
        self.cause.fmt(f)
    }
}

impl core::error::Error for MessageError {}

#[cfg(test)]
mod tests {
    use alloc::{format, vec};
    use proptest::prelude::*;

    use super::*;

    fn error(body: &str) -> MessageError {
        PurgeMessage::parse(body.as_bytes()).unwrap_err()
    }

    fn message(records: &str) -> String {
        format!(r#"{{"v":1,"records":[{records}]}}"#)
    }

    #[test]
    fn an_error_names_the_record_and_the_field() {
        let good = r#"{"scope":"tag:a","mode":"remove"}"#;
        for (record, field, text) in [
            (r#"{"scope":"prefix:shop","mode":"remove"}"#, "scope", "a key prefix that ends with `:`"),
            (r#"{"scope":"tag:a","mode":"drop"}"#, "mode", "`remove` or `expire`"),
            (r#"{"scope":"tag:a","mode":"remove","position":"5-"}"#, "position", "a decimal number"),
        ] {
            let error = error(&message(&format!("{good},{record}")));
            assert_eq!((error.field(), error.cause().expected()), (Some((1, field)), text));
            assert!(
                error.to_string().starts_with(&format!("record 1, {field}: expected {text} at byte ")),
                "{error}"
            );
        }
    }

    #[test]
    fn malformed_json_is_refused_at_its_first_wrong_byte() {
        for (body, at) in [
            ("", 0),
            ("{\"v\":1,\n\"records\":[],\n \"x\":1}", 25),
            (r#"{"v":1,"records":[]}x"#, 20),
            (r#"{"v":1,"v":1,"records":[]}"#, 9),
            (r#"{"v":1}"#, 6),
            ("[1,[]]", 0),
        ] {
            let error = error(body);
            assert_eq!((error.field(), error.cause().at()), (None, at), "{error}");
            assert!(error.cause().expected().starts_with(r#"{"v":1,"#), "{error}");
        }
        assert_eq!(error(&message(r#"["tag:a","remove",null]"#)).field(), None);
    }

    #[test]
    fn another_version_is_named_whatever_else_it_has() {
        for body in
            [r#"{"v":2,"records":[]}"#, r#"{"scopes":["all"],"v":2}"#, r#"{"v":0,"records":[{"x":1}]}"#]
        {
            assert_eq!(error(body).cause().expected(), "message version 1", "{body}");
        }
    }

    #[test]
    fn the_bounds_are_inclusive() {
        let records = |count| message(&vec![r#"{"scope":"all","mode":"remove"}"#; count].join(","));
        assert_eq!(PurgeMessage::parse(records(MAX_RECORDS).as_bytes()).unwrap().records.len(), MAX_RECORDS);
        assert_eq!(
            error(&records(MAX_RECORDS + 1)).cause().expected(),
            "at most 10,000 records in a message"
        );

        let key = |bytes: usize| {
            message(&format!(r#"{{"scope":"key:{}","mode":"remove"}}"#, "k".repeat(bytes - 4)))
        };
        assert!(PurgeMessage::parse(key(MAX_SCOPE_BYTES).as_bytes()).is_ok());
        assert_eq!(error(&key(MAX_SCOPE_BYTES + 1)).field(), Some((0, "scope")));

        let padded = |bytes: usize| message("") + &" ".repeat(bytes - message("").len());
        assert!(PurgeMessage::parse(padded(MAX_BODY_BYTES).as_bytes()).is_ok());
        assert_eq!(error(&padded(MAX_BODY_BYTES + 1)).cause().expected(), "at most 1 MiB in a message");
    }

    proptest! {
        #[test]
        fn a_message_parses_back(records in prop::collection::vec((".{1,20}", any::<bool>(), any::<Option<(u64, u64)>>()), 0..5)) {
            let records = records.iter().map(|(tag, remove, position)| PurgeRecord {
                scope: Scope::Tag(crate::Tag::new(tag).unwrap()),
                mode: if *remove { Mode::Remove } else { Mode::Expire },
                position: position.map(|(ms, seq)| Position::new(ms, seq)),
            });
            let message = PurgeMessage { records: records.collect() };
            prop_assert_eq!(PurgeMessage::parse(message.to_json().as_bytes()), Ok(message));
        }

        #[test]
        fn hostile_bodies_never_panic(body in any::<Vec<u8>>(), json in r#"[{}\[\]",:a-z0-9 \n]{0,60}"#) {
            let _ = PurgeMessage::parse(&body);
            let _ = PurgeMessage::parse(json.as_bytes());
            let _ = PurgeMessage::parse(message(&json).as_bytes());
        }
    }
}
