//! What the broker reads of certificates itself: PEM, DER, a certificate's names and times. Whether
//! a certificate is to be trusted is decided elsewhere.

mod certificate;
pub mod der;
mod name;
pub mod pem;

pub use certificate::Certificate;

#[cfg(test)]
mod samples;
