//! G4 at scale: 10,000 callers in 8 processes read one cold key at the same time, and one load
//! runs.

use std::process::Stdio;

use strata_tests::{RedisServer, Source};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

const PROCESSES: usize = 8;
const CALLERS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_callers_in_eight_processes_cost_one_load() {
    let (redis, source) = (RedisServer::start().await, Source::start().await);
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos-worker"));
        command.args(["--redis", &redis.url(), "--source", source.address()]);
        command.args(["stampede", "--callers", &(CALLERS / PROCESSES).to_string()]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        processes.push((child, input, BufReader::new(output).lines()));
    }
    for (_, _, lines) in &mut processes {
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    }
    for (_, input, _) in &mut processes {
        input.write_all(b"go\n").await.unwrap();
    }
    let mut answered = 0;
    for (_, _, lines) in &mut processes {
        answered += lines.next_line().await.unwrap().unwrap().parse::<usize>().unwrap();
    }
    assert_eq!((answered, source.reads()), (CALLERS, 1));
}
