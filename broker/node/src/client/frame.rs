//! Answers as they come off the wire.

use futures_lite::{AsyncRead, AsyncReadExt};
use sedge_protocol::Bytes;

use super::error::Error;
use super::limits::RESPONSE_CHUNK_BYTES;

/// The first bytes of a TLS alert. Read as a length, they mean a response of 336 MiB.
const TLS_ALERT: [u8; 2] = [21, 3];

/// The first bytes of an answer by HTTP, and of a page of a server that does not even say so.
const HTTP: [&[u8]; 4] = [b"HTTP", b"<!", b"<h", b"<H"];

/// Reads one answer without its length. Memory grows with the bytes received, not with the length
/// announced.
pub async fn read(reader: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> Result<Bytes, Error> {
    let mut length = [0; 4];
    reader.read_exact(&mut length).await?;
    if length.starts_with(&TLS_ALERT) {
        return Err(Error::TlsOnly);
    }
    if HTTP.iter().any(|head| length.starts_with(head)) {
        return Err(Error::Http);
    }
    // Four bytes of text make a length far over the limit, or a negative one.
    let bytes = usize::try_from(i32::from_be_bytes(length)).map_err(|_| Error::NotKafka)?;
    if bytes > bytes_max {
        return Err(Error::TooLarge { bytes, bytes_max });
    }
    let mut frame = Vec::with_capacity(bytes.min(RESPONSE_CHUNK_BYTES));
    let got = reader.take(bytes as u64).read_to_end(&mut frame).await?;
    if got < bytes {
        return Err(Error::Closed);
    }
    Ok(frame.into())
}

/// Takes the correlation id, with which an answer begins.
pub fn take_correlation_id(answer: &mut Bytes, expected: i32) -> Result<(), Error> {
    match answer.first_chunk::<4>() {
        Some(id) if i32::from_be_bytes(*id) == expected => {
            let _ = answer.split_to(4);
            Ok(())
        }
        _ => Err(Error::NotKafka),
    }
}
