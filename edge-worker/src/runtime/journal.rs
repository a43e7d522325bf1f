//! The isolate's access to the edge journal: its snapshot, the texts that the data centre shares,
//! and the journal object. See [`timing`](crate::journal::timing) for the schedule and its bound.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use http::StatusCode;
use shared_keys::{Record, ScopeHash, Seq};
use url::Url;
use worker::{Delay, Env, Response, Stub};

use super::{now, timeout};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::journal::snapshot::{Snapshot, SnapshotText};
use crate::journal::timing::{
    APPEND_TIMEOUT, MAX_POLLS, OBJECT_BACKOFF, OBJECT_TIMEOUT, POLL_INTERVAL, Part, SHARED_CACHE_BACKOFF,
    SHARED_CACHE_TIMEOUT, recent_window, refresh_age,
};
use crate::journal::{Appended, TargetsAppended, target_records};
use crate::time::{parse_unix_ms, unix_ms};

/// The binding of the journal object's class in `wrangler.toml`.
const BINDING: &str = "JOURNAL";
/// The name of the one object of that class, which all data centres use.
const OBJECT: &str = "journal";
/// The cache of the shared texts, and the path of their keys under the site's host.
const SHARED_CACHE: &str = "strata-journal";
const SHARED_PATH: &str = "/__strata/journal";
/// The field of a shared text with the time at which it was requested, in milliseconds since 1970.
const REQUESTED_AT: &str = "strata-asked-at";
/// The field of the placeholder of a text that an isolate is fetching.
const PENDING: &str = "strata-asking";

thread_local! {
    static SNAPSHOT: RefCell<Option<Snapshot>> = const { RefCell::new(None) };
    /// When the journal object last failed.
    static OBJECT_FAILED_AT: Cell<Option<SystemTime>> = const { Cell::new(None) };
    /// When the cache of shared texts last failed.
    static CACHE_FAILED_AT: Cell<Option<SystemTime>> = const { Cell::new(None) };
    /// When the last refresh in the background began.
    static REFRESHED_AT: Cell<Option<SystemTime>> = const { Cell::new(None) };
    /// Chooses the age of the next refresh in the background; in `0.0..1.0`.
    static REFRESH_CHANCE: Cell<f64> = const { Cell::new(0.5) };
}

/// A text of the journal object, and the time at which it was requested.
type FetchedText = (SnapshotText, SystemTime);

/// Access to the journal for one request.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    env: Env,
    shared_url: String,
    max_lag: Duration,
    max_outage: Duration,
}

impl Journal {
    /// Creates the access for a request to `url`'s site.
    pub(super) fn new(env: Env, url: &Url, config: &Config) -> Self {
        let mut shared = url.clone();
        shared.set_path(SHARED_PATH);
        shared.set_query(None);
        Self {
            env,
            shared_url: shared.to_string(),
            max_lag: config.journal_max_lag,
            max_outage: config.journal_max_outage,
        }
    }

