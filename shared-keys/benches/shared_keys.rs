//! The cost of a hit: rendering a key, its scopes, and the verdict. Run `cargo bench -p
//! strata-shared-keys`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use shared_keys::{
    Applied, Key, MAX_KEY_BYTES, Mode, Position, Record, Scope, ScopeHash, Stamp, Tag, TargetKey,
    scopes_from_header,
};

shared_keys::keys! {
    app "shop" version 1;

    /// A number and a text.
    key Orders { user: u64, state: String } = "user:{user}:orders:{state}";
}

fn render(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("render");
    let key = |state: &str| Orders { user: 42, state: state.to_owned() };
    let mut buffer = String::with_capacity(MAX_KEY_BYTES);
    for (name, key) in
        [("plain", key("open")), ("escaped", key("in Arbeit: 1*")), ("cut", key(&"x".repeat(200)))]
    {
        group.bench_function(BenchmarkId::new("into a buffer", name), |bencher| {
            bencher.iter(|| {
                buffer.clear();
                let _ = black_box(&key).render(&mut buffer);
                buffer.len()
            });
        });
    }
    let text = key("open").to_text();
    group.bench_function("parse", |bencher| bencher.iter(|| Orders::parse(black_box(&text))));
    group.finish();
}

fn scopes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scopes");
    let text = Orders { user: 42, state: "open".to_owned() }.to_text();
    group.bench_function("of a key (6)", |bencher| bencher.iter(|| ScopeHash::of_key(black_box(&text))));
    let tag = Tag::new("category:7").map(Scope::Tag);
    group.bench_function("of a tag", |bencher| bencher.iter(|| black_box(&tag).as_ref().map(Scope::hash)));
    let header = (0..20).map(|n| format!("category:{n},")).collect::<String>();
    group.bench_function("of a header (20)", |bencher| {
        bencher.iter(|| scopes_from_header(black_box(&header)).count());
    });
    let target = TargetKey::parse("https://shop.example/api/products/7?page=2");
    group.bench_function("of a path (4)", |bencher| {
        bencher.iter(|| black_box(&target).as_ref().map(TargetKey::scopes));
    });
    group.finish();
}

/// Measures a valid hit, the most expensive verdict, since every scope is looked up.
fn verdict(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verdict");
    let tag = |number: usize| ScopeHash(number as u64).0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for applied_scopes in [0, 10, 1_000, 100_000] {
        let mut applied = Applied::new(1_000_000);
        for number in 0..applied_scopes {
            let stamp = Stamp::origin(Position::new(1, number as u64));
            applied.apply(Record { scope: ScopeHash(tag(number)), mode: Mode::Remove, stamp });
        }
        let loaded_at = Stamp::origin(Position::new(2, 0));
        for entry_scopes in [1, 6, 20] {
            // Half of them have records, all older than the entry.
            let scopes: Vec<_> =
                (0..entry_scopes).map(|n| ScopeHash(tag(n * (applied_scopes + 1) / 2))).collect();
            group.bench_function(
                BenchmarkId::new(format!("{applied_scopes} applied"), format!("{entry_scopes} of the entry")),
                |bencher| bencher.iter(|| applied.verdict(black_box(&scopes).iter().copied(), loaded_at)),
            );
        }
    }
    group.finish();
}

criterion_group!(benches, render, scopes, verdict);
criterion_main!(benches);
