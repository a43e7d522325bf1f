//! The cost of a hit in Redis. Alone in its binary, since it counts what its allocator does.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use origin_sdk::{Cache, Layer, Lifetime, Namespace};
use tokio::runtime::Builder;

origin_sdk::keys! {
    app "shop" version 1;

    /// A product's name.
    pub key Name { product: u64 } = "product:{product}:name";
}

const READS: u64 = 200;
/// The most allocations of a read: those of the commands, the reply, the entry and its place in
/// memory, and of the value, which has one.
const ALLOCATIONS: u64 = 24;
/// The most allocations of the task that follows the journal, during all reads.
const OTHERS: u64 = 300;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server() -> (Server, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let server = Server(command.stdout(Stdio::null()).spawn().unwrap());
    let (address, deadline) = (format!("127.0.0.1:{port}"), Instant::now() + Duration::from_secs(20));
    while TcpStream::connect(&address).is_err() {
        assert!(Instant::now() < deadline, "expected redis-server to accept connections within 20 s");
        std::thread::yield_now();
    }
    (server, format!("redis://{address}"))
}

/// All tasks run in this thread, so that all their allocations are counted.
#[test]
fn a_hit_in_redis_makes_a_bounded_number_of_allocations() {
    let (_server, url) = server();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let cache = async || {
        let long = Duration::from_secs(60);
        let builder = Cache::builder("shop").redis(&url).command_timeout(long).overall_timeout(long);
        builder.connect_timeout(long).build().await.unwrap()
    };
    let names = |cache: &Cache| -> Namespace<Name, String> {
        cache.namespace(Lifetime::fresh(Duration::from_secs(600))).xfetch_beta(0.0).build()
    };
    let reader = runtime.block_on(async {
        let writer = cache().await;
        for product in 0..=READS {
            let name = format!("product {product}");
            names(&writer).put(&Name { product }, name, writer.position()).await;
        }
        cache().await
    });
    let names = names(&reader);
    let read = |product| {
        let cached = runtime.block_on(names.get_cached(&Name { product })).unwrap();
        assert_eq!(cached.layer, Layer::Redis);
    };
    // The first read grows buffers that are used again.
    read(READS);
    let cost = allocation_counter::measure(|| (0..READS).for_each(read));
    assert!(cost.count_total <= READS * ALLOCATIONS + OTHERS, "{cost:?}");
}
