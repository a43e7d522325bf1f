//! The commands and files of docs/guides/self-hosting.md and of edge-server/docker.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use strata_tests::free_port;
use tokio::process::Command;

use crate::origin_of_large_pages;
use crate::package::project;
use crate::server::{ROOT, Server};

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(file)).expect("a file of the project")
}

/// Returns the examples of a language in the guide.
fn examples(language: &str) -> Vec<String> {
    let guide = read("docs/guides/self-hosting.md");
    let blocks = guide.split("\n```").skip(1).step_by(2);
    blocks.filter_map(|block| Some(block.strip_prefix(language)?.strip_prefix('\n')?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_guide_work_one_after_the_other() {
    let project = project().await;
    let tools = Path::new(ROOT).canonicalize().expect("the project").join("node_modules");
    std::os::unix::fs::symlink(tools.join("workerd"), project.path().join("node_modules/workerd"))
        .expect("a link");
    let origin = origin_of_large_pages().await;
    let (port, status_port) = (free_port(), free_port());
    let mut server = None;
    for example in examples("sh") {
        let example = example
            .replace("http://127.0.0.1:3000", origin.url())
            .replace("127.0.0.1:8787", &format!("127.0.0.1:{port}"))
            .replace("127.0.0.1:9787", &format!("127.0.0.1:{status_port}"));
        // A block of commands ends, or is the server, which is started in place of the shell.
        let example = example.replace("strata-edge --origin", "exec strata-edge --origin");
        let mut shell = Command::new("sh");
        shell.args(["-ec", &example]).current_dir(project.path()).stdin(Stdio::null());
        if example.contains("exec strata-edge") {
            let started = server.insert(Server::spawn_command(shell, port, status_port));
            started.wait_ready().await;
            continue;
        }
        let output = shell.output().await.expect("a shell");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{example}\n{errors}");
    }
    let server = server.expect("the guide starts strata-edge");
    assert_eq!(server.health().await.0, 200);
    server.stop().await;
}

/// Returns the long options in a text, such as `--listen`.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '-' || c == '_'));
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_containers_and_the_unit_use_options_and_files_that_exist() {
    let help = Command::new(env!("CARGO_BIN_EXE_strata-edge")).arg("--help").output().await.expect("it runs");
    let known = options(&String::from_utf8_lossy(&help.stdout));
    let dockerfile = read("edge-server/docker/Dockerfile");
    let entry = dockerfile.lines().find(|line| line.starts_with("ENTRYPOINT")).expect("an entry point");
    let compose = read("edge-server/docker/compose.yaml");
    let command = compose.lines().find(|line| line.trim().starts_with("command:")).expect("a command");
    for text in [entry, command, &examples("ini")[0]] {
        let used = options(text);
        assert!(!used.is_empty() && used.is_subset(&known), "{:?}", used.difference(&known));
    }
    for file in ["edge-server/docker/Dockerfile", "edge-server/docker/compose.yaml"] {
        let beginning: String = read(file).lines().take_while(|line| line.starts_with('#')).collect();
        assert!(beginning.contains(file), "{file} says how it is used");
    }
    assert!(Path::new(ROOT).join(entry_of(&compose, "dockerfile")).is_file());
}

fn entry_of<'a>(yaml: &'a str, key: &str) -> &'a str {
    let line = yaml.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
    line.expect("an entry")
}
