//! Redis Sentinel: the primary is the server that more than half of the sentinels name.
//!
//! Two servers cannot both have that at the same time, so a process that cannot reach more than
//! half of the sentinels, or reaches a primary that they have replaced, knows that it may be cut
//! off. The client's own support of Sentinel asks one sentinel, and keeps a connection to the old
//! primary after a failover.

mod listener;
mod url;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use redis::{Client, ConnectionAddr, ConnectionInfo};
use tokio::sync::watch;

use self::url::SentinelUrl;
pub(super) use self::url::{is_sentinel_url, shown};
use super::connection::{Connection, Timeouts};
use super::primary::{Confirmed, Primary};
use super::server::Server;
use crate::clock::Clock;
use crate::error::{BuildError, StoreError};
use crate::task::AbortOnDrop;

/// Host and port, as the sentinels name them.
type Address = (String, u16);

/// The sentinels of one service.
pub(crate) struct Sentinels {
    sentinels: Vec<Arc<Sentinel>>,
    service: String,
    /// How to connect to the servers. Its address is one of a sentinel, and says whether to use
    /// TLS.
    servers: ConnectionInfo,
    clock: Clock,
    naming: watch::Sender<Naming>,
    /// The last ask. Locked while asking, so that concurrent callers share the answer.
    last_ask: tokio::sync::Mutex<Ask>,
    /// How many asks have begun.
    asks_begun: AtomicU64,
    listeners: Mutex<Vec<AbortOnDrop>>,
}

struct Sentinel {
    /// Its address, for errors.
    name: String,
    server: Server,
    connection: Connection,
    /// The timeout of subscribing, and of a ping.
    timeout: Duration,
}

/// The primary that the sentinels named last.
#[derive(Default)]
struct Naming {
    address: Option<Address>,
    /// How many times they have named another one than before.
    number: u64,
    /// The clock's reading before they were queried.
    at: Duration,
}

/// The number of an ask, and why it failed.
#[derive(Default)]
struct Ask {
    number: u64,
    failure: Option<String>,
}

impl Sentinels {
    /// Returns the sentinels of a URL. Asks them on first use.
    ///
    /// # Errors
    /// [`BuildError::SentinelUrl`] if the URL is malformed.
    pub(super) fn new(url: &str, timeouts: Timeouts, clock: &Clock) -> Result<Arc<Self>, BuildError> {
        let SentinelUrl { sentinels, service, servers } = url::parse(url)?;
        // Asking and connecting together take less than the overall timeout.
        let timeout = timeouts.connect / 2;
        let timeouts = Timeouts { connect: timeout, command: timeout, overall: timeout };
        let sentinel = |client: Client| {
            let server = Server(client);
            Arc::new(Sentinel {
                name: server.0.get_connection_info().addr().to_string(),
                connection: Connection::new(
                    Primary::Fixed(Box::new(server.clone())),
                    timeouts,
                    clock.clone(),
                ),
                server,
                timeout,
            })
        };
        Ok(Arc::new(Self {
            sentinels: sentinels.into_iter().map(sentinel).collect(),
            service,
            servers,
            clock: clock.clone(),
            naming: watch::Sender::default(),
            last_ask: tokio::sync::Mutex::default(),
            asks_begun: AtomicU64::new(0),
            listeners: Mutex::default(),
        }))
    }

    /// Returns the number of the primary that was named last: 0 if none was.
    pub(super) fn number(&self) -> u64 {
        self.naming.borrow().number
    }

    /// Returns once the primary is another than the one with this number.
    pub(super) async fn replaced(&self, number: u64) {
        // The sender is `self`, so the wait does not fail.
        let _ = self.naming.subscribe().wait_for(|naming| naming.number != number).await;
    }

    /// Asks for the primary. Returns its number beside it.
    pub(super) async fn locate(self: &Arc<Self>) -> Result<(u64, Server), StoreError> {
        self.confirm(Duration::ZERO).await?;
        let naming = self.naming.borrow();
        let (host, port) = naming.address.clone().unwrap_or_default();
        let addr = match self.servers.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Ok((naming.number, Server(Client::open(self.servers.clone().set_addr(addr))?)))
    }

    /// Returns what the sentinels have named at most `max_age` ago, and asks them if that is
    /// nothing.
    pub(super) async fn confirm(self: &Arc<Self>, max_age: Duration) -> Result<Confirmed, StoreError> {
        let entered = self.asks_begun.load(Ordering::Acquire);
        if let Some(known) = self.known(max_age) {
            return Ok(known);
        }
        let mut last = self.last_ask.lock().await;
        // Otherwise an ask that began after this call has ended while this one waited.
        if last.number <= entered {
            self.ensure_listening();
            let number = self.asks_begun.fetch_add(1, Ordering::AcqRel) + 1;
            let asked_at = self.clock.now();
            let answer = self.ask().await;
            let failure = answer.map(|address| self.note(address, asked_at)).err();
            *last = Ask { number, failure };
        }
        match &last.failure {
            None => Ok(self.naming.borrow().confirmed()),
            Some(failure) => Err(StoreError::Sentinels(failure.clone())),
        }
    }

