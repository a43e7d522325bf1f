//! The golden vectors in workerd: the wasm of the worker returns the same bytes as native code.
//!
//! The tests of `strata-vectors` compare native code with the golden bytes.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use strata_tests::VectorsWorker;
use strata_vectors::{evaluate, files};

/// The number of random cases for each subject.
const RANDOM_CASES: usize = 200;
/// Fixed, so that a failure can be repeated.
const SEED: u64 = 7;

#[tokio::test]
async fn workerd_and_native_code_return_the_same_bytes() {
    let worker = VectorsWorker::start().await;

    for (name, file) in files().unwrap() {
        let cases = serde_json::from_str::<Value>(&file).unwrap()["cases"].as_array().unwrap().len();
        assert_eq!(worker.check(file).await, json!({ "passed": cases, "failures": [] }), "{name}");
    }

    let mut random = Random(StdRng::seed_from_u64(SEED));
    for (subject, input) in RANDOM_INPUTS {
        let cases = (0..RANDOM_CASES).map(|_| {
            let input = input(&mut random);
            let output = evaluate(subject, 1, &input).unwrap();
            json!({ "input": input, "output": output })
        });
        let file = json!({ "subject": subject, "version": 1, "cases": cases.collect::<Vec<_>>() });
        let report = worker.check(file.to_string()).await;
        assert_eq!(report, json!({ "passed": RANDOM_CASES, "failures": [] }), "{subject}");
    }

    // Changes one digit of one golden output, to show that the check can fail.
    let (_, file) = files().unwrap().into_iter().find(|(name, _)| name == "purge-signatures.json").unwrap();
    let report = worker.check(file.replacen("8af7b\"}", "8af7c\"}", 1)).await;
    assert_eq!(report["failures"].as_array().map(Vec::len), Some(1), "{report}");
    assert!(worker.check("{}".to_owned()).await["error"].is_string());
}

type MakeInput = fn(&mut Random) -> Value;

/// Each subject with the function that makes its random inputs.
const RANDOM_INPUTS: &[(&str, MakeInput)] = &[
    ("scopes", |random| json!({ "scope": random.scope() })),
    ("cache-tags", |random| json!({ "header": random.text(60) })),
    ("edge-hashes", |random| json!({ "scope": random.scope() })),
    ("keys", |random| json!({ "user": random.text(90), "page": random.0.random::<u32>() })),
    ("tag-headers", |random| {
        let keys: Vec<_> = (0..9).map(|_| format!("a:v1:{}", random.text(4))).collect();
        json!({ "keys": keys, "tags": ["a", "B"], "max_bytes": random.0.random_range(0..400) })
    }),
    ("tags", |random| json!({ "tag": random.text(90) })),
    ("slots", |random| json!({ "key": random.text(30) })),
    ("positions", |random| json!({ "text": random.position() })),
    ("targets", |random| json!({ "url": random.url() })),
    ("lifetimes", |random| json!({ "text": random.directives() })),
    ("directives", |random| {
        let field = ["cache_control", "targeted"].choose(&mut random.0).unwrap();
        json!({ *field: random.directives() })
    }),
    (
        "target-rules",
        |random| json!({ "url": random.url(), "drop": ["a*", "%"], "in_order": random.0.random_bool(0.5), "exact": random.0.random_bool(0.5) }),
    ),
    ("normalisers", |random| {
        let kinds = [
            ("coding", ["gzip", "br"]),
            ("language", ["a", "b"]),
            ("media-type", ["a/b", "9/a"]),
            ("cookies", ["a", "b"]),
        ];
        let (kind, list) = kinds.choose(&mut random.0).unwrap();
        json!({ "kind": kind, "list": list, "value": random.text(30) })
    }),
    ("variants", |random| {
        let fields = json!({ "accept-encoding": random.text(20), "x-a": random.text(10) });
        json!({ "url": "http://a.example/x?a", "vary": "X-A, Accept-Encoding", "fields": fields })
    }),
    ("purge-signatures", |random| {
        let (secret, body) = (random.text(100), random.text(200));
        let (time, nonce) = (random.0.random::<u32>(), format!("{:016x}", random.0.random::<u64>()));
        json!({ "secret": secret, "method": "POST", "path": "/p", "time": time, "nonce": nonce, "body": body })
    }),
    ("records", |random| json!({ "text": random.record() })),
    ("verdicts", |random| {
        let records: Vec<_> = (0..random.0.random_range(0..8)).map(|_| random.record()).collect();
        let scopes = [random.scope_of_three(), random.scope_of_three()].map(|(scope, _)| scope);
        json!({ "records": records, "scopes": scopes, "loaded_at": random.stamp() })
    }),
];

/// A source of random inputs, most of them unusual.
struct Random(StdRng);

impl Random {
    fn text(&mut self, max_chars: usize) -> String {
        const PIECES: [&str; 40] = [
            "a", "b", "Z", "0", "9", ":", ",", " ", "\t", "{", "}", "%", "%2", "%2f", "%7E", "~", "*", "?",
            "[", "/", "//", "..", ".", "-", "_", "@", "&", "=", "+", "#", ";q=", "gzip", "br", "\n", "\0",
            "\"", "\\", "é", "日", "𝄞",
        ];
        let length = self.0.random_range(0..=max_chars);
        (0..length).map(|_| *PIECES.choose(&mut self.0).unwrap()).collect()
    }

    fn directives(&mut self) -> String {
        const PIECES: [&str; 14] = [
            "max-age",
            "s-maxage",
            "stale-if-error",
            "=",
            "=",
            "=",
            "9",
            "9",
            "99999999999",
            "no-cache",
            ", ",
            ", ",
            "\"",
            "?0",
        ];
        let length = self.0.random_range(0..=9);
        (0..length).map(|_| *PIECES.choose(&mut self.0).unwrap()).collect()
    }

    fn scope(&mut self) -> String {
        let kind = ["key:", "prefix:", "tag:", "path:", "all", ""].choose(&mut self.0).unwrap();
        format!("{kind}{}{}", self.text(20), ["", ":"].choose(&mut self.0).unwrap())
    }

    /// Returns one of three scopes, and its hash.
    fn scope_of_three(&mut self) -> (&'static str, &'static str) {
        let scopes = [("tag:a", "ab60zx0cdj6ww"), ("tag:b", "f922jge6eeqm8"), ("all", "5jad9j97rc37b")];
        *scopes.choose(&mut self.0).unwrap()
    }

    fn record(&mut self) -> String {
        let mode = ["remove", "expire"].choose(&mut self.0).unwrap();
        format!("{} {mode} {}", self.scope_of_three().1, self.stamp())
    }

    fn url(&mut self) -> String {
        format!(
            "{}a.Example{}",
            ["http://", "https://", "ftp://", ""].choose(&mut self.0).unwrap(),
            self.text(30)
        )
    }

    fn position(&mut self) -> String {
        let (ms, seq) = (self.0.random::<u64>() >> self.0.random_range(0..64), self.0.random_range(0..3));
        format!(
            "{}{ms}{}{seq}",
            ["", "", "0", "+"].choose(&mut self.0).unwrap(),
            ["-", "-", ""].choose(&mut self.0).unwrap()
        )
    }

    fn stamp(&mut self) -> String {
        let edge =
            if self.0.random_bool(0.7) { self.0.random_range(0..5).to_string() } else { "-".to_owned() };
        let origin =
            if self.0.random_bool(0.7) { format!(" {}-0", self.0.random_range(0..5)) } else { String::new() };
        edge + &origin
    }
}
