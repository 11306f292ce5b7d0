//! Round trips: decode, encode, decode again, and compare.

/// Decodes a `$message` of `$version` from `$body`. If that succeeds, its encoding must decode to
/// an equal message and have the predicted length.
#[macro_export]
macro_rules! round_trip {
    ($message:ty, $body:expr, $version:expr) => {{
        let mut rest = bytes::Bytes::copy_from_slice($body);
        if let Ok(message) = <$message>::read(&mut rest, $version) {
            let mut encoded = bytes::BytesMut::new();
            // A message may have values that a lower version cannot express; then encoding must
            // fail.
            if message.write(&mut encoded, $version).is_ok() {
                assert_eq!(message.encoded_len($version).ok(), Some(encoded.len()));
                let mut again = encoded.freeze();
                let decoded = <$message>::read(&mut again, $version);
                assert!(again.is_empty(), "bytes left over");
                let decoded = decoded.ok();
                // A NaN differs from itself, and is encoded the same.
                if decoded.as_ref() != Some(&message) {
                    assert_eq!(format!("{decoded:?}"), format!("{:?}", Some(&message)));
                }
            }
        }
    }};
}