    /// Reads the isolate's snapshot; `None` before the first refresh.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        SNAPSHOT.with_borrow(|snapshot| snapshot.as_ref().map(read))
    }

    /// Returns the number up to which the snapshot is complete; zero before the first refresh.
    pub(super) fn seq(&self) -> Seq {
        self.read(Snapshot::seq).unwrap_or_default()
    }

    /// Ensures that the snapshot is recent enough to serve by: not older than
    /// `JOURNAL_MAX_LAG_SECS`, or, while the journal object is unreachable, than
    /// `JOURNAL_MAX_OUTAGE_SECS` more.
    ///
    /// # Errors
    /// If the snapshot is older and cannot be refreshed.
    pub(super) async fn ensure_recent(&self) -> Result<(), Error> {
        let is_within = |bound: Duration| self.age().is_some_and(|age| age <= bound);
        if is_within(self.max_lag) {
            return Ok(());
        }
        match self.refresh().await {
            Err(error) if is_within(self.max_lag + self.max_outage) => {
                worker::console_warn!("served without knowledge of recent purges: {error}");
                Ok(())
            }
            result => result,
        }
    }

    /// Returns whether the caller must refresh the snapshot in the background: it has reached the
    /// age of [`refresh_age`], and no other request has begun to refresh it.
    pub(super) fn needs_refresh(&self) -> bool {
        let due_age = refresh_age(self.max_lag, REFRESH_CHANCE.get());
        let is_due =
            self.age().is_some_and(|age| age > due_age) && !happened_within(REFRESHED_AT.get(), due_age);
        if is_due {
            REFRESHED_AT.set(Some(now()));
            REFRESH_CHANCE.set(worker::js_sys::Math::random());
        }
        is_due
    }

    /// Updates the snapshot from the data centre's texts, or else from the journal object.
    ///
    /// # Errors
    /// If both fail.
    pub(super) async fn refresh(&self) -> Result<(), Error> {
        let recent = self.shared_or_fetched(Part::Recent).await?;
        if update_snapshot(&recent) {
            return Ok(());
        }
        // The isolate is new, or its snapshot is older than the first of the recent records. The
        // shared whole may be older than the recent records, which then complete it.
        update_snapshot(&self.shared_or_fetched(Part::Whole).await?);
        if update_snapshot(&recent) { Ok(()) } else { self.refresh_from_object().await }
    }

    /// Updates the snapshot from the journal object, and shares its text.
    ///
    /// # Errors
    /// If the object fails.
    pub(super) async fn refresh_from_object(&self) -> Result<(), Error> {
        if update_snapshot(&self.fetch(Part::Recent).await?)
            || update_snapshot(&self.fetch(Part::Whole).await?)
        {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Journal,
            "expected all records from the journal object, got an incomplete text",
        ))
    }

    /// Appends a purge message to the journal. Returns `None` if the object has seen the nonce
    /// before.
    ///
    /// # Errors
    /// If the object fails.
    pub(super) async fn append(&self, nonce: &str, body: &[u8]) -> Result<Option<Appended>, Error> {
        let answer = self.post(&format!("append?nonce={nonce}"), body, StatusCode::CONFLICT).await?;
        answer.map(|text| Appended::parse(&text).ok_or_else(|| not_two_numbers(&text))).transpose()
    }

    /// Appends records of targets that an unsafe request invalidated, and applies them. Returns
    /// `None` if the object takes no more of them for now.
    ///
    /// # Errors
    /// If the object fails.
    pub(super) async fn append_targets(
        &self,
        targets: &[ScopeHash],
    ) -> Result<Option<TargetsAppended>, Error> {
        let lines: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let answer = self.post("targets", lines.join("\n").as_bytes(), StatusCode::TOO_MANY_REQUESTS).await?;
        let Some(text) = answer else { return Ok(None) };
        let appended = TargetsAppended::parse(&text).ok_or_else(|| not_two_numbers(&text))?;
        self.apply(target_records(targets, appended.seq));
        Ok(Some(appended))
    }

    /// Returns the text of the object's answer to a POST; `None` if its status is `refused`.
    async fn post(
        &self,
        path_and_query: &str,
        body: &[u8],
        refused: StatusCode,
    ) -> Result<Option<String>, Error> {
        let init = worker::web_sys::RequestInit::new();
        init.set_method("POST");
        init.set_body(&worker::js_sys::Uint8Array::from(body).into());
        let url = format!("https://journal/{path_and_query}");
        let request = worker::web_sys::Request::new_with_str_and_init(&url, &init)?;
        let mut response =
            object_timeout(APPEND_TIMEOUT, self.stub()?.fetch_with_request(request.into())).await?;
        match response.status_code() {
            200 => Ok(Some(response.text().await?)),
            status if status == refused.as_u16() => Ok(None),
            status => Err(unexpected_status(status)),
        }
    }

    /// Applies records that the object has just appended, so that this isolate obeys them at once.
    pub(super) fn apply(&self, records: impl IntoIterator<Item = Record>) {
        SNAPSHOT.with_borrow_mut(|snapshot| {
            if let Some(snapshot) = snapshot {
                records.into_iter().for_each(|record| snapshot.apply(record));
            }
        });
    }

    fn age(&self) -> Option<Duration> {
        let now = now();
        self.read(|snapshot| snapshot.age(now))
    }

    /// Returns the data centre's text. If it is missing, and no other isolate is fetching it,
    /// fetches it from the object.
    async fn shared_or_fetched(&self, part: Part) -> Result<FetchedText, Error> {
        let mut polls = 0;
        loop {
            match self.shared(part).await {
                Ok(SharedText::Text(text)) => return Ok(text),
                Ok(SharedText::Pending) if polls < MAX_POLLS && !object_failed_recently() => {
                    polls += 1;
                    Delay::from(POLL_INTERVAL).await;
                }
                // If every waiting isolate fetched the text now, a slow object would get ever more
                // requests.
                Ok(SharedText::Pending) => {
                    // Recorded once per backoff: under steady traffic the backoff would otherwise
                    // never end.
                    if !object_failed_recently() {
                        OBJECT_FAILED_AT.set(Some(now()));
                    }
                    return Err(Error::new(
                        ErrorKind::Journal,
                        "the journal object does not answer another isolate",
                    ));
                }
                Ok(SharedText::Missing) | Err(_) => break,
            }
        }
        // Only publish the *pending* marker if this isolate will send the request; otherwise other
        // isolates wait for an answer that never comes.
        if !object_failed_recently() {
            self.put_shared(part, "", OBJECT_TIMEOUT, PENDING, "1").await;
        }
        self.fetch(part).await
    }

    /// Fetches a text from the object, and shares it. Fails at once for [`OBJECT_BACKOFF`] after a
    /// failure.
    async fn fetch(&self, part: Part) -> Result<FetchedText, Error> {
        let requested_at = now();
        if object_failed_recently() {
            return Err(Error::new(
                ErrorKind::Journal,
                "the journal object failed recently and is not retried yet",
            ));
        }
        let fetched = self.fetch_text(part).await.and_then(|text| Ok((SnapshotText::parse(&text)?, text)));
        OBJECT_FAILED_AT.set(fetched.is_err().then(now));
        let (snapshot, text) = fetched?;
        let requested_ms = unix_ms(requested_at).to_string();
        self.put_shared(part, &text, part.shared_for(self.max_lag), REQUESTED_AT, &requested_ms).await;
        Ok((snapshot, requested_at))
    }

    async fn fetch_text(&self, part: Part) -> Result<String, Error> {
        let mut url = "https://journal/snapshot".to_owned();
        if part == Part::Recent {
            url += &format!("?window={}", recent_window(self.max_lag).as_secs());
        }
        let stub = self.stub()?;
        let fetch = async {
            let mut response = stub.fetch_with_str(&url).await?;
            Ok((response.status_code(), response.text().await?))
        };
        match object_timeout(OBJECT_TIMEOUT, fetch).await? {
            (200, text) => Ok(text),
            (status, _) => Err(unexpected_status(status)),
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

    async fn shared(&self, part: Part) -> Result<SharedText, Error> {
        cache_timeout(async {
            let cache = worker::Cache::open(SHARED_CACHE.to_owned()).await;
            match cache.get(self.shared_key(part), false).await? {
                Some(message) => self.read_shared(part, message).await,
                None => Ok(SharedText::Missing),
            }
        })
        .await
    }

    async fn read_shared(&self, part: Part, mut message: Response) -> Result<SharedText, Error> {
        if message.headers().has(PENDING)? {
            return Ok(SharedText::Pending);
        }
        let requested_at = message.headers().get(REQUESTED_AT)?.and_then(|text| parse_unix_ms(&text));
        let max_age = part.shared_for(self.max_lag) + OBJECT_TIMEOUT;
        let is_recent = |at: &SystemTime| now().duration_since(*at).is_ok_and(|age| age <= max_age);
        let Some(requested_at) = requested_at.filter(is_recent) else { return Ok(SharedText::Missing) };
        Ok(SharedText::Text((SnapshotText::parse(&message.text().await?)?, requested_at)))
    }

    fn shared_key(&self, part: Part) -> String {
        format!("{}?{}", self.shared_url, part.as_str())
    }

    /// Puts a text, or its placeholder, where the data centre's other isolates find it. If that
    /// fails, each of them sends a request of its own.
    async fn put_shared(&self, part: Part, text: &str, retention: Duration, field: &str, value: &str) {
        let put = async {
            let response = Response::ok(text)?;
            response.headers().set("cache-control", &format!("max-age={}", retention.as_secs()))?;
            response.headers().set(field, value)?;
            Ok(worker::Cache::open(SHARED_CACHE.to_owned())
                .await
                .put(self.shared_key(part), response)
                .await?)
        };
        if let Err(error) = cache_timeout(put).await {
            worker::console_warn!("the journal's snapshot is not shared: {error}");
        }
    }
}

/// A data centre's copy of a text.
enum SharedText {
    Text(FetchedText),
    /// An isolate is fetching it.
    Pending,
    Missing,
}

/// Returns the result of a call to the cache of shared texts, or fails after
/// [`SHARED_CACHE_TIMEOUT`]. After a failure, calls fail at once for [`SHARED_CACHE_BACKOFF`], so
/// that a broken cache costs little.
async fn cache_timeout<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let started = now();
    if happened_within(CACHE_FAILED_AT.get(), SHARED_CACHE_BACKOFF) {
        return Err(Error::new(
            ErrorKind::Journal,
            "the cache of shared texts failed recently and is not retried yet",
        ));
    }
    let result = timeout(SHARED_CACHE_TIMEOUT, call).await;
    CACHE_FAILED_AT.set(result.is_err().then_some(started));
    result
}

