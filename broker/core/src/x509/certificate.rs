//! A certificate (RFC 5280): its subject and its period of validity.

use alloc::string::String;

use super::der::{Reader, tag};
use super::name;

/// The parsed fields of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The subject, in the form of RFC 2253.
    pub subject: String,
    /// The issuer, in the same form.
    pub issuer: String,
    /// Start of validity, in seconds since 1970.
    pub not_before_s: i64,
    /// End of validity, in seconds since 1970.
    pub not_after_s: i64,
}

impl Certificate {
    /// Parses a DER-encoded certificate. Returns `None` if it is invalid.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let certificate = Reader::whole(der, tag::SEQUENCE)?;
        let mut fields = Reader::new(Reader::new(certificate).take(tag::SEQUENCE)?);
        let _version = fields.take_if(tag::context(0));
        let _serial = fields.take(tag::INTEGER)?;
        let _algorithm = fields.take(tag::SEQUENCE)?;
        let issuer = name::text(fields.take(tag::SEQUENCE)?)?;
        let mut validity = Reader::new(fields.take(tag::SEQUENCE)?);
        let not_before_s = time(&mut validity)?;
        let not_after_s = time(&mut validity)?;
        let subject = name::text(fields.take(tag::SEQUENCE)?)?;
        Some(Self {
            subject,
            issuer,
            not_before_s,
            not_after_s,
        })
    }
}

/// RFC 5280, 4.1.2.5: `YYMMDDHHMMSSZ` up to 2049, and `YYYYMMDDHHMMSSZ`.
fn time(reader: &mut Reader<'_>) -> Option<i64> {
    let value = reader.value()?;
    let text = core::str::from_utf8(value.content).ok()?;
    let digits = text.strip_suffix('Z')?;
    let (year, rest) = match (value.tag, digits.len()) {
        (tag::UTC_TIME, 12) => {
            let year: i64 = digits.get(..2)?.parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, digits.get(2..)?)
        }
        (tag::GENERALIZED_TIME, 14) => (digits.get(..4)?.parse().ok()?, digits.get(4..)?),
        _ => return None,
    };
    let field = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let days = days_since_1970(year, field(0)?, field(2)?);
    Some(((days * 24 + field(4)?) * 60 + field(6)?) * 60 + field(8)?)
}

/// Counts days in the Gregorian calendar; months count from March, so that the leap day is a year's
/// last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::super::{pem, samples};
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        let check = |kind: u8, text: &str, expected: Option<i64>| {
            let mut bytes = alloc::vec![kind, text.len() as u8];
            bytes.extend(text.bytes());
            assert_eq!(time(&mut Reader::new(&bytes)), expected, "{text}");
        };
        check(tag::UTC_TIME, "700101000000Z", Some(0));
        check(tag::UTC_TIME, "261126182000Z", Some(1_795_717_200));
        check(tag::UTC_TIME, "491231235959Z", Some(2_524_607_999));
        check(
            tag::GENERALIZED_TIME,
            "20500301000000Z",
            Some(2_529_705_600),
        );
        check(
            tag::GENERALIZED_TIME,
            "20240229120000Z",
            Some(1_709_208_000),
        );
        check(tag::UTC_TIME, "700101000000", None);
        check(tag::UTC_TIME, "7001010000Z", None);
        check(tag::GENERALIZED_TIME, "700101000000Z", None);
    }

    /// The expected texts are those of Java 17's `X500Principal.getName()`.
    #[test]
    fn names_are_those_of_java() {
        for (text, subject) in samples::SUBJECTS {
            let der = pem::blocks(text).unwrap().remove(0).der;
            let read = Certificate::parse(&der).unwrap();
            assert_eq!(read.subject, subject);
            assert_eq!(read.issuer, subject, "each is signed by itself");
            assert!(read.not_before_s < read.not_after_s);
        }
    }

    #[test]
    fn what_is_cut_is_no_certificate() {
        let (text, _) = samples::SUBJECTS[0];
        let der = pem::blocks(text).unwrap().remove(0).der;
        for bytes in 0..der.len() {
            assert_eq!(Certificate::parse(&der[..bytes]), None, "{bytes}");
        }
    }
}
