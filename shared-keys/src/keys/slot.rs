//! The Redis Cluster slot of a key: CRC-16/XMODEM of its hash tag, modulo 16,384 (Redis Cluster specification).

/// How many slots a Redis Cluster has.
///
/// ```
/// assert!(shared_keys::slot("shop:v1:{user:42}") < shared_keys::SLOTS);
/// ```
pub const SLOTS: u16 = 16_384;

/// The slot that a Redis Cluster keeps a key in, below [`SLOTS`]. Keys of one family share it, as the hash tag is the family.
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

/// What stands between the first `{` and the first `}` behind it, unless that is nothing; else the whole key.
fn hash_tag(key: &str) -> &str {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 })
    })
}
