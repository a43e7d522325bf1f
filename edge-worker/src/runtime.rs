//! The runtime's types ↔ ours: time, fields, responses.

use std::cell::Cell;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use wasm_bindgen::{JsCast, JsValue};
use worker::js_sys::futures::JsFuture;
use worker::js_sys::{self, Reflect, Uint8Array};
use worker::{Context, Delay, Env, web_sys};

use crate::error::{Error, ErrorKind};
use crate::rules::Json;
use crate::store::isolate::Measured;
use crate::store::metadata::unix_ms;

/// The runtime's time. It stands still between I/O.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(worker::Date::now().as_millis())
}

/// A variable of the worker that is a text.
pub(crate) fn variable(env: &Env, name: &str) -> Option<String> {
    Reflect::get(env, &name.into()).ok()?.as_string()
}

/// A variable of the worker that is JSON, as a text or as what `wrangler.toml` makes of tables; `None` if it is absent or empty. What
/// is no JSON comes back as the text that it is.
pub(crate) fn json_variable(env: &Env, name: &str) -> Option<Json> {
    let value = Reflect::get(env, &name.into()).ok().filter(|value| !value.is_undefined())?;
    match value.as_string() {
        Some(text) if text.trim().is_empty() => None,
        Some(text) => Some(js_sys::JSON::parse(&text).map_or(Json::Text(text), |value| from_json(&value))),
        None => Some(from_json(&value)),
    }
}

fn from_json(value: &JsValue) -> Json {
    if let Some(value) = value.as_bool() {
        Json::Bool(value)
    } else if let Some(number) = value.as_f64() {
        Json::Number(number)
    } else if let Some(text) = value.as_string() {
        Json::Text(text)
    } else if js_sys::Array::is_array(value) {
        Json::List(js_sys::Array::from(value).iter().map(|item| from_json(&item)).collect())
    } else if value.is_object() {
        let members = js_sys::Object::entries(value.unchecked_ref());
        let member = |entry: JsValue| {
            let entry: &js_sys::Array = entry.unchecked_ref();
            (entry.get(0).as_string().unwrap_or_default(), from_json(&entry.get(1)))
        };
        Json::Object(members.iter().map(member).collect())
    } else {
        Json::Null
    }
}

/// Runs `work` once the response is sent. All work has one type, as the runtime's side of it is generated per type.
pub(crate) fn afterwards(context: &Context, work: impl Future<Output = ()> + 'static) {
    let work: Pin<Box<dyn Future<Output = ()>>> = Box::pin(work);
    context.wait_until(work);
}

/// The runtime's fields as ours; what is no field is left out. The runtime decodes values as UTF-8, and what is not becomes
/// U+FFFD: the policy selects nothing by such a value.
pub(crate) fn from_runtime(headers: web_sys::Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in worker::Headers(headers).entries() {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes())) {
            map.append(name, value);
        }
    }
    map
}

/// Our fields as the runtime's; one that the runtime refuses is left out.
pub(crate) fn to_runtime(headers: &HeaderMap) -> worker::Headers {
    let target = worker::Headers::new();
    for (name, value) in headers {
        let _ = target.append(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    target
}

/// What `work` comes to, unless it takes longer: then it is dropped.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    // By its address, so that this is compiled once for each result and not for each kind of work: the module is small.
    until(limit, std::pin::pin!(work)).await
}

async fn until<T>(limit: Duration, work: Pin<&mut dyn Future<Output = Result<T, Error>>>) -> Result<T, Error> {
    match select(work, Delay::from(limit)).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => Err(Error::new(ErrorKind::Unreachable, format!("no answer within {} s", limit.as_secs()))),
    }
}

/// A response's body.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// On its way; tied to the request that asked for it, and read once.
    Stream(web_sys::ReadableStream),
    /// All of it. May be kept across requests and read often.
    Whole(Uint8Array),
}

