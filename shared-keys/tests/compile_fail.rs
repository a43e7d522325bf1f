//! Declarations that must not compile, and the message that each one causes.
//!
//! Each case is compiled by `rustc` against the library that this test was built with. Only the
//! message is compared, since the compiler's text around it changes from version to version.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the compiler's messages for a crate, or `None` if it compiles.
fn errors_of(source: &str) -> Option<String> {
    let deps = deps();
    let mut compiler = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    compiler.args([
        "--edition",
        "2024",
        "--crate-name",
        "case",
        "--crate-type",
        "lib",
        "--emit",
        "metadata",
        "-",
    ]);
    compiler.arg("--out-dir").arg(env!("CARGO_TARGET_TMPDIR"));
    compiler.arg("-L").arg(format!("dependency={}", deps.display()));
    compiler.arg("--extern").arg(format!("shared_keys={}", library(&deps).display()));
    let child = compiler.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("expected rustc to run: {error}"));
    child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Returns the folder of this test's executable, which also holds the libraries.
fn deps() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// Returns the path of the library. There can be several, with other features; cargo has just built
/// the newest for this test.
fn library(deps: &Path) -> PathBuf {
    let is_library = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("libshared_keys-") && name.ends_with(".rlib")
    };
    let files = fs::read_dir(deps).unwrap().map(|entry| entry.unwrap().path());
    let modified = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    files.filter(|path| is_library(path)).max_by_key(modified).expect("cargo has built the library")
}

#[track_caller]
fn assert_refused(source: &str, message: &str) {
    let errors = errors_of(source).unwrap_or_else(|| panic!("expected this not to compile:\n{source}"));
    assert!(errors.contains(message), "expected the message\n{message}\nof\n{source}\ngot\n{errors}");
}

fn keys(declarations: &str) -> String {
    format!("pub mod shop {{ shared_keys::keys! {{ app \"shop\" version 1; {declarations} }} }}")
}

#[test]
fn well_formed_declarations_compile() {
    let declarations = r#"
        pub key User { user: u64 } = "user:{user}";
        pub key Orders { user: u64, page: u32 } = "user:{user}:orders:{page}" under User { user } tags [Buyer { user }];
        pub tag Buyer { user: u64 } = "buyer:{user}";
    "#;
    assert_eq!(errors_of(&keys(declarations)), None);
}

