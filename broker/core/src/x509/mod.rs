//! The parts of certificates that the broker reads itself: PEM, DER, and a certificate's names and
//! times. Whether a certificate is trusted is decided elsewhere.

mod certificate;
pub mod der;
mod name;
pub mod pem;

pub use certificate::Certificate;

#[cfg(test)]
mod samples;