impl Body {
    /// All of it, once it is there. It stays on the runtime's side.
    ///
    /// # Errors
    /// If it breaks off, or is longer than `max_bytes`.
    pub(crate) async fn whole(self, max_bytes: u64) -> Result<Uint8Array, Error> {
        match self {
            Self::Stream(stream) => whole(&stream, max_bytes).await,
            Self::Whole(bytes) => Ok(bytes),
        }
    }

    /// The same body twice: one for the client, one for the store.
    pub(crate) fn tee(self) -> (Self, Self) {
        match self {
            Self::Stream(stream) => {
                let halves = stream.tee();
                (Self::Stream(halves.get(0).into()), Self::Stream(halves.get(1).into()))
            }
            Self::Whole(bytes) => (Self::Whole(bytes.clone()), Self::Whole(bytes)),
        }
    }

    /// Its octets from `first` to before `end`, once all of it is there.
    ///
    /// # Errors
    /// If it breaks off, or is longer than `max_bytes`.
    pub(crate) async fn slice(self, first: u64, end: u64, max_bytes: u64) -> Result<Self, Error> {
        let offset = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
        Ok(Self::Whole(self.whole(max_bytes).await?.subarray(offset(first), offset(end))))
    }

    /// As the runtime takes it. A `BodyInit` is any of several types, for each of which the bindings have a constructor of their own.
    fn as_init(&self) -> &web_sys::ReadableStream {
        match self {
            Self::Stream(stream) => stream,
            Self::Whole(bytes) => bytes.unchecked_ref(),
        }
    }
}

impl Measured for Body {
    fn bytes(&self) -> Option<usize> {
        match self {
            Self::Stream(_) => None,
            Self::Whole(bytes) => usize::try_from(bytes.length()).ok(),
        }
    }
}

/// A response whose body is sent as it is: [`origin::fetch`](crate::origin) and the store hand out bodies as the origin encoded
/// them, and the runtime is told not to encode them for their `Content-Encoding` once more.
pub(crate) fn response(
    status: StatusCode,
    headers: &HeaderMap,
    body: Option<&Body>,
) -> Result<web_sys::Response, Error> {
    let init = web_sys::ResponseInit::new();
    init.set_status(status.as_u16());
    init.set_headers(&to_runtime(headers).0);
    Reflect::set(&init, &"encodeBody".into(), &"manual".into())?;
    // The runtime refuses a body, even an empty one, where there can be none (Fetch standard, null body status).
    let body = body.filter(|_| !matches!(status.as_u16(), 101 | 204 | 205 | 304)).map(Body::as_init);
    Ok(web_sys::Response::new_with_opt_readable_stream_and_init(body, &init)?)
}

/// What bodies that are being collected take of an isolate's memory at most; twice as much while they are joined. The runtime ends an
/// isolate that takes more than 128 MB for all it does, with all its requests.
const MAX_HELD_BYTES: u32 = 32 << 20;
/// So much of each body counts for nothing: what is small is always taken.
const FREE_BYTES: u32 = 64 << 10;
/// What was taken in one such period counts to the end of the next at most: what the runtime cuts off is never told to be over.
const PERIOD_MS: u64 = 60_000;

thread_local! {
    /// The number of a period, what was taken in it, and what in the one before.
    static HELD_BYTES: Cell<(u64, u32, u32)> = const { Cell::new((0, 0, 0)) };
}

/// What one body takes of it.
struct Held(u32);

impl Held {
    /// Whether there is room for so many bytes more, which are then taken.
    fn takes(&mut self, bytes: u32) -> bool {
        let period = unix_ms(now()) / PERIOD_MS;
        let (current, before) = match HELD_BYTES.get() {
            (last, current, before) if last == period => (current, before),
            (last, current, _) if last + 1 == period => (0, current),
            _ => (0, 0),
        };
        let has_room = current.saturating_add(before).saturating_add(bytes) <= MAX_HELD_BYTES;
        if has_room {
            self.0 += bytes;
            HELD_BYTES.set((period, current + bytes, before));
        }
        has_room
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (period, current, before) = HELD_BYTES.get();
        let rest = self.0.saturating_sub(current);
        HELD_BYTES.set((period, current.saturating_sub(self.0), before.saturating_sub(rest)));
    }
}

