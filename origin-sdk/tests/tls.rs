//! Redis over TLS, on a real server with a certificate of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use origin_sdk::{Cache, Delivery, Layer, Lifetime, Namespace};

origin_sdk::keys! {
    app "tls" version 1;

    /// A number.
    key Number { id: u64 } = "number:{id}";
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a certificate authority, and a server certificate for `localhost` that it has signed.
fn make_certificates(folder: &Path) {
    let mut openssl = Command::new("openssl");
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    run(openssl
        .current_dir(folder)
        .args(["req", "-x509"])
        .args(new_key)
        .args(["-subj", "/CN=test authority"])
        .args(["-addext", "basicConstraints=critical,CA:TRUE", "-keyout", "ca.key", "-out", "ca.crt"]));
    let mut openssl = Command::new("openssl");
    run(openssl
        .current_dir(folder)
        .args(["req", "-x509"])
        .args(new_key)
        .args(["-subj", "/CN=localhost"])
        .args([
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            "server.key",
            "-out",
            "server.crt",
        ]));
}

fn start(folder: &Path) -> (Server, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new("redis-server")
        .current_dir(folder)
        .args(["--port", "0", "--tls-port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args([
            "--tls-cert-file",
            "server.crt",
            "--tls-key-file",
            "server.key",
            "--tls-ca-cert-file",
            "ca.crt",
        ])
        .args(["--tls-auth-clients", "no"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(server);
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return (server, port);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("expected redis-server to listen on port {port} within 4 s");
}

/// Runs in a process of its own: the trusted authority comes from the environment, which a process
/// cannot change for itself without unsafe code.
#[tokio::test]
#[ignore = "run by redis_over_tls_is_trusted_by_its_authority_alone"]
async fn client() {
    let (url, is_trusted) =
        (std::env::var("TLS_TEST_URL").unwrap(), std::env::var("TLS_TEST_TRUSTED").is_ok());
    let cache = Cache::builder("tls").redis(url).connect_timeout(Duration::from_secs(5));
    let cache = cache.overall_timeout(Duration::from_secs(6)).build().await.unwrap();
    let numbers: Namespace<Number, u64> = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    let number = numbers.get_or_load(&Number { id: 1 }, async |_, _| Ok(1)).await.unwrap();
    assert_eq!((*number.value, number.layer), (1, Layer::Loader));
    let expected = if is_trusted { Delivery::Done } else { Delivery::Queued };
    assert_eq!(numbers.invalidate(&Number { id: 1 }).await.journal, expected);
}

#[test]
fn redis_over_tls_is_trusted_by_its_authority_alone() {
    let folder = tempfile::tempdir().unwrap();
    make_certificates(folder.path());
    let (_server, port) = start(folder.path());
    for is_trusted in [true, false] {
        let mut client = Command::new(std::env::current_exe().unwrap());
        client
            .args(["client", "--exact", "--ignored"])
            .env("TLS_TEST_URL", format!("rediss://localhost:{port}"));
        if is_trusted {
            client.env("TLS_TEST_TRUSTED", "1").env("SSL_CERT_FILE", folder.path().join("ca.crt"));
        }
        let output = client.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "trusted: {is_trusted}\n{text}");
    }
}
