//! The tier below the Cache API, for all data centres: an R2 bucket or a KV namespace.
//!
//! A URL that is cold in one data centre is then fetched from the origin once and not once for each
//! of them. Every object carries its position in the journal and its scopes, so a purge ends it by
//! the rule, as it does everywhere.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use shared_keys::ContentHash;
use wasm_bindgen::{JsCast, JsValue};
use worker::Env;
use worker::js_sys::futures::JsFuture;
use worker::js_sys::{ArrayBuffer, Function, Promise, Reflect, Uint8Array};

use super::body::Body;
use super::{json_object, now};
use crate::error::{Error, ErrorKind};
use crate::store::object::{PREFIX_BYTES, fields, head, prefix};
use crate::store::{Entry, metadata};

/// The name of the binding.
const BINDING: &str = "PERSISTENT";

/// The prefix of the objects' names, for a lifecycle rule of the bucket.
const NAME_PREFIX: &str = "strata/";

/// The shortest time that KV keeps an object.
const MIN_KV_TTL: Duration = Duration::from_secs(60);

thread_local! {
    static BOUND: OnceCell<Option<Rc<Persistent>>> = const { OnceCell::new() };
}

/// A bucket or a namespace.
pub(super) struct Persistent {
    binding: JsValue,
    is_bucket: bool,
}

impl Persistent {
    /// Returns the bucket or namespace that is bound; `None` without one. An isolate looks once: a
    /// deployment with other bindings has isolates of its own.
    pub(super) fn of(env: &Env) -> Option<Rc<Self>> {
        BOUND.with(|bound| bound.get_or_init(|| Self::bound(env).map(Rc::new)).clone())
    }

    fn bound(env: &Env) -> Option<Self> {
        let binding = Reflect::get(env, &BINDING.into()).ok().filter(JsValue::is_object)?;
        // Only a bucket has `head`.
        let is_bucket = Reflect::get(&binding, &"head".into()).is_ok_and(|head| head.is_function());
        Some(Self { binding, is_bucket })
    }

    /// Returns the entry under `key` and how long it is still one; `None` if it has expired.
    ///
    /// # Errors
    /// If the store fails, or another version has written the object.
    pub(super) async fn get(&self, key: &str) -> Result<Option<(Entry<Body>, Duration)>, Error> {
        let kind = if self.is_bucket { JsValue::UNDEFINED } else { "arrayBuffer".into() };
        let mut found = call(&self.binding, "get", &[&name_of(key), &kind]).await?;
        if found.is_null() || found.is_undefined() {
            return Ok(None);
        }
        if self.is_bucket {
            found = call(&found, "arrayBuffer", &[]).await?;
        }
        let bytes = Uint8Array::new(found.unchecked_ref::<ArrayBuffer>());
        let size = PREFIX_BYTES as u32;
        let prefix = prefix(&bytes.subarray(0, size).to_vec())?;
        let Some(left) = prefix.expires.duration_since(now()).ok().filter(|left| !left.is_zero()) else {
            return Ok(None);
        };
        let body_at = u32::try_from(prefix.body_at).ok().filter(|at| *at <= bytes.length());
        let body_at = body_at.ok_or_else(|| Error::new(ErrorKind::Store, "an object was cut off"))?;
        let fields = fields(&bytes.subarray(size, body_at).to_vec())?;
        let body = Some(bytes.slice(body_at, bytes.length())).filter(|body| body.length() > 0);
        Ok(Some((metadata::decode_entry(fields, body.map(Body::Whole))?, left)))
    }

    /// Replaces the entry under `key`.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn put(&self, key: &str, entry: &Entry<Body>, retention: Duration) -> Result<(), Error> {
        let body = match entry.body() {
            None => None,
            Some(Body::Whole(bytes)) => Some(bytes),
            // Every body that is put is complete.
            Some(Body::Stream(_)) => return Err(Error::new(ErrorKind::Store, "expected a complete body")),
        };
        let body_bytes = body.map_or(0, Uint8Array::length);
        let head = head(&metadata::encode_entry(entry), now() + retention);
        let head_bytes = u32::try_from(head.len()).unwrap_or(u32::MAX);
        let object = Uint8Array::new_with_length(head_bytes.saturating_add(body_bytes));
        object.subarray(0, head_bytes).copy_from(&head);
        if let Some(body) = body {
            object.set(body, head_bytes);
        }
        let options = if self.is_bucket {
            JsValue::UNDEFINED
        } else {
            let secs = retention.max(MIN_KV_TTL).as_secs();
            json_object(&[("expirationTtl", (secs as f64).into())]).into()
        };
        call(&self.binding, "put", &[&name_of(key), &object, &options]).await?;
        Ok(())
    }

    /// Deletes the object under `key`, if there is one.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Error> {
        call(&self.binding, "delete", &[&name_of(key)]).await?;
        Ok(())
    }
}

/// Returns the object's name: short enough for KV, which permits 512 bytes.
fn name_of(key: &str) -> JsValue {
    format!("{NAME_PREFIX}{}", ContentHash::new([], key.as_bytes())).into()
}

/// Calls a method, and returns what its promise resolves to.
async fn call(object: &JsValue, method: &str, arguments: &[&JsValue]) -> Result<JsValue, Error> {
    let method: Function = Reflect::get(object, &method.into())?.dyn_into()?;
    let arguments = arguments.iter().copied().collect::<worker::js_sys::Array>();
    Ok(JsFuture::from(Promise::resolve(&method.apply(object, &arguments)?)).await?)
}
