//! A response body, and the memory that bodies reserve while they are collected.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, pending, select};
use wasm_bindgen::JsCast;
use worker::js_sys::futures::JsFuture;
use worker::js_sys::{self, Array, Function, Reflect, Uint8Array};
use worker::{Delay, web_sys};

use super::{now, timeout};
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
        Incoming::from(self).whole(max_bytes, &|_| ()).await
    }

    /// Returns the body twice: one for the client, one for the store.
    ///
    /// The runtime's `tee` goes on reading for the store after the client has disconnected, which
    /// is right for a body that ends soon. A body of unknown length may never end, and would keep
    /// the connection of the origin. It ends with its client.
    ///
    /// # Errors
    /// If the runtime refuses to create a stream.
    pub(crate) fn tee(self, has_known_length: bool) -> Result<(Self, Incoming), Error> {
        match self {
            Self::Stream(stream) if has_known_length => {
                let halves = stream.tee();
                Ok((Self::Stream(halves.get(0).into()), Self::Stream(halves.get(1).into()).into()))
            }
            Self::Stream(stream) => {
                let pipe = identity_stream()?;
                let incoming = Incoming { body: Self::Stream(stream), client: Some(pipe.writable()) };
                Ok((Self::Stream(pipe.readable()), incoming))
            }
            Self::Whole(bytes) => Ok((Self::Whole(bytes.clone()), Self::Whole(bytes).into())),
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

/// A body to store, and the client that it is forwarded to while it is collected.
#[derive(Debug)]
pub(crate) struct Incoming {
    body: Body,
    client: Option<web_sys::WritableStream>,
}

impl From<Body> for Incoming {
    fn from(body: Body) -> Self {
        Self { body, client: None }
    }
}

/// The progress of a body that is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// This many bytes have arrived so far.
    Bytes(u32),
    /// It has ended.
    End,
}

/// A function that is called with the progress of a body.
type OnProgress<'a> = &'a dyn Fn(Progress);

impl Incoming {
    /// Collects the complete body. A client gets all of it, even if it is not collected.
    ///
    /// Calls `on_progress` after each chunk, and before a client gets the end of the body.
    ///
    /// # Errors
    /// As [`Body::whole`], and [`ErrorKind::Runtime`] if the client disconnects.
    pub(crate) async fn whole(
        self,
        max_bytes: u64,
        on_progress: OnProgress<'_>,
    ) -> Result<Uint8Array, Error> {
        match self.body {
            Body::Stream(stream) => match self.client {
                Some(client) => forward(&stream, &client, max_bytes, on_progress).await,
                None => collect(&stream, max_bytes, on_progress).await,
            },
            Body::Whole(bytes) => Ok(bytes),
        }
    }
}

/// How long a body is collected. An endless one would otherwise keep its memory, and that of its
/// chunks, for ever. A reservation does not expire before.
const COLLECT_TIMEOUT: Duration = Duration::from_millis(PERIOD_MS);

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

/// Collects a body.
async fn collect(
    stream: &web_sys::ReadableStream,
    max_bytes: u64,
    on_progress: OnProgress<'_>,
) -> Result<Uint8Array, Error> {
    let reader = stream.get_reader().unchecked_into();
    let mut collected = Collected::new(max_bytes);
    let result = timeout(COLLECT_TIMEOUT, async {
        while let Some(chunk) = next(&reader).await? {
            collected.push(chunk)?;
            on_progress(Progress::Bytes(collected.length));
        }
        on_progress(Progress::End);
        Ok(collected.joined())
    });
    let result = result.await;
    if result.is_err() {
        // The promise is not awaited: it resolves only once the other half of a tee is cancelled as
        // well.
        drop(reader.cancel());
    }
    result
}

/// Forwards a body to a client until it ends or the client disconnects, and collects it meanwhile.
async fn forward(
    stream: &web_sys::ReadableStream,
    client: &web_sys::WritableStream,
    max_bytes: u64,
    on_progress: OnProgress<'_>,
) -> Result<Uint8Array, Error> {
    let (reader, writer) = (stream.get_reader().unchecked_into(), client.get_writer()?);
    let collected = RefCell::new(Ok(Collected::new(max_bytes)));
    let collecting = async {
        while let Some(chunk) = next(&reader).await.inspect_err(|_| drop(writer.abort()))? {
            if let Err(disconnect) = JsFuture::from(writer.write_with_chunk(&chunk)).await {
                drop(reader.cancel());
                return Err(Error::from(disconnect));
            }
            let mut collected = collected.borrow_mut();
            if let Ok(Err(error)) = collected.as_mut().map(|collected| collected.push(chunk)) {
                *collected = Err(error);
            }
            if collected.is_err() {
                return Ok(false);
            }
        }
        on_progress(Progress::End);
        JsFuture::from(writer.close()).await?;
        Ok(true)
    };
    let expiry = async {
        Delay::from(COLLECT_TIMEOUT).await;
        *collected.borrow_mut() = Err(not_stored("a body that ends within a minute"));
        pending::<()>().await;
    };
    let has_ended = match select(pin!(collecting), pin!(expiry)).await {
        Either::Left((result, _)) => result?,
        Either::Right(((), _)) => true,
    };
    if !has_ended {
        // The runtime forwards the rest by itself, which costs no CPU time. The pipe ends with
        // either side.
        reader.release_lock();
        writer.release_lock();
        JsFuture::from(stream.pipe_to(client)).await?;
    }
    collected.into_inner().map(Collected::joined)
}

/// Returns the next chunk of a body; `None` at its end.
async fn next(reader: &web_sys::ReadableStreamDefaultReader) -> Result<Option<Uint8Array>, Error> {
    let step = JsFuture::from(reader.read()).await?;
    if Reflect::get(&step, &"done".into())?.is_truthy() {
        return Ok(None);
    }
    Ok(Some(Reflect::get(&step, &"value".into())?.unchecked_into()))
}

/// The received beginning of a body.
struct Collected {
    chunks: Vec<Uint8Array>,
    length: u32,
    max_bytes: u64,
    reservation: Reservation,
}

impl Collected {
    fn new(max_bytes: u64) -> Self {
        Self { chunks: Vec::new(), length: 0, max_bytes, reservation: Reservation(0) }
    }

    fn push(&mut self, chunk: Uint8Array) -> Result<(), Error> {
        self.length += chunk.byte_length();
        if u64::from(self.length) > self.max_bytes {
            return Err(not_stored(&format!("a body of at most {} bytes", self.max_bytes)));
        }
        if self.length > UNRESERVED_BYTES && !self.reservation.try_extend(chunk.byte_length()) {
            return Err(not_stored(&format!("at most {MAX_RESERVED_BYTES} bytes of bodies at once")));
        }
        self.chunks.push(chunk);
        Ok(())
    }

    fn joined(self) -> Uint8Array {
        if let [only] = self.chunks.as_slice()
            && only.byte_length() == only.buffer().unchecked_ref::<js_sys::ArrayBuffer>().byte_length()
        {
            return only.clone();
        }
        let whole = Uint8Array::new_with_length(self.length);
        let mut offset = 0;
        for chunk in self.chunks {
            whole.set(&chunk, offset);
            offset += chunk.byte_length();
        }
        whole
    }
}

/// Returns a stream that passes octets on unchanged. The runtime implements it without JavaScript
/// for each chunk, unlike a `TransformStream`.
fn identity_stream() -> Result<web_sys::TransformStream, Error> {
    let constructor: Function =
        Reflect::get(&js_sys::global(), &"IdentityTransformStream".into())?.unchecked_into();
    Ok(Reflect::construct(&constructor, &Array::new())?.unchecked_into())
}

fn not_stored(expected: &str) -> Error {
    Error::new(ErrorKind::Origin, format!("expected {expected}; it is not stored"))
}