    fn known(&self, max_age: Duration) -> Option<Confirmed> {
        let naming = self.naming.borrow();
        let age = self.clock.now().saturating_sub(naming.at);
        (naming.number > 0 && !max_age.is_zero() && age <= max_age).then(|| naming.confirmed())
    }

    /// Asks all sentinels until more than half have named the same server. The others' answers are
    /// still awaited, in tasks of their own, so that the connection to one that does not answer is
    /// closed.
    async fn ask(&self) -> Result<Address, String> {
        let asks = self
            .sentinels
            .iter()
            .map(|sentinel| tokio::spawn(Arc::clone(sentinel).ask(self.service.clone())));
        let (mut asks, mut votes, mut other) =
            (asks.collect::<FuturesUnordered<_>>(), HashMap::new(), Vec::new());
        while let Some(answer) = asks.next().await {
            match answer.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(address) => {
                    let count = votes.entry(address.clone()).or_insert(0);
                    *count += 1;
                    if 2 * *count > self.sentinels.len() {
                        return Ok(address);
                    }
                    other.push(format!("one names {}:{}", address.0, address.1));
                }
                Err(problem) => other.push(problem),
            }
        }
        let (service, count) = (&self.service, self.sentinels.len());
        let other = other.join("; ");
        Err(format!(
            "expected more than half of the {count} sentinels to name one primary of {service}, got: {other}"
        ))
    }

    /// Returns how many replicas the sentinels could promote, by the sentinel that knows the most.
    /// A replica that was promoted a moment ago counts until that is known.
    pub(super) async fn promotable(&self) -> Result<usize, StoreError> {
        let asks = self.sentinels.iter().map(|sentinel| sentinel.promotable(&self.service));
        let answers: Vec<_> = join_all(asks).await.into_iter().collect();
        let known: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).copied().collect();
        if 2 * known.len() > self.sentinels.len() {
            return Ok(known.into_iter().max().unwrap_or(0));
        }
        let problems: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        Err(StoreError::Sentinels(format!(
            "expected more than half of the sentinels to name the replicas: {}",
            problems.join("; ")
        )))
    }

    /// Notes which primary was named at `asked_at`.
    fn note(&self, address: Address, asked_at: Duration) {
        self.naming.send_if_modified(|naming| {
            naming.at = asked_at;
            let is_new = naming.address.as_ref() != Some(&address);
            if is_new {
                if let Some((host, port)) = &naming.address {
                    let (service, before, now) = (&self.service, format!("{host}:{port}"), &address);
                    tracing::warn!(
                        service,
                        before,
                        now = format!("{}:{}", now.0, now.1),
                        "the sentinels name another primary"
                    );
                }
                naming.number += 1;
                naming.address = Some(address);
            }
            is_new
        });
    }

    /// Listens to the sentinels' news, unless that happens already. The tasks may have ended with
    /// their runtime.
    fn ensure_listening(self: &Arc<Self>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if listeners.is_empty() || listeners.iter().any(|listener| listener.0.is_finished()) {
            let listen =
                |sentinel| AbortOnDrop(tokio::spawn(listener::listen(Arc::downgrade(self), sentinel)));
            *listeners = self.sentinels.iter().cloned().map(listen).collect();
        }
    }
}

impl Naming {
    fn confirmed(&self) -> Confirmed {
        Confirmed { number: self.number, at: Some(self.at) }
    }
}

impl Sentinel {
    /// Asks for the address of the service's primary. Boxed, since a connection may ask sentinels,
    /// over further connections.
    fn ask(self: Arc<Self>, service: String) -> BoxFuture<'static, Result<Address, String>> {
        async move {
            let mut question = redis::cmd("SENTINEL");
            question.arg("get-master-addr-by-name").arg(&service);
            match self.connection.run::<Option<Address>>(&question).await {
                Ok(Some(address)) => Ok(address),
                Ok(None) => Err(format!("{} monitors no service of that name", self.name)),
                Err(error) => Err(format!("{}: {error}", self.name)),
            }
        }
        .boxed()
    }

    /// Returns how many replicas of the service it could promote.
    async fn promotable(&self, service: &str) -> Result<usize, String> {
        let replicas: Result<Vec<HashMap<String, String>>, _> =
            self.connection.run(redis::cmd("SENTINEL").arg("REPLICAS").arg(service)).await;
        let replicas = replicas.map_err(|error| format!("{}: {error}", self.name))?;
        Ok(replicas.iter().filter(|replica| could_be_promoted(replica)).count())
    }
}

/// Returns whether a sentinel could promote this replica, by what it says of it.
fn could_be_promoted(replica: &HashMap<String, String>) -> bool {
    let text = |name| replica.get(name).map_or("", String::as_str);
    let number = |name| text(name).parse::<u64>().unwrap_or(0);
    // The flags of one that is down or disconnected are more. A primary that was replaced is listed
    // as a replica until it is one.
    text("flags") == "slave"
        && text("role-reported") == "slave"
        && number("slave-priority") > 0
        && number("info-refresh") > 0
        && number("master-link-down-time") <= 10 * number("down-after-milliseconds")
}
