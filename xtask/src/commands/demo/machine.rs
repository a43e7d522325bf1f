//! The machine and the program versions behind the report's figures.

use serde::Serialize;

use crate::command::output;
use crate::paths;

/// Facts for the report, without those that cannot be determined.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// Determines the facts of this machine.
    pub(crate) fn this() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let found = [
            ("Processor", processor().map(|model| format!("{model}, {processors} threads"))),
            ("Memory", memory_gib().map(|gib| format!("{gib} GiB"))),
            ("System", output("uname", &["-srm"])),
            ("Rust", output("rustc", &["--version"])),
            ("Redis", output("redis-server", &["--version"]).and_then(|line| redis_version(&line))),
            ("workerd", output(paths::node_module(".bin/workerd"), &["--version"])),
        ];
        let facts = found.into_iter().filter_map(|(name, fact)| Some((name, fact?)));
        Self { facts: facts.collect() }
    }
}

/// Returns the model of the processor.
pub(crate) fn processor() -> Option<String> {
    let linux = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    linux.or_else(|| output("sysctl", &["-n", "machdep.cpu.brand_string"]))
}

fn memory_gib() -> Option<u64> {
    let linux = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    });
    let bytes = linux.or_else(|| output("sysctl", &["-n", "hw.memsize"])?.parse().ok())?;
    Some(bytes.div_ceil(1 << 30))
}

fn redis_version(line: &str) -> Option<String> {
    // "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=…"
    let version = line.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some(version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_redis_version_is_read_from_the_programs_output() {
        let line = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64";
        assert_eq!(redis_version(line).as_deref(), Some("7.0.15"));
    }
}
