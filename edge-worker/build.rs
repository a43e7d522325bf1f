//! Leaves the names of functions out of the wasm module: they make up an eighth of it when zipped.
//!
//! The profile's `strip` would also take the list of target features, without which wasm-bindgen
//! chooses a slower way to pass values, and the sections that wasm-bindgen itself works from.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        println!("cargo::rustc-link-arg-cdylib=--strip-all");
        for section in ["__wasm_bindgen_unstable", "producers", "target_features"] {
            println!("cargo::rustc-link-arg-cdylib=--keep-section={section}");
        }
    }
}
