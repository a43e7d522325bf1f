//! A store in memory, for tests. Its entries do not expire.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::HeaderMap;

use super::variants::Selecting;
use super::{Entry, Store, metadata};
use crate::error::Error;

/// Stores entries as the Cache API adapter does: as a header section and a body.
#[derive(Debug, Default)]
pub(crate) struct FakeStore {
    entries: RefCell<HashMap<String, (HeaderMap, Option<String>)>>,
}

impl Store for FakeStore {
    type Body = String;

    async fn get(&self, key: &str) -> Result<Option<Entry<String>>, Error> {
        let Some((headers, body)) = self.entries.borrow().get(key).cloned() else { return Ok(None) };
        if let Some(marker) = metadata::decode_marker(&headers)? {
            return Ok(Some(Entry::Marker(marker)));
        }
        if let Some(marker) = metadata::decode_search_marker(&headers)? {
            return Ok(Some(Entry::SearchMarker(marker)));
        }
        let (response, generation) = metadata::decode(headers)?;
        Ok(Some(Entry::Response { response, generation, body }))
    }

    async fn put(&self, key: &str, entry: Entry<String>, _keep_for: Duration) -> Result<(), Error> {
        let message = match entry {
            Entry::Marker(marker) => (metadata::encode_marker(&marker), None),
            Entry::SearchMarker(marker) => (metadata::encode_search_marker(&marker), None),
            Entry::Response { response, generation, body } => (metadata::encode(&response, generation), body),
        };
        self.entries.borrow_mut().insert(key.to_owned(), message);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.entries.borrow_mut().remove(key);
        Ok(())
    }
}

/// Returns what selects for a request with these fields by the default rules.
pub(crate) fn selecting(request: &HeaderMap) -> Selecting<'_> {
    Selecting { rules: Box::leak(Box::default()), required: Box::leak(Box::default()), request }
}

/// Returns the value of a future that is ready at once.
#[track_caller]
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the fake store is ready at once"),
    }
}
