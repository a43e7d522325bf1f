//! What this isolate knows of the edge journal, and how it keeps up.
//!
//! A hit is checked against memory. The memory is refreshed in the background once it is about half as old as
//! `JOURNAL_MAX_LAG` allows (not exactly, since a shared text would bring the isolates of a data centre into step), and before anything is served once it is older. It takes the *recent* records, and the *whole* only if those do
//! not follow on what it knows. All isolates of a data centre share each of the two texts through the Cache API, whatever
//! they know already, and while one of them asks the others wait for its answer: so the object's load does not grow with
//! their number, and a slow object is not asked ever more (`cargo xtask simulate`).
//!
//! The bound (G7): what an isolate serves by was complete at most `JOURNAL_MAX_LAG` ago, or [`SHARED_FOR`] + [`PATIENCE`] if
//! that is longer: a text that took longer to arrive is not waited for, and a shared one says when it was asked for. Both are
//! less than `JOURNAL_MAX_LAG` + 5 s.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use http::StatusCode;
use shared_keys::{Record, Seq};
use url::Url;
use worker::{Delay, Env, Response, Stub};

use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::runtime;
use crate::snapshot::{Snapshot, SnapshotText, recent_window};
use crate::store::metadata::{from_unix_ms, unix_ms};

/// The binding of the journal object's class, as in `wrangler.toml`.
const BINDING: &str = "JOURNAL";
/// The one object of that class. All data centres ask the same.
const OBJECT: &str = "journal";
/// The shared texts are kept in this cache, under this path of the site's host.
const SHARED_CACHE: &str = "strata-journal";
const SHARED_PATH: &str = "/__strata/journal";
/// The field of a shared text that says when it was asked for, in milliseconds since 1970.
const ASKED_AT: &str = "strata-asked-at";
/// How long a data centre shares the recent records.
const SHARED_FOR: Duration = Duration::from_secs(2);
/// How long the journal object may take to say what it knows.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the cache of the shared texts may take, and how long it is left alone after it took longer.
const SHARING_PATIENCE: Duration = Duration::from_millis(500);
const UNSHARED_FOR: Duration = Duration::from_secs(10);
/// How long it may take to write a message of the largest size.
const PATIENCE_FOR_APPEND: Duration = Duration::from_secs(20);
/// How often an isolate looks for the answer that another of its data centre has asked for, and at most how many times:
/// for as long as the other waits itself.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOKS: u32 = 10;
/// The field of what stands in a shared text's place while an isolate asks for it.
const ASKING: &str = "strata-asking";
/// After it did not answer, requests go to the origin for so long before it is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

thread_local! {
    static SNAPSHOT: RefCell<Option<Snapshot>> = const { RefCell::new(None) };
    static FAILED_AT: Cell<Option<SystemTime>> = const { Cell::new(None) };
    static UNSHARED_AT: Cell<Option<SystemTime>> = const { Cell::new(None) };
    static REFRESHED_AT: Cell<Option<SystemTime>> = const { Cell::new(None) };
    /// Which part of `JOURNAL_MAX_LAG` may pass before the next refresh in the background.
    static DUE_AFTER: Cell<f64> = const { Cell::new(0.5) };
}

/// What the journal object answers to an accepted purge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    /// How many records it took.
    pub(crate) accepted: usize,
    /// The number of the last of them.
    pub(crate) seq: u64,
}

impl Appended {
    /// `<accepted> <seq>`.
    pub(crate) fn render(self) -> String {
        format!("{} {}", self.accepted, self.seq)
    }

    fn parse(text: &str) -> Option<Self> {
        let (accepted, seq) = text.split_once(' ')?;
        Some(Self { accepted: accepted.parse().ok()?, seq: seq.parse().ok()? })
    }
}

/// The way to the journal object, and to the text that the data centre shares.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    env: Env,
    shared_url: String,
    max_lag: Duration,
    max_outage: Duration,
}

impl Journal {
    /// For requests to `url`'s site.
    pub(crate) fn new(env: Env, url: &Url, config: &Config) -> Self {
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

    /// Reads what is known; `None` if nothing ever was.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        SNAPSHOT.with_borrow(|snapshot| snapshot.as_ref().map(read))
    }

