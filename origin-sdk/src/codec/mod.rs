//! The stored form of an entry in the shared tier: a header line, which `redis-cli GET` shows, and
//! the value.
//!
//! ```text
//! strata 2 33b49d75ca024eae {"at":"1763900000000-0","life_ms":[60000,300000,0],"tags":["category:7"]}\n
//! {"name":"Lamp","price_cents":1999}
//! ```
//!
//! | part | meaning |
//! |---|---|
//! | `strata 2` | format and version; version 1 has no checksum and no `enc`; any other is a miss |
//! | 16 hex digits | XXH3-64 of everything after the following space; damaged or truncated bytes are a miss |
//! | `at` | `loaded_at`: the journal position applied before the load began |
//! | `life_ms` | fresh, stale-while-revalidate and stale-if-error, in milliseconds |
//! | `delta_us` | how long the loader ran, in microseconds; absent if unknown |
//! | `tags` | the value's tags; its other scopes follow from its key |
//! | `enc` | the encoding of the value: absent for JSON, or `msgpack` |
//! | `raw_bytes` | the value's size before compression with zstd; absent if it is not compressed |
//!
//! The age is not stored: it is the part of the time to live that has passed. The checksum detects
//! accidents. It does not protect against an attacker who can write to Redis.

mod fingerprint;
mod unfaithful;

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared_keys::{Lifetime, Tag};
use xxhash_rust::xxh3::xxh3_64;

use self::fingerprint::{Fingerprint, fingerprint};
use self::unfaithful::Unfaithful;
use crate::entry::Meta;
use crate::error::BoxError;

const VERSION_1: &[u8] = b"strata 1 ";
const VERSION_2: &[u8] = b"strata 2 ";
const SUM_DIGITS: usize = 16;
/// The default of the largest value in the shared tier.
pub(crate) const MAX_VALUE_BYTES: usize = 64 << 20;

/// The encoding of values in the shared tier. A process reads every encoding that its build
/// supports, so the processes of a fleet may differ, and the setting may change at any time.
///
/// ```
/// # use origin_sdk::{Cache, Format};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let cache = Cache::builder("shop").format(Format::Json).build().await.unwrap();
/// # });
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// JSON: the default, readable with `redis-cli`. Does not keep numbers that are not finite, nor
    /// maps whose keys are tuples or structs: such values are not stored.
    #[default]
    Json,
    /// MessagePack with field names: smaller, and still tolerant of added and removed fields. Needs
    /// the feature `msgpack`.
    #[cfg(feature = "msgpack")]
    Msgpack,
}

impl Format {
    fn is_json(&self) -> bool {
        *self == Self::Json
    }

    fn write(self, value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), BoxError> {
        match self {
            Self::Json => Ok(serde_json::to_writer(out, value)?),
            #[cfg(feature = "msgpack")]
            Self::Msgpack => Ok(rmp_serde::encode::write_named(out, value)?),
        }
    }

    fn read<V: DeserializeOwned>(self, bytes: &[u8]) -> Result<V, BoxError> {
        match self {
            Self::Json => Ok(serde_json::from_slice(bytes)?),
            #[cfg(feature = "msgpack")]
            Self::Msgpack => Ok(rmp_serde::from_slice(bytes)?),
        }
    }
}

/// The settings of the stored form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codec {
    pub(crate) format: Format,
    /// Whether to read each value back, and refuse one that differs.
    pub(crate) verify: bool,
    /// The largest value before compression. A few bytes from Redis must not fill this process's
    /// memory when they are decompressed.
    pub(crate) max_value_bytes: usize,
    /// Values longer than this are compressed, if that makes them shorter.
    #[cfg(feature = "zstd")]
    pub(crate) compress_over: Option<usize>,
}

