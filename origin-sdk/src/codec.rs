//! Entry ↔ bytes in the shared tier: one line of header, then the value as JSON, so that `redis-cli GET` can be read.
//!
//! ```text
//! strata 1 {"at":"1763900000000-0","life_ms":[60000,300000,0],"tags":["category:7"]}\n
//! {"name":"Lamp","price_cents":1999}
//! ```
//!
//! | header field | meaning |
//! |---|---|
//! | `strata 1` | format and version; another one is a miss |
//! | `at` | `loaded_at`: the journal position applied before the load began |
//! | `life_ms` | fresh, stale-while-revalidate and stale-if-error, in milliseconds |
//! | `tags` | the value's tags; its other scopes follow from its key |
//!
//! Its age is not stored: it is what its time to live has lost.

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared_keys::{Lifetime, Tag};

use crate::entry::Meta;

const MAGIC: &[u8] = b"strata 1 ";

#[derive(Serialize, Deserialize)]
struct Header {
    at: String,
    life_ms: [u64; 3],
    #[serde(default)]
    tags: Vec<String>,
}

/// The stored form.
///
/// # Errors
/// If the value does not serialise.
pub(crate) fn encode<V: Serialize>(meta: &Meta, value: &V) -> Result<Bytes, serde_json::Error> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let header = Header {
        at: meta.loaded_at.to_string(),
        life_ms: [meta.lifetime.fresh_for(), meta.lifetime.swr_for(), meta.lifetime.sie_for()].map(millis),
        tags: meta.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
    };
    let mut bytes = MAGIC.to_vec();
    serde_json::to_writer(&mut bytes, &header)?;
    bytes.push(b'\n');
    serde_json::to_writer(&mut bytes, value)?;
    Ok(bytes.into())
}

/// The entry in stored bytes, or `None` if they are of another format, another type, or damaged.
pub(crate) fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Option<(Meta, V)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let end = rest.iter().position(|&byte| byte == b'\n')?;
    let header: Header = serde_json::from_slice(&rest[..end]).ok()?;
    let [fresh, swr, sie] = header.life_ms.map(Duration::from_millis);
    let meta = Meta {
        loaded_at: header.at.parse().ok()?,
        lifetime: Lifetime::fresh(fresh).stale_while_revalidate(swr).stale_if_error(sie),
        tags: header.tags.iter().map(|tag| Tag::new(tag)).collect::<Result<_, _>>().ok()?,
    };
    Some((meta, serde_json::from_slice(&rest[end + 1..]).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared_keys::Position;

    use super::*;

    fn meta() -> Meta {
        let lifetime = Lifetime::fresh(Duration::from_secs(60)).stale_while_revalidate(Duration::from_secs(300));
        Meta { loaded_at: Position::new(1_763_900_000_000, 0), lifetime, tags: vec![Tag::new("category:7").unwrap()] }
    }

    /// Bytes as version 1 wrote them: what is in Redis must stay readable.
    const GOLDEN: &str = concat!(
        r#"strata 1 {"at":"1763900000000-0","life_ms":[60000,300000,0],"tags":["category:7"]}"#,
        "\n",
        r#"["Lamp",1999]"#
    );

    #[test]
    fn version_1_is_written_and_read_as_ever() {
        let value = ("Lamp".to_owned(), 1999_u32);
        assert_eq!(encode(&meta(), &value).unwrap(), GOLDEN.as_bytes());
        assert_eq!(decode(GOLDEN.as_bytes()), Some((meta(), value)));
    }

    #[test]
    fn what_is_not_ours_is_no_entry() {
        for bytes in ["", "strata 1 ", "strata 2 {}\n1", "strata 1 {}\n1", &GOLDEN.replace("1999", "x"), &GOLDEN[..90]]
        {
            assert_eq!(decode::<(String, u32)>(bytes.as_bytes()), None, "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>, cut in 0..GOLDEN.len()) {
            let _ = decode::<String>(&bytes);
            let mut spliced = GOLDEN.as_bytes()[..cut].to_vec();
            spliced.extend(bytes);
            let _ = decode::<(String, u32)>(&spliced);
        }
    }
}
