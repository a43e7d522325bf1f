//! The distance between two programs: a proxy that delays what it forwards.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes, and when they arrive.
type Delayed = (Instant, Vec<u8>);

/// Forwards connections to `listen` on to `to`, each direction with this delay.
///
/// # Errors
/// If the address cannot be listened on.
pub(crate) fn serve(listen: &str, to: &str, one_way: Duration) -> Result<()> {
    for near in TcpListener::bind(listen)?.incoming() {
        // A client that is refused sees a closed connection, as it would without the link.
        let Ok(near) = near else { continue };
        if let Ok(far) = TcpStream::connect(to) {
            forward(near, far, one_way)?;
        }
    }
    Ok(())
}

fn forward(near: TcpStream, far: TcpStream, one_way: Duration) -> Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || read(from, &send, one_way));
        thread::spawn(move || write(to, &receive));
    }
    Ok(())
}

/// Reads to the end, and stamps each part with the time of its arrival.
fn read(mut from: TcpStream, parts: &Sender<Delayed>, one_way: Duration) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                if parts.send((Instant::now() + one_way, buffer[..count].to_vec())).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Writes each part at its time, and then the end.
fn write(mut to: TcpStream, parts: &Receiver<Delayed>) {
    for (arrival, part) in parts {
        thread::sleep(arrival.saturating_duration_since(Instant::now()));
        if to.write_all(&part).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_is_delayed_and_an_end_is_forwarded() {
        let one_way = Duration::from_millis(20);
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = TcpListener::bind("127.0.0.1:0").unwrap();
        let (server_at, link_at) = (server.local_addr().unwrap(), link.local_addr().unwrap());
        thread::spawn(move || {
            let (near, _) = link.accept().unwrap();
            forward(near, TcpStream::connect(server_at).unwrap(), one_way).unwrap();
        });
        thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut request = Vec::new();
            stream.read_to_end(&mut request).unwrap();
            stream.write_all(&request).unwrap();
        });
        let mut client = TcpStream::connect(link_at).unwrap();
        let since = Instant::now();
        client.write_all(b"there and back").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "there and back");
        assert!(since.elapsed() >= 2 * one_way, "{:?}", since.elapsed());
    }
}