async fn whole(body: &web_sys::ReadableStream, max_bytes: u64) -> Result<Uint8Array, Error> {
    let reader: web_sys::ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    let mut chunks: Vec<Uint8Array> = Vec::new();
    let mut length = 0;
    let mut held = Held(0);
    loop {
        let step = JsFuture::from(reader.read()).await?;
        if Reflect::get(&step, &"done".into())?.is_truthy() {
            break;
        }
        let chunk: Uint8Array = Reflect::get(&step, &"value".into())?.unchecked_into();
        length += chunk.byte_length();
        let is_too_long = u64::from(length) > max_bytes;
        if is_too_long || (length > FREE_BYTES && !held.takes(chunk.byte_length())) {
            // Nothing more is held for this half. Not waited for: it is over only once the other half is.
            drop(reader.cancel());
            let what = if is_too_long { "a body" } else { "what is held of all bodies at once" };
            let max_bytes = if is_too_long { max_bytes } else { MAX_HELD_BYTES.into() };
            return Err(Error::new(ErrorKind::Origin, format!("expected {what} to have at most {max_bytes} bytes")));
        }
        chunks.push(chunk);
    }
    if let [only] = chunks.as_slice()
        && only.byte_length() == only.buffer().unchecked_ref::<js_sys::ArrayBuffer>().byte_length()
    {
        return Ok(only.clone());
    }
    let whole = Uint8Array::new_with_length(length);
    let mut at = 0;
    for chunk in chunks {
        whole.set(&chunk, at);
        at += chunk.byte_length();
    }
    Ok(whole)
}

/// Writes a data point if a Workers Analytics Engine dataset is bound as `ANALYTICS`. Costs no I/O; that it fails is not told.
pub(crate) fn write_data_point(env: &Env, indexes: &[&str], blobs: &[&str], doubles: &[f64]) {
    let Ok(dataset) = Reflect::get(env, &"ANALYTICS".into()) else { return };
    let Ok(write) = Reflect::get(&dataset, &"writeDataPoint".into()) else { return };
    let texts = |texts: &[&str]| texts.iter().map(|text| JsValue::from(*text)).collect::<js_sys::Array>();
    let numbers: js_sys::Array = doubles.iter().map(|number| JsValue::from(*number)).collect();
    let point = js_sys::Object::new();
    for (name, values) in [("indexes", texts(indexes)), ("blobs", texts(blobs)), ("doubles", numbers)] {
        let _ = Reflect::set(&point, &name.into(), &values);
    }
    if let Some(write) = write.dyn_ref::<js_sys::Function>() {
        let _ = write.call1(&dataset, &point);
    }
}

/// The length of the body that a response says it has; zero if it says none or has no body.
pub(crate) fn content_length(response: &web_sys::Response) -> f64 {
    if response.body().is_none() {
        return 0.0;
    }
    let length = response.headers().get("content-length").ok().flatten();
    length.and_then(|length| length.parse::<u32>().ok()).unwrap_or_default().into()
}

/// A JSON object with these members, as text.
pub(crate) fn json_text(members: &[(&str, JsValue)]) -> String {
    let object = js_sys::Object::new();
    for (name, value) in members {
        // Setting a member of a plain object does not fail.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    js_sys::JSON::stringify(&object).ok().and_then(|text| text.as_string()).unwrap_or_default()
}

/// A response of this worker's own: a JSON object with these members.
pub(crate) fn json(status: StatusCode, members: &[(&str, JsValue)]) -> Result<web_sys::Response, Error> {
    let init = web_sys::ResponseInit::new();
    init.set_status(status.as_u16());
    let headers = worker::Headers::new();
    headers.set("content-type", "application/json")?;
    headers.set("cache-control", "no-store")?;
    init.set_headers(&headers.0);
    Ok(web_sys::Response::new_with_opt_str_and_init(Some(&json_text(members)), &init)?)
}
