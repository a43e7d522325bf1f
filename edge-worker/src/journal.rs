//! What this isolate knows of the edge journal, and how it keeps up.
//!
//! A hit is checked against memory. The memory is refreshed in the background once it is half as old as `JOURNAL_MAX_LAG`
//! allows, and before anything is served once it is older. One text from the journal object serves all isolates of a data
//! centre that know as much, for [`SHARED_FOR`] through the Cache API, so that a purge's cost does not grow with them.
//!
//! The bound (G7): what an isolate serves by was complete at most `JOURNAL_MAX_LAG` ago, or [`SHARED_FOR`] + [`PATIENCE`] if
//! that is longer: a text that took longer to arrive is not waited for, and a shared one says when it was asked for. Both are
//! less than `JOURNAL_MAX_LAG` + 5 s.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use shared_keys::{Record, Seq};
use url::Url;
use worker::{Delay, Env, Response, Stub};

use crate::error::{Error, ErrorKind};
use crate::runtime;
use crate::snapshot::{Snapshot, SnapshotText};
use crate::store::metadata::{from_unix_ms, unix_ms};

/// The binding of the journal object's class, as in `wrangler.toml`.
const BINDING: &str = "JOURNAL";
/// The one object of that class. All data centres ask the same.
const OBJECT: &str = "journal";
/// The shared text is kept in this cache, under this path of the site's host.
const SHARED_CACHE: &str = "strata-journal";
const SHARED_PATH: &str = "/__strata/journal";
/// The field of a shared text that says when it was asked for, in milliseconds since 1970.
const ASKED_AT: &str = "strata-asked-at";
/// How long a data centre shares one text.
const SHARED_FOR: Duration = Duration::from_secs(2);
/// How long the journal object may take to say what it knows.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to write a message of the largest size.
const PATIENCE_FOR_APPEND: Duration = Duration::from_secs(20);
/// After it did not answer, requests go to the origin for so long before it is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

thread_local! {
    static SNAPSHOT: RefCell<Option<Snapshot>> = const { RefCell::new(None) };
    static FAILED_AT: Cell<Option<SystemTime>> = const { Cell::new(None) };
    static REFRESHED_AT: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

/// What the journal object answers to an accepted purge.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Appended {
    /// How many records it took.
    pub(crate) accepted: usize,
    /// The number of the last of them.
    pub(crate) seq: u64,
}

/// The way to the journal object, and to the text that the data centre shares.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    env: Env,
    shared_url: String,
    max_lag: Duration,
}

impl Journal {
    /// For requests to `url`'s site.
    pub(crate) fn new(env: Env, url: &Url, max_lag: Duration) -> Self {
        let mut shared = url.clone();
        shared.set_path(SHARED_PATH);
        shared.set_query(None);
        Self { env, shared_url: shared.to_string(), max_lag }
    }