#[test]
fn two_templates_that_can_render_the_same_are_both_named() {
    assert_refused(
        &keys(
            r#"pub key ById { id: u64 } = "product:{id}"; pub key ByName { name: String } = "product:{name}";"#,
        ),
        r#"case::shop::ById = "product:{id}" and case::shop::ByName = "product:{name}" can render the same text: give one another literal"#,
    );
    assert_refused(
        &keys(r#"pub key Item { kind: String, id: u64 } = "{kind}:{id}"; pub key Seven {} = "user:7";"#),
        r#"case::shop::Item = "{kind}:{id}" and case::shop::Seven = "user:7" can render the same text"#,
    );
    assert_refused(
        &keys(r#"pub tag A { id: u64 } = "a:{id}"; pub tag B { b: u64 } = "a:{b}";"#),
        r#"case::shop::A = "a:{id}" and case::shop::B = "a:{b}" can render the same text"#,
    );
}

#[test]
fn a_key_and_a_tag_may_render_the_same() {
    assert_eq!(
        errors_of(&keys(r#"pub key A { id: u64 } = "a:{id}"; pub tag B { id: u64 } = "a:{id}";"#)),
        None
    );
}

#[test]
fn two_modules_that_can_render_the_same_key_are_found() {
    let module = |name: &str, version: u32, declaration: &str| {
        format!(
            "pub mod {name} {{ shared_keys::keys! {{ app \"shop\" version {version} listed as pub KEYS; {declaration} }} }}"
        )
    };
    let check = "const _: () = shared_keys::assert_disjoint(&[a::KEYS, b::KEYS]);";
    let (user, person) =
        (r#"pub key User { id: u64 } = "user:{id}";"#, r#"pub key Person { name: String } = "user:{name}";"#);
    assert_refused(
        &[module("a", 1, user), module("b", 1, person), check.to_owned()].concat(),
        r#"case::a::User = "user:{id}" and case::b::Person = "user:{name}" can render the same text: give one another literal"#,
    );
    assert_eq!(errors_of(&[module("a", 1, user), module("b", 2, person), check.to_owned()].concat()), None);
}

#[test]
fn a_malformed_template_says_what_is_wrong_with_it() {
    for (declaration, message) in [
        (r#"pub key A { id: u64 } = "a";"#, r#"case::shop::A = "a" does not name its field id"#),
        (r#"pub key A { id: u64, b: u64 } = "{id}";"#, r#"case::shop::A = "{id}" does not name its field b"#),
        (r#"pub key A { id: u64 } = "a::{id}";"#, r#"case::shop::A = "a::{id}" has an empty segment"#),
        (r#"pub key A {} = "";"#, r#"case::shop::A = "" has an empty segment"#),
        (r#"pub key A {} = "a:";"#, r#"case::shop::A = "a:" has an empty segment"#),
        (
            r#"pub key A {} = "Big";"#,
            r#"case::shop::A = "Big" has a literal with other bytes than a-z 0-9 _ -"#,
        ),
        (
            r#"pub key A {} = "a*";"#,
            r#"case::shop::A = "a*" has a literal with other bytes than a-z 0-9 _ -"#,
        ),
        (
            r#"pub key A { id: u64 } = "a{id}";"#,
            r#"case::shop::A = "a{id}" has a literal with other bytes than a-z 0-9 _ -"#,
        ),
        (
            r#"pub key A { id: u64 } = "a:{other}";"#,
            r#"case::shop::A = "a:{other}" must name its fields as {field}, each once and in their order"#,
        ),
        (
            r#"pub key A { a: u64, b: u64 } = "{b}:{a}";"#,
            r#""{b}:{a}" must name its fields as {field}, each once and in their order"#,
        ),
        (
            r#"pub key A { a: u64 } = "{a}:{a}";"#,
            r#""{a}:{a}" must name its fields as {field}, each once and in their order"#,
        ),
        (
            r#"pub key A { a: u64 } = "{a";"#,
            r#""{a" must name its fields as {field}, each once and in their order"#,
        ),
        (
            r#"pub key A { a: u64 } = "{a}b";"#,
            r#""{a}b" must name its fields as {field}, each once and in their order"#,
        ),
        (
            r#"pub key A { a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8 } = "{a}:{b}:{c}:{d}:{e}:{f}:{g}:{h}";"#,
            r#"can render more than 1,024 bytes, with 128 for each id: give it fewer ids or shorter literals"#,
        ),
        (
            r#"pub tag A { id: u64 } = "a:{id}" tags [];"#,
            "a tag lies under no key and has no tags: only a key's template may be followed by `under` or `tags`",
        ),
    ] {
        assert_refused(&keys(declaration), message);
    }
    for app in ["", "my shop", "a:b"] {
        let source = format!("shared_keys::keys! {{ app \"{app}\" version 1; pub key A {{}} = \"a\"; }}");
        assert_refused(&source, &format!(r#"the app name "{app}" must be one or more of a-z 0-9 _ -"#));
    }
}

#[test]
fn a_key_lies_only_under_one_whose_template_it_begins_with() {
    let user = r#"pub key User { user: u64 } = "user:{user}"; "#;
    for (declaration, message) in [
        (
            r#"pub key Order { user: u64, id: u64 } = "order:{user}:{id}" under User { user };"#,
            r#"Order = "order:{user}:{id}" is not under User = "user:{user}": it must begin with that template and a `:`"#,
        ),
        (
            r#"pub key Flags {} = "flags"; pub key Flag { name: String } = "flags:{name}" under Flags {};"#,
            r#"Flags = "flags" has no id and so a hash tag of its own: nothing lies under it"#,
        ),
        (
            r#"pub key Order { user: u32, id: u64 } = "user:{user}:{id}" under User { user };"#,
            "mismatched types",
        ),
        (
            r#"pub key Order { user: u64, id: u64 } = "user:{user}:{id}" under User { };"#,
            "missing field `user`",
        ),
    ] {
        assert_refused(&keys(&[user, declaration].concat()), message);
    }
    let other = r#"pub mod other { shared_keys::keys! { app "other" version 1; pub key User { user: u64 } = "user:{user}"; } } "#;
    let under = keys(
        r#"pub key Order { user: u64, id: u64 } = "user:{user}:{id}" under crate::other::User { user };"#,
    );
    assert_refused(
        &[other, &under].concat(),
        "Order and User are of different apps or versions, so neither lies under the other",
    );
}

#[test]
fn an_enum_gives_each_variant_a_text_of_its_own() {
    let sort = |texts: &str| {
        format!("pub enum Sort {{ Rank, Price }} shared_keys::enum_id! {{ Sort {{ {texts} }} }}")
    };
    assert_eq!(errors_of(&sort(r#"Rank = "rank", Price = "price""#)), None);
    assert_refused(
        &sort(r#"Rank = "a", Price = "a""#),
        r#"Sort::Rank and Sort::Price have the same text "a""#,
    );
    assert_refused(&sort(r#"Rank = "a""#), "`&Sort::Price` not covered");
    assert_refused(&sort(r#"Rank = "a", Age = "b""#), "`Age`");
}