fn object_failed_recently() -> bool {
    happened_within(OBJECT_FAILED_AT.get(), OBJECT_BACKOFF)
}

/// Returns whether the time is set, and less than `bound` ago.
fn happened_within(at: Option<SystemTime>, bound: Duration) -> bool {
    at.is_some_and(|at| now().duration_since(at).is_ok_and(|age| age < bound))
}

/// Updates the isolate's snapshot. Returns `false` if the text does not connect to it.
fn update_snapshot((text, requested_at): &FetchedText) -> bool {
    SNAPSHOT.with_borrow_mut(|snapshot| match snapshot {
        Some(snapshot) => snapshot.update(text, *requested_at),
        None => {
            *snapshot = Snapshot::new(text, *requested_at);
            snapshot.is_some()
        }
    })
}

async fn object_timeout<T>(
    limit: Duration,
    call: impl Future<Output = worker::Result<T>>,
) -> Result<T, Error> {
    match select(std::pin::pin!(call), Delay::from(limit)).await {
        Either::Left((result, _)) => result.map_err(|cause| {
            Error::new(ErrorKind::Journal, format!("the journal object is unreachable: {cause}"))
        }),
        Either::Right(_) => Err(Error::new(
            ErrorKind::Journal,
            format!("expected an answer from the journal object within {} s", limit.as_secs()),
        )),
    }
}

fn not_two_numbers(text: &str) -> Error {
    Error::new(ErrorKind::Journal, format!("expected two numbers from the journal object, got {text:?}"))
}

fn unexpected_status(status: u16) -> Error {
    Error::new(ErrorKind::Journal, format!("expected status 200 from the journal object, got {status}"))
}