    /// Up to where all records are known now.
    pub(crate) fn seq(&self) -> Seq {
        self.read(Snapshot::seq).unwrap_or_default()
    }

    /// Makes sure that what is known is recent enough to serve by, or as recent as the configuration asks for while the
    /// journal cannot be asked.
    ///
    /// # Errors
    /// If it is not, and the journal cannot be asked.
    pub(crate) async fn ensure(&self) -> Result<(), Error> {
        let within = |bound: Duration| self.age().is_some_and(|age| age <= bound);
        if within(self.max_lag) {
            return Ok(());
        }
        match self.refresh().await {
            Err(error) if within(self.max_lag + self.max_outage) => {
                worker::console_warn!("served without news of purges: {error}");
                Ok(())
            }
            ended => ended,
        }
    }

    /// Whether the caller is to refresh in the background: what is known is about half as old as it may be, and nobody is at
    /// it.
    pub(crate) fn wants_refresh(&self) -> bool {
        let now = runtime::now();
        let due_after = self.max_lag.mul_f64(DUE_AFTER.get());
        let due = self.age().is_some_and(|age| age > due_after) && !is_within(REFRESHED_AT.get(), due_after);
        if due {
            REFRESHED_AT.set(Some(now));
            DUE_AFTER.set(0.4 + 0.2 * worker::js_sys::Math::random());
        }
        due
    }

    /// Brings what is known up to date, from the data centre's texts or else from the object.
    ///
    /// # Errors
    /// If neither can be had.
    pub(crate) async fn refresh(&self) -> Result<(), Error> {
        let recent = self.shared_or_asked(Part::Recent).await?;
        if take_in(&recent) {
            return Ok(());
        }
        // New here, or away for longer than the recent records reach back. The whole may be older than they are.
        take_in(&self.shared_or_asked(Part::Whole).await?);
        if take_in(&recent) { Ok(()) } else { self.refresh_from_object().await }
    }

