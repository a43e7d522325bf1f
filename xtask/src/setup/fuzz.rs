//! What the fuzz targets are built with, besides Rust.

use super::cargo_tools;
use super::system::SystemProgram;
use crate::error::Result;

/// libFuzzer is C++, compiled with the targets.
const COMPILER: SystemProgram =
    SystemProgram { name: "c++", apt: "g++", brew: "llvm", instead: "(on macOS `xcode-select --install` brings it)" };

/// Installs cargo-fuzz and a C++ compiler if they are missing.
pub(crate) async fn fuzz_tools() -> Result<()> {
    COMPILER.installed().await?;
    cargo_tools::cargo_fuzz().await
}
