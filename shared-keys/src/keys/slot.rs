//! Redis Cluster slots: CRC-16/XMODEM of a key's hash tag, modulo 16,384 (Redis Cluster
//! specification).

/// The number of slots of a Redis Cluster.
///
/// ```
/// assert!(shared_keys::slot("shop:v1:{user:42}") < shared_keys::SLOTS);
/// ```
pub const SLOTS: u16 = 16_384;

/// Returns the slot of a key in a Redis Cluster, below [`SLOTS`]. The keys of one family share a
/// slot, since the family is their hash tag.
///
/// ```
/// use shared_keys::slot;
/// assert_eq!(slot("shop:v1:{user:42}:profile"), slot("shop:v1:{user:42}:orders:3"));
/// assert_eq!(slot("123456789"), 0x31C3);
/// ```
#[must_use]
pub fn slot(key: &str) -> u16 {
    crc16(hash_tag(key).as_bytes()) % SLOTS
}

/// Returns the text between the first `{` and the first `}` behind it, or the whole key if that
/// text is empty or missing.
fn hash_tag(key: &str) -> &str {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, &byte| {
        (0..8).fold(
            crc ^ u16::from(byte) << 8,
            |crc, _| if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 },
        )
    })
}