    /// Brings what is known up to date from the object, and shares its text.
    ///
    /// # Errors
    /// If the object cannot be asked.
    pub(crate) async fn refresh_from_object(&self) -> Result<(), Error> {
        if take_in(&self.ask_object(Part::Recent).await?) || take_in(&self.ask_object(Part::Whole).await?) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Journal, "expected all records from the journal object, got those after a number"))
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
            200 => {
                let text = answer.text().await?;
                let what = || format!("expected two numbers from the journal object, got {text:?}");
                Appended::parse(&text).map(Some).ok_or_else(|| Error::new(ErrorKind::Journal, what()))
            }
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

    /// The data centre's text, or the object's if nobody else in the data centre is asking for it already.
    async fn shared_or_asked(&self, part: Part) -> Result<Told, Error> {
        let mut looks = 0;
        loop {
            match self.shared(part).await {
                Ok(Shared::Text(told)) => return Ok(told),
                Ok(Shared::Asking) if looks < LOOKS && !failed_lately() => {
                    looks += 1;
                    Delay::from(LOOK_EVERY).await;
                }
                // If every isolate that waited asked then, an object that is slow would be asked ever more.
                Ok(Shared::Asking) => {
                    // Counted once: under steady traffic it would otherwise never be over.
                    if !failed_lately() {
                        FAILED_AT.set(Some(runtime::now()));
                    }
                    return Err(Error::new(ErrorKind::Journal, "the journal object does not answer another isolate"));
                }
                Ok(Shared::Nothing) | Err(_) => break,
            }
        }
        // Who will not ask does not say that it asks: others would wait for nothing, and this isolate after them.
        if !failed_lately() {
            self.put_shared(part, "", PATIENCE, ASKING, "1").await;
        }
        self.ask_object(part).await
    }

    /// What the object tells, which is then shared. Not asked again at once if it did not answer.
    async fn ask_object(&self, part: Part) -> Result<Told, Error> {
        let asked_at = runtime::now();
        if failed_lately() {
            return Err(Error::new(ErrorKind::Journal, "the journal object did not answer a moment ago"));
        }
        let told = self.fetch_snapshot(part).await.and_then(|text| Ok((SnapshotText::parse(&text)?, text)));
        FAILED_AT.set(told.is_err().then(runtime::now));
        let (snapshot, text) = told?;
        self.put_shared(part, &text, part.shared_for(self.max_lag), ASKED_AT, &unix_ms(asked_at).to_string()).await;
        Ok((snapshot, asked_at))
    }

    async fn fetch_snapshot(&self, part: Part) -> Result<String, Error> {
        let mut url = "https://journal/snapshot".to_owned();
        if part == Part::Recent {
            url += &format!("?window={}", recent_window(self.max_lag).as_secs());
        }
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

    async fn shared(&self, part: Part) -> Result<Shared, Error> {
        sharing(async {
            let cache = worker::Cache::open(SHARED_CACHE.to_owned()).await;
            match cache.get(self.shared_key(part), false).await? {
                Some(kept) => self.read_shared(part, kept).await,
                None => Ok(Shared::Nothing),
            }
        })
        .await
    }

    async fn read_shared(&self, part: Part, mut kept: Response) -> Result<Shared, Error> {
        if kept.headers().has(ASKING)? {
            return Ok(Shared::Asking);
        }
        let asked_at = kept.headers().get(ASKED_AT)?.and_then(|text| from_unix_ms(&text));
        let oldest = part.shared_for(self.max_lag) + PATIENCE;
        let is_recent = |at: &SystemTime| runtime::now().duration_since(*at).is_ok_and(|ago| ago <= oldest);
        let Some(asked_at) = asked_at.filter(is_recent) else { return Ok(Shared::Nothing) };
        Ok(Shared::Text((SnapshotText::parse(&kept.text().await?)?, asked_at)))
    }

    fn shared_key(&self, part: Part) -> String {
        format!("{}?{}", self.shared_url, part.as_str())
    }

    /// Puts what the data centre's other isolates are to find. If it cannot be shared, that costs them a question each.
    async fn put_shared(&self, part: Part, text: &str, keep_for: Duration, field: &str, value: &str) {
        let put = async {
            let response = Response::ok(text)?;
            response.headers().set("cache-control", &format!("max-age={}", keep_for.as_secs()))?;
            response.headers().set(field, value)?;
            Ok(worker::Cache::open(SHARED_CACHE.to_owned()).await.put(self.shared_key(part), response).await?)
        };
        if let Err(error) = sharing(put).await {
            worker::console_warn!("the journal's snapshot is not shared: {error}");
        }
    }
}

/// What a data centre has of a text.
enum Shared {
    Text(Told),
    /// One of its isolates is asking.
    Asking,
    Nothing,
}

/// A call of the cache of the shared texts, which may fail or not answer: then it is left alone for a while, so that it costs little.
async fn sharing<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let now = runtime::now();
    if is_within(UNSHARED_AT.get(), UNSHARED_FOR) {
        return Err(Error::new(ErrorKind::Journal, "the cache of the shared texts did not answer a moment ago"));
    }
    let outcome = runtime::within(SHARING_PATIENCE, call).await;
    UNSHARED_AT.set(outcome.is_err().then_some(now));
    outcome
}

/// A text of the journal object, and when it was asked for.
type Told = (SnapshotText, SystemTime);

/// Which records a text holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Those of the last [`recent_window`].
    Recent,
    /// All that the object still has.
    Whole,
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Whole => "whole",
        }
    }

    /// How long a data centre shares the text. The whole is completed by the recent records, so it may be older than they
    /// are, though not as old as what they begin with.
    const fn shared_for(self, max_lag: Duration) -> Duration {
        match self {
            Self::Recent => SHARED_FOR,
            Self::Whole => max_lag,
        }
    }
}

fn failed_lately() -> bool {
    is_within(FAILED_AT.get(), RETRY_AFTER)
}

/// Whether it happened, and less than `bound` ago.
fn is_within(at: Option<SystemTime>, bound: Duration) -> bool {
    at.is_some_and(|at| runtime::now().duration_since(at).is_ok_and(|ago| ago < bound))
}

fn take_in((text, asked_at): &Told) -> bool {
    SNAPSHOT.with_borrow_mut(|known| match known {
        Some(snapshot) => snapshot.update(text, *asked_at),
        None => {
            *known = Snapshot::new(text, *asked_at);
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