impl Default for Codec {
    fn default() -> Self {
        Self {
            format: Format::default(),
            verify: false,
            max_value_bytes: MAX_VALUE_BYTES,
            #[cfg(feature = "zstd")]
            compress_over: None,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    at: Cow<'a, str>,
    life_ms: [u64; 3],
    #[serde(default, skip_serializing_if = "is_zero")]
    delta_us: u64,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Format::is_json")]
    enc: Format,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw_bytes: Option<usize>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Codec {
    /// Encodes an entry in version 2.
    ///
    /// # Errors
    /// If the value does not serialise, or would be read back as another value.
    pub(crate) fn encode<V: Serialize + DeserializeOwned>(
        self,
        meta: &Meta,
        value: &V,
    ) -> Result<Encoded<V>, BoxError> {
        let original = fingerprint(value, self.format)?;
        let mut raw = Vec::new();
        self.format.write(value, &mut raw)?;
        let is_read_back = self.verify || original.doubt.is_some();
        let copy = if is_read_back { Some(self.read_back(&raw, original)?) } else { None };
        let (payload, raw_bytes) = self.compressed(raw);
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let header = Header {
            at: meta.loaded_at.to_string().into(),
            life_ms: [meta.lifetime.fresh_for(), meta.lifetime.swr_for(), meta.lifetime.sie_for()]
                .map(millis),
            delta_us: u64::try_from(meta.delta.as_micros()).unwrap_or(u64::MAX),
            tags: meta.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
            enc: self.format,
            raw_bytes,
        };
        let summed_from = VERSION_2.len() + SUM_DIGITS + 1;
        let mut bytes = Vec::with_capacity(summed_from + 128 + payload.len());
        bytes.resize(summed_from, b' ');
        serde_json::to_writer(&mut bytes, &header)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&payload);
        let sum = xxh3_64(&bytes[summed_from..]);
        write!(&mut bytes[..summed_from], "strata 2 {sum:016x} ")?;
        let uncompressed_bytes = bytes.len() - payload.len() + raw_bytes.unwrap_or(payload.len());
        Ok(Encoded { bytes: bytes.into(), uncompressed_bytes, copy })
    }

    /// Reads a value that was just written, and compares it with the original.
    fn read_back<V: Serialize + DeserializeOwned>(
        self,
        raw: &[u8],
        original: Fingerprint,
    ) -> Result<V, Unfaithful> {
        let Fingerprint { hash, doubt, .. } = original;
        match self.format.read(raw) {
            Ok(copy) if fingerprint(&copy, self.format)?.hash == hash => Ok(copy),
            Ok(_) => Err(doubt.unwrap_or_else(Unfaithful::different)),
            Err(error) => Err(doubt.unwrap_or_else(|| Unfaithful::unreadable(&*error))),
        }
    }

    /// Returns the payload and, if it is compressed, its size before.
    #[cfg(feature = "zstd")]
    fn compressed(self, raw: Vec<u8>) -> (Vec<u8>, Option<usize>) {
        if self.compress_over.is_none_or(|limit| raw.len() <= limit) || raw.len() > self.max_value_bytes {
            return (raw, None);
        }
        match zstd::bulk::compress(&raw, zstd::DEFAULT_COMPRESSION_LEVEL) {
            Ok(compressed) if compressed.len() < raw.len() => (compressed, Some(raw.len())),
            // Compression does not shrink the value.
            _ => (raw, None),
        }
    }

    #[cfg(not(feature = "zstd"))]
    fn compressed(self, raw: Vec<u8>) -> (Vec<u8>, Option<usize>) {
        (raw, None)
    }
}

/// An entry that was read from its stored form.
pub(crate) struct Decoded<V> {
    pub(crate) meta: Meta,
    pub(crate) value: V,
    /// The size of the stored form before compression: what the value counts for in memory.
    pub(crate) uncompressed_bytes: usize,
}

/// The stored form of an entry.
pub(crate) struct Encoded<V> {
    pub(crate) bytes: Bytes,
    /// The size of the stored form before compression: what the value counts for in memory.
    pub(crate) uncompressed_bytes: usize,
    /// The value as it was read back, if [`Codec::verify`] is set or the format may change it.
    pub(crate) copy: Option<V>,
}

/// Reads an entry from stored bytes of either version. Returns `None` if they are of another format
/// or type, damaged, or longer than `max_value_bytes` when decompressed.
pub(crate) fn decode<V: DeserializeOwned>(bytes: &[u8], max_value_bytes: usize) -> Option<Decoded<V>> {
    let rest = match bytes.strip_prefix(VERSION_2) {
        Some(rest) => checked(rest)?,
        None => bytes.strip_prefix(VERSION_1)?,
    };
    let (header, payload) = split(rest)?;
    let value = match header.raw_bytes {
        None => header.enc.read(payload).ok()?,
        Some(raw_bytes) if raw_bytes > max_value_bytes => return None,
        Some(raw_bytes) => header.enc.read(&decompressed(payload, raw_bytes)?).ok()?,
    };
    let uncompressed_bytes = bytes.len() - payload.len() + header.raw_bytes.unwrap_or(payload.len());
    Some(Decoded { meta: header.meta()?, value, uncompressed_bytes })
}

/// Reads the metadata from the first line of stored bytes. The bytes may be truncated after that
/// line, and are not checked for damage. Returns `None` if the line is not of either version.
pub(crate) fn peek(head: &[u8]) -> Option<Meta> {
    let rest = match head.strip_prefix(VERSION_2) {
        Some(rest) => rest.get(SUM_DIGITS + 1..)?,
        None => head.strip_prefix(VERSION_1)?,
    };
    split(rest)?.0.meta()
}

fn split(rest: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let end = rest.iter().position(|&byte| byte == b'\n')?;
    Some((serde_json::from_slice(&rest[..end]).ok()?, &rest[end + 1..]))
}

impl Header<'_> {
    fn meta(&self) -> Option<Meta> {
        let [fresh, swr, sie] = self.life_ms.map(Duration::from_millis);
        Some(Meta {
            loaded_at: self.at.parse().ok()?,
            lifetime: Lifetime::fresh(fresh).stale_while_revalidate(swr).stale_if_error(sie),
            delta: Duration::from_micros(self.delta_us),
            tags: self.tags.iter().map(|tag| Tag::new(tag)).collect::<Result<_, _>>().ok()?,
        })
    }
}

/// Returns the bytes behind the checksum, or `None` if they do not match it.
fn checked(rest: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = rest.split_at_checked(SUM_DIGITS)?;
    let summed = rest.strip_prefix(b" ")?;
    let expected = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (xxh3_64(summed) == expected).then_some(summed)
}

#[cfg(feature = "zstd")]
fn decompressed(payload: &[u8], raw_bytes: usize) -> Option<Vec<u8>> {
    zstd::bulk::decompress(payload, raw_bytes).ok().filter(|raw| raw.len() == raw_bytes)
}

#[cfg(not(feature = "zstd"))]
fn decompressed(_payload: &[u8], _raw_bytes: usize) -> Option<Vec<u8>> {
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared_keys::Position;

    use super::*;

    fn read<V: DeserializeOwned>(bytes: &[u8]) -> Option<(Meta, V)> {
        decode(bytes, MAX_VALUE_BYTES).map(|Decoded { meta, value, .. }| (meta, value))
    }

    fn meta() -> Meta {
        let lifetime =
            Lifetime::fresh(Duration::from_secs(60)).stale_while_revalidate(Duration::from_secs(300));
        let tags = vec![Tag::new("category:7").unwrap()];
        Meta { loaded_at: Position::new(1_763_900_000_000, 0), lifetime, delta: Duration::ZERO, tags }
    }

    fn lamp() -> (String, u32) {
        ("Lamp".to_owned(), 1999)
    }

    /// Bytes as each version wrote them: what is in Redis must stay readable.
    const GOLDEN_1: &str = concat!(
        r#"strata 1 {"at":"1763900000000-0","life_ms":[60000,300000,0],"tags":["category:7"]}"#,
        "\n",
        r#"["Lamp",1999]"#
    );
    const GOLDEN_2: &str = concat!(
        r#"strata 2 33b49d75ca024eae {"at":"1763900000000-0","life_ms":[60000,300000,0],"tags":["category:7"]}"#,
        "\n",
        r#"["Lamp",1999]"#
    );

    #[test]
    fn version_1_is_read_as_ever() {
        assert_eq!(read(GOLDEN_1.as_bytes()), Some((meta(), lamp())));
    }

    #[test]
    fn version_2_is_written_and_read_as_ever() {
        let written = Codec::default().encode(&meta(), &lamp()).unwrap().bytes;
        assert_eq!(std::str::from_utf8(&written).unwrap(), GOLDEN_2);
        assert_eq!(read(GOLDEN_2.as_bytes()), Some((meta(), lamp())));
    }

    #[test]
    fn how_long_the_loader_took_is_written_and_read() {
        let timed = Meta { delta: Duration::from_micros(1500), ..meta() };
        let written = Codec::default().encode(&timed, &lamp()).unwrap().bytes;
        let golden = r#"strata 2 662e86106731a22e {"at":"1763900000000-0","life_ms":[60000,300000,0],"delta_us":1500,"tags":["category:7"]}"#;
        assert_eq!(std::str::from_utf8(&written).unwrap(), format!("{golden}\n[\"Lamp\",1999]"));
        assert_eq!(read(&written), Some((timed, lamp())));
    }

    #[test]
    fn what_is_not_ours_is_no_entry() {
        for bytes in [
            "",
            "strata 1 ",
            "strata 3 {}\n1",
            "strata 1 {}\n1",
            &GOLDEN_1.replace("1999", "x"),
            &GOLDEN_1[..90],
        ] {
            assert_eq!(read::<(String, u32)>(bytes.as_bytes()), None, "{bytes}");
        }
    }

    #[test]
    fn a_byte_that_changed_or_is_missing_is_a_miss() {
        for at in 0..GOLDEN_2.len() {
            assert_eq!(read::<(String, u32)>(&GOLDEN_2.as_bytes()[..at]), None, "cut at {at}");
            let mut changed = GOLDEN_2.as_bytes().to_vec();
            changed[at] ^= 1;
            assert_eq!(read::<(String, u32)>(&changed), None, "changed at {at}");
        }
    }

    #[test]
    fn the_head_alone_tells_what_the_rule_needs() {
        for golden in [GOLDEN_1, GOLDEN_2] {
            let end = golden.find('\n').unwrap();
            assert_eq!(peek(&golden.as_bytes()[..=end]), Some(meta()));
            assert_eq!(peek(&golden.as_bytes()[..end]), None, "the header may go on");
        }
        assert_eq!(peek(b"another's value\n"), None);
    }

    #[cfg(feature = "msgpack")]
    #[test]
    fn a_format_is_told_by_the_entry_and_not_by_the_setting() {
        let codec = Codec { format: Format::Msgpack, ..Codec::default() };
        let written = codec.encode(&meta(), &lamp()).unwrap().bytes;
        assert!(written.windows(15).any(|part| part == br#""enc":"msgpack""#));
        assert_eq!(read(&written), Some((meta(), lamp())));
    }

    #[cfg(feature = "zstd")]
    mod compression {
        use super::*;

        fn compressing() -> Codec {
            Codec { compress_over: Some(100), ..Codec::default() }
        }

        #[test]
        fn only_what_is_longer_than_the_limit_and_shrinks_is_compressed() {
            let (long, short) = ("a".repeat(1000), "a".repeat(90));
            let encoded = compressing().encode(&meta(), &long).unwrap();
            let uncompressed = Codec::default().encode(&meta(), &long).unwrap().bytes.len();
            // The header of a compressed value names its size as well.
            assert!(encoded.uncompressed_bytes.abs_diff(uncompressed) < 32);
            assert_eq!(
                decode::<String>(&encoded.bytes, MAX_VALUE_BYTES).unwrap().uncompressed_bytes,
                encoded.uncompressed_bytes
            );
            let written = encoded.bytes;
            assert!(written.len() < 300, "{}", written.len());
            assert_eq!(read(&written), Some((meta(), long)));
            let written = compressing().encode(&meta(), &short).unwrap().bytes;
            assert!(!written.windows(9).any(|part| part == b"raw_bytes"));
            assert_eq!(read(&written), Some((meta(), short)));
        }

        #[test]
        fn bytes_that_would_fill_the_memory_are_a_miss() {
            let bomb = zstd::bulk::compress(&vec![b' '; 2 * MAX_VALUE_BYTES], 1).unwrap();
            for raw_bytes in [2 * MAX_VALUE_BYTES, usize::MAX, MAX_VALUE_BYTES, 10] {
                let header = format!(r#"strata 1 {{"at":"1-0","life_ms":[1,0,0],"raw_bytes":{raw_bytes}}}"#);
                let bytes = [header.as_bytes(), b"\n", &bomb].concat();
                assert_eq!(read::<serde::de::IgnoredAny>(&bytes).map(|_| ()), None, "{raw_bytes}");
            }
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>, cut in 0..GOLDEN_1.len()) {
            let _ = read::<String>(&bytes);
            let mut spliced = GOLDEN_1.as_bytes()[..cut].to_vec();
            spliced.extend(&bytes);
            let _ = read::<(String, u32)>(&spliced);
            // With a checksum that fits, what is behind it is parsed.
            let mut summed = format!("strata 2 {:016x} ", xxh3_64(&spliced[9.min(spliced.len())..])).into_bytes();
            summed.extend(&spliced[9.min(spliced.len())..]);
            let _ = read::<(String, u32)>(&summed);
        }
    }
}
