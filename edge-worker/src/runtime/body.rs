//! A response body, and the memory that bodies reserve while they are collected.

use std::cell::Cell;

use wasm_bindgen::JsCast;
use worker::js_sys::futures::JsFuture;
use worker::js_sys::{self, Reflect, Uint8Array};
use worker::web_sys;

use super::now;
use crate::error::{Error, ErrorKind};
use crate::store::BodyLength;
use crate::time::unix_ms;

/// A response's body.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// A stream: tied to the request that opened it, and read once.
    Stream(web_sys::ReadableStream),
    /// The complete body. It may be stored across requests and read often.
    Whole(Uint8Array),
}

impl Body {
    /// Collects the complete body, which stays in the runtime's memory.
    ///
    /// # Errors
    /// [`ErrorKind::Runtime`] if the stream breaks off; [`ErrorKind::Origin`] if the body is longer
    /// than `max_bytes`, or if all bodies together would exceed [`MAX_RESERVED_BYTES`].
    pub(crate) async fn whole(self, max_bytes: u64) -> Result<Uint8Array, Error> {
        match self {
            Self::Stream(stream) => collect(&stream, max_bytes).await,
            Self::Whole(bytes) => Ok(bytes),
        }
    }

    /// Returns the body twice: one for the client, one for the store.
    pub(crate) fn tee(self) -> (Self, Self) {
        match self {
            Self::Stream(stream) => {
                let halves = stream.tee();
                (Self::Stream(halves.get(0).into()), Self::Stream(halves.get(1).into()))
            }
            Self::Whole(bytes) => (Self::Whole(bytes.clone()), Self::Whole(bytes)),
        }
    }

    /// Returns the bytes `first..end` of the body, once all of it is collected.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub(crate) async fn slice(self, first: u64, end: u64, max_bytes: u64) -> Result<Self, Error> {
        let offset = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
        Ok(Self::Whole(self.whole(max_bytes).await?.subarray(offset(first), offset(end))))
    }

    /// Returns the body as the runtime's `BodyInit`. That is a union of several types; the bindings
    /// have one constructor for each, and accept this type for all.
    pub(super) fn as_init(&self) -> &web_sys::ReadableStream {
        match self {
            Self::Stream(stream) => stream,
            Self::Whole(bytes) => bytes.unchecked_ref(),
        }
    }
}

impl BodyLength for Body {
    fn length(&self) -> Option<usize> {
        match self {
            Self::Stream(_) => None,
            Self::Whole(bytes) => usize::try_from(bytes.length()).ok(),
        }
    }
}

/// The memory of an isolate that bodies may reserve while they are collected; twice as much is in
/// use while their chunks are joined. The runtime ends an isolate that uses more than 128 MB, with
/// all its requests.
const MAX_RESERVED_BYTES: u32 = 32 << 20;
/// The beginning of each body that needs no reservation, so that small bodies are always accepted.
const UNRESERVED_BYTES: u32 = 64 << 10;
/// Reservations expire after one to two periods. A request that the runtime cancels never runs
/// `Drop`, so its bytes would otherwise stay reserved forever.
const PERIOD_MS: u64 = 60_000;

thread_local! {
    static RESERVED: Cell<Reserved> = const { Cell::new(Reserved { period: 0, current: 0, previous: 0 }) };
}

/// The bytes that the bodies of an isolate have reserved.
#[derive(Clone, Copy)]
struct Reserved {
    /// The number of the current period.
    period: u64,
    /// The bytes reserved in it.
    current: u32,
    /// The bytes reserved in the period before it.
    previous: u32,
}

impl Reserved {
    /// Returns the state at `period`: without the reservations that have expired.
    fn at(self, period: u64) -> Self {
        match period.checked_sub(self.period) {
            Some(0) => self,
            Some(1) => Self { period, current: 0, previous: self.current },
            _ => Self { period, current: 0, previous: 0 },
        }
    }
}

/// The bytes reserved by one body. Dropping it releases them.
struct Reservation(u32);

impl Reservation {
    /// Reserves `bytes` more. Returns `false` if there is no room for them.
    fn try_extend(&mut self, bytes: u32) -> bool {
        let reserved = RESERVED.get().at(unix_ms(now()) / PERIOD_MS);
        let has_room =
            reserved.current.saturating_add(reserved.previous).saturating_add(bytes) <= MAX_RESERVED_BYTES;
        if has_room {
            self.0 += bytes;
            RESERVED.set(Reserved { current: reserved.current + bytes, ..reserved });
        }
        has_room
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Reserved { period, current, previous } = RESERVED.get();
        let rest = self.0.saturating_sub(current);
        let (current, previous) = (current.saturating_sub(self.0), previous.saturating_sub(rest));
        RESERVED.set(Reserved { period, current, previous });
    }
}

async fn collect(stream: &web_sys::ReadableStream, max_bytes: u64) -> Result<Uint8Array, Error> {
    let reader: web_sys::ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let mut chunks: Vec<Uint8Array> = Vec::new();
    let mut length = 0;
    let mut reservation = Reservation(0);
    loop {
        let step = JsFuture::from(reader.read()).await?;
        if Reflect::get(&step, &"done".into())?.is_truthy() {
            break;
        }
        let chunk: Uint8Array = Reflect::get(&step, &"value".into())?.unchecked_into();
        length += chunk.byte_length();
        let is_too_long = u64::from(length) > max_bytes;
        if is_too_long || (length > UNRESERVED_BYTES && !reservation.try_extend(chunk.byte_length())) {
            // The promise is not awaited: it resolves only once the other half of a tee is
            // cancelled as well.
            drop(reader.cancel());
            return Err(too_large(is_too_long.then_some(max_bytes)));
        }
        chunks.push(chunk);
    }
    if let [only] = chunks.as_slice()
        && only.byte_length() == only.buffer().unchecked_ref::<js_sys::ArrayBuffer>().byte_length()
    {
        return Ok(only.clone());
    }
    let whole = Uint8Array::new_with_length(length);
    let mut offset = 0;
    for chunk in chunks {
        whole.set(&chunk, offset);
        offset += chunk.byte_length();
    }
    Ok(whole)
}

fn too_large(max_bytes: Option<u64>) -> Error {
    let message = match max_bytes {
        Some(max_bytes) => format!("expected a body of at most {max_bytes} bytes; it is not stored"),
        None => {
            format!("expected at most {MAX_RESERVED_BYTES} bytes of bodies at once; this one is not stored")
        }
    };
    Error::new(ErrorKind::Origin, message)
}