    /// Reads what is known; `None` if nothing ever was.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        SNAPSHOT.with_borrow(|snapshot| snapshot.as_ref().map(read))
    }

    /// Up to where all records are known now.
    pub(crate) fn seq(&self) -> Seq {
        self.read(Snapshot::seq).unwrap_or_default()
    }

    /// Makes sure that what is known is recent enough to serve by.
    ///
    /// # Errors
    /// If it is not, and the journal cannot be asked.
    pub(crate) async fn ensure(&self) -> Result<(), Error> {
        match self.age() {
            Some(age) if age <= self.max_lag => Ok(()),
            _ => self.refresh().await,
        }
    }

    /// Whether the caller is to refresh in the background: what is known is half as old as it may be, and nobody is at it.
    pub(crate) fn wants_refresh(&self) -> bool {
        let now = runtime::now();
        let tried = |at: SystemTime| now.duration_since(at).is_ok_and(|ago| ago < self.max_lag / 2);
        let due = self.age().is_some_and(|age| age > self.max_lag / 2) && !REFRESHED_AT.get().is_some_and(tried);
        if due {
            REFRESHED_AT.set(Some(now));
        }
        due
    }

    /// Brings what is known up to date, from the data centre's text or else from the object.
    ///
    /// # Errors
    /// If neither can be had.
    pub(crate) async fn refresh(&self) -> Result<(), Error> {
        if let Ok(Some((text, asked_at))) = self.shared().await
            && take_in(&text, asked_at)
        {
            return Ok(());
        }
        self.refresh_from_object().await
    }

    /// Brings what is known up to date from the object, and shares the text.
    ///
    /// # Errors
    /// If the object cannot be asked.
    pub(crate) async fn refresh_from_object(&self) -> Result<(), Error> {
        let now = runtime::now();
        if FAILED_AT.get().is_some_and(|at| now.duration_since(at).is_ok_and(|ago| ago < RETRY_AFTER)) {
            return Err(Error::new(ErrorKind::Journal, "the journal object did not answer a moment ago"));
        }
        let refreshed = self.ask_object().await;
        FAILED_AT.set(refreshed.is_err().then(runtime::now));
        refreshed
    }

    /// Hands a purge to the object, which checks the nonce; `None` if it has seen it.
    ///
    /// # Errors
    /// If the object cannot be asked.
    pub(crate) async fn append(&self, nonce: &str, body: &[u8]) -> Result<Option<Appended>, Error> {
        let init = worker::web_sys::RequestInit::new();
        init.set_method("POST");
        init.set_body(&worker::js_sys::Uint8Array::from(body).into());
        let url = format!("https://journal/append?nonce={nonce}");
        let request = worker::web_sys::Request::new_with_str_and_init(&url, &init)?;
        let mut answer = patiently(PATIENCE_FOR_APPEND, self.stub()?.fetch_with_request(request.into())).await?;
        match answer.status_code() {
            200 => Ok(Some(answer.json().await?)),
            status if status == StatusCode::CONFLICT.as_u16() => Ok(None),
            status => Err(unexpected(status)),
        }
    }

    /// Applies records that the object has just taken, so that this isolate obeys them at once.
    pub(crate) fn apply(&self, records: impl IntoIterator<Item = Record>) {
        SNAPSHOT.with_borrow_mut(|snapshot| {
            if let Some(snapshot) = snapshot {
                records.into_iter().for_each(|record| snapshot.apply(record));
            }
        });
    }

    fn age(&self) -> Option<Duration> {
        let now = runtime::now();
        self.read(|snapshot| snapshot.age(now))
    }

    async fn ask_object(&self) -> Result<(), Error> {
        // If the object no longer has what follows on what is known, the whole is taken.
        for after in [self.seq(), Seq::default()] {
            let asked_at = runtime::now();
            let text = self.snapshot_after(after).await?;
            if take_in(&SnapshotText::parse(&text)?, asked_at) {
                return self.share(after, &text, asked_at).await;
            }
        }
        Err(Error::new(ErrorKind::Journal, "expected all records from the journal object, got those after a number"))
    }

    async fn snapshot_after(&self, after: Seq) -> Result<String, Error> {
        let url = format!("https://journal/snapshot?after={}", after.0);
        let stub = self.stub()?;
        let ask = async {
            let mut answer = stub.fetch_with_str(&url).await?;
            Ok((answer.status_code(), answer.text().await?))
        };
        match patiently(PATIENCE, ask).await? {
            (200, text) => Ok(text),
            (status, _) => Err(unexpected(status)),
        }
    }

    fn stub(&self) -> Result<Stub, Error> {
        let missing = |cause| {
            Error::new(
                ErrorKind::Journal,
                format!("expected a Durable Object binding {BINDING} in wrangler.toml: {cause}"),
            )
        };
        self.env.durable_object(BINDING).and_then(|namespace| namespace.get_by_name(OBJECT)).map_err(missing)
    }

    /// The text that follows on what is known here, or the whole if nothing is, and when it was asked for.
    async fn shared(&self) -> Result<Option<(SnapshotText, SystemTime)>, Error> {
        let cache = worker::Cache::open(SHARED_CACHE.to_owned()).await;
        let Some(mut kept) = cache.get(self.shared_key(self.seq()), false).await? else { return Ok(None) };
        let asked_at = kept.headers().get(ASKED_AT)?.and_then(|text| from_unix_ms(&text));
        let is_recent =
            |at: &SystemTime| runtime::now().duration_since(*at).is_ok_and(|ago| ago <= SHARED_FOR + PATIENCE);
        let Some(asked_at) = asked_at.filter(is_recent) else { return Ok(None) };
        Ok(Some((SnapshotText::parse(&kept.text().await?)?, asked_at)))
    }

    /// Texts are kept apart by what they leave out, so that none takes the place of another that somebody can use.
    fn shared_key(&self, after: Seq) -> String {
        format!("{}?after={}", self.shared_url, after.0)
    }

    /// A text that cannot be shared costs the others a question each, nothing more.
    async fn share(&self, after: Seq, text: &str, asked_at: SystemTime) -> Result<(), Error> {
        let cache = worker::Cache::open(SHARED_CACHE.to_owned()).await;
        let response = Response::ok(text)?;
        response.headers().set("cache-control", &format!("max-age={}", SHARED_FOR.as_secs()))?;
        response.headers().set(ASKED_AT, &unix_ms(asked_at).to_string())?;
        if let Err(error) = cache.put(self.shared_key(after), response).await {
            worker::console_warn!("the journal's snapshot is not shared: {error}");
        }
        Ok(())
    }
}

fn take_in(text: &SnapshotText, asked_at: SystemTime) -> bool {
    SNAPSHOT.with_borrow_mut(|known| match known {
        Some(snapshot) => snapshot.update(text, asked_at),
        None => {
            *known = Snapshot::new(text, asked_at);
            known.is_some()
        }
    })
}

async fn patiently<T>(patience: Duration, answer: impl Future<Output = worker::Result<T>>) -> Result<T, Error> {
    match select(std::pin::pin!(answer), Delay::from(patience)).await {
        Either::Left((answer, _)) => answer
            .map_err(|cause| Error::new(ErrorKind::Journal, format!("the journal object cannot be reached: {cause}"))),
        Either::Right(_) => Err(Error::new(
            ErrorKind::Journal,
            format!("the journal object did not answer within {} s", patience.as_secs()),
        )),
    }
}

fn unexpected(status: u16) -> Error {
    Error::new(ErrorKind::Journal, format!("expected status 200 from the journal object, got {status}"))
}
