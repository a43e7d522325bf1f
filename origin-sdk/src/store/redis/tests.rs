//! The commands that reads send, and when.

use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{RedisOptions, RedisStore, Timeouts, Topology};
use crate::Clock;
use crate::store::ValueStore;

const LONG: Duration = Duration::from_secs(60);
const VALUE: &str = ":60000\r\n$5\r\nvalue\r\n";

/// A store on a server that replies to reads only once it has the commands of `keys` keys.
async fn store(keys: usize) -> RedisStore {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(reply(stream, keys));
        }
    });
    let timeouts = Timeouts { connect: LONG, command: LONG, overall: LONG };
    let (clock, metrics) = (Clock::manual(), std::sync::Arc::default());
    let primary = Topology::Standalone { url }.primary(timeouts, &clock).unwrap().unwrap();
    let options = RedisOptions {
        timeouts,
        max_lag: Duration::from_secs(2),
        clock,
        max_value_bytes: 1 << 20,
        metrics,
        environment: None,
    };
    RedisStore::new(&primary, "shop", options)
}

async fn reply(mut stream: TcpStream, keys: usize) {
    let (mut received, mut setups, mut reads) = (Vec::new(), 0, 0);
    while let Ok(1..) = stream.read_buf(&mut received).await {
        let text = String::from_utf8_lossy(&received);
        let counts = ["CLIENT", "GETRANGE"].map(|command| text.matches(&format!("{command}\r\n")).count());
        stream.write_all("+OK\r\n".repeat(counts[0] - setups).as_bytes()).await.unwrap();
        setups = counts[0];
        if counts[1] >= reads + keys {
            stream.write_all(VALUE.repeat(counts[1] - reads).as_bytes()).await.unwrap();
            reads = counts[1];
        }
    }
}

/// Returns the first of the keys `key:0`, `key:1` and so on.
fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key:{n}")).collect()
}

async fn in_time<T>(reads: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG / 6, reads).await.expect("expected no read to wait for the reply to another")
}

#[tokio::test]
async fn a_batch_sends_the_commands_of_all_keys_before_the_first_reply() {
    for count in [1, 2, 16, 17, 100, 256] {
        let store = store(count).await;
        let read = in_time(store.get_many(&keys(count))).await.unwrap();
        assert_eq!(read.iter().flatten().filter(|stored| *stored.bytes == *b"value").count(), count);
    }
}

#[tokio::test]
async fn reads_at_the_same_time_do_not_wait_for_each_other() {
    for count in [1, 2, 17, 100] {
        let (store, keys) = (store(count).await, keys(count));
        let read = in_time(join_all(keys.iter().map(|key| store.get(key)))).await;
        assert!(read.into_iter().all(|read| *read.unwrap().unwrap().bytes == *b"value"));
    }
}

/// The caller that sends for others gives up, before or after it has sent.
#[tokio::test]
async fn a_caller_that_gives_up_takes_no_other_with_it() {
    for (is_sent, commands) in [(false, 3), (true, 5)] {
        let (store, keys) = (store(commands).await, keys(4));
        let [mut alone, mut sender, mut other] = [0, 1, 2].map(|key: usize| Box::pin(store.get(&keys[key])));
        for _ in 0..if is_sent { 100 } else { 1 } {
            for read in [&mut alone, &mut sender, &mut other] {
                assert!(poll_immediate(read).await.is_none());
            }
            tokio::task::yield_now().await;
        }
        drop(sender);
        let reads = in_time(join_all([alone, other, Box::pin(store.get(&keys[3]))])).await;
        assert!(reads.into_iter().all(|read| read.unwrap().is_some()));
    }
}
