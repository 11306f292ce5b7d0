//! Decode, encode, decode: what comes back is what went in.

/// Decodes a `$message` of `$version` from `$body`; where that succeeds, its encoding must decode
/// to an equal message, and be as long as foretold.
#[macro_export]
macro_rules! round_trip {
    ($message:ty, $body:expr, $version:expr) => {{
        let mut rest = bytes::Bytes::copy_from_slice($body);
        if let Ok(message) = <$message>::read(&mut rest, $version) {
            let mut encoded = bytes::BytesMut::new();
            // A message may hold what a lower version cannot say; then it is refused, not bent.
            if message.write(&mut encoded, $version).is_ok() {
                assert_eq!(message.encoded_len($version).ok(), Some(encoded.len()));
                let mut again = encoded.freeze();
                let decoded = <$message>::read(&mut again, $version);
                assert!(again.is_empty(), "bytes left over");
                let decoded = decoded.ok();
                // A float that is not a number differs from itself, and is written the same.
                if decoded.as_ref() != Some(&message) {
                    assert_eq!(format!("{decoded:?}"), format!("{:?}", Some(&message)));
                }
            }
        }
    }};
}
