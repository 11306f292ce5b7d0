//! The metrics that clients push (KIP-714), in the protobuf messages of OpenTelemetry: numbers of
//! gauges and sums, with their attributes. All other kinds of metrics are skipped.
//!
//! **Invariant:** strings borrow from the bytes, no length that the bytes claim is trusted, and the
//! messages are nested as deep as the schema, not as the bytes say.
//!
//! Source: opentelemetry-proto 1.0, `metrics/v1/metrics.proto`, `common/v1/common.proto`; the
//! encoding page of protobuf.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::limits::{OTLP_ATTRIBUTES_MAX, OTLP_POINTS_MAX};

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The value at this moment.
    Gauge,
    /// The sum since the client started.
    Cumulative,
    /// The sum since the client's last push.
    Delta,
}

/// One number of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Point<'a> {
    pub metric: &'a str,
    pub kind: Kind,
    pub value: f64,
    /// Keys with values: those of the client, then those of the number.
    pub attributes: Vec<(&'a str, Cow<'a, str>)>,
}

/// Calls `visit` with each number.
///
/// # Errors
/// Bytes that are not the message, or more numbers than [`OTLP_POINTS_MAX`].
pub fn each_point<'a>(bytes: &'a [u8], visit: &mut impl FnMut(Point<'a>)) -> Result<()> {
    let mut points = 0;
    each_field(bytes, |number, value| match (number, value) {
        (1, Value::Bytes(of_resource)) => resource(of_resource, &mut points, visit),
        _ => Ok(()),
    })
}

fn resource<'a>(
    bytes: &'a [u8],
    points: &mut usize,
    visit: &mut impl FnMut(Point<'a>),
) -> Result<()> {
    let mut shared = Vec::new();
    each_field(bytes, |number, value| match (number, value) {
        (1, Value::Bytes(resource)) => attributes(resource, 1, &mut shared),
        _ => Ok(()),
    })?;
    each_field(bytes, |number, value| match (number, value) {
        (2, Value::Bytes(of_scope)) => {
            each_field(of_scope, |number, value| match (number, value) {
                (2, Value::Bytes(metric)) => self::metric(metric, &shared, points, visit),
                _ => Ok(()),
            })
        }
        _ => Ok(()),
    })
}

fn metric<'a>(
    bytes: &'a [u8],
    shared: &[(&'a str, Cow<'a, str>)],
    points: &mut usize,
    visit: &mut impl FnMut(Point<'a>),
) -> Result<()> {
    let mut name = "";
    let mut data = None;
    each_field(bytes, |number, value| {
        match (number, value) {
            (1, Value::Bytes(text)) => name = utf8(text)?,
            (5, Value::Bytes(gauge)) => data = Some((gauge, Kind::Gauge)),
            (7, Value::Bytes(sum)) => data = Some((sum, kind_of_sum(sum)?)),
            _ => {}
        }
        Ok(())
    })?;
    let Some((data, kind)) = data else {
        return Ok(());
    };
    each_field(data, |number, value| {
        let (1, Value::Bytes(point)) = (number, value) else {
            return Ok(());
        };
        *points += 1;
        if *points > OTLP_POINTS_MAX {
            return Err(Error::TooMany {
                what: "numbers of a client's metrics",
                limit: OTLP_POINTS_MAX,
            });
        }
        let mut attributes = shared.to_vec();
        if let Some(value) = number_of(point, &mut attributes)? {
            visit(Point {
                metric: name,
                kind,
                value,
                attributes,
            });
        }
        Ok(())
    })
}

fn kind_of_sum(sum: &[u8]) -> Result<Kind> {
    const DELTA: u64 = 1;
    let mut temporality = 0;
    each_field(sum, |number, value| {
        if let (2, Value::Varint(of)) = (number, value) {
            temporality = of;
        }
        Ok(())
    })?;
    Ok(match temporality {
        DELTA => Kind::Delta,
        _ => Kind::Cumulative,
    })
}

/// Returns the value of a data point and adds its attributes.
fn number_of<'a>(
    point: &'a [u8],
    attributes: &mut Vec<(&'a str, Cow<'a, str>)>,
) -> Result<Option<f64>> {
    let mut found = None;
    each_field(point, |number, value| {
        match (number, value) {
            (4, Value::Fixed64(bits)) => found = Some(f64::from_bits(bits)),
            (6, Value::Fixed64(bits)) => found = Some(bits.cast_signed() as f64),
            _ => {}
        }
        Ok(())
    })?;
    self::attributes(point, 7, attributes)?;
    Ok(found)
}

/// Adds the attributes in the field `at` of a message; those beyond the limit are left out.
fn attributes<'a>(bytes: &'a [u8], at: u64, into: &mut Vec<(&'a str, Cow<'a, str>)>) -> Result<()> {
    each_field(bytes, |number, value| {
        let Value::Bytes(pair) = value else {
            return Ok(());
        };
        if number != at || into.len() >= OTLP_ATTRIBUTES_MAX {
            return Ok(());
        }
        let (mut key, mut text) = ("", None);
        each_field(pair, |number, value| {
            match (number, value) {
                (1, Value::Bytes(bytes)) => key = utf8(bytes)?,
                (2, Value::Bytes(any)) => text = any_value(any)?,
                _ => {}
            }
            Ok(())
        })?;
        into.extend(text.map(|text| (key, text)));
        Ok(())
    })
}

/// Returns a value as text; `None` for arrays, maps and bytes.
fn any_value(bytes: &[u8]) -> Result<Option<Cow<'_, str>>> {
    let mut text = None;
    each_field(bytes, |number, value| {
        text = match (number, value) {
            (1, Value::Bytes(bytes)) => Some(Cow::Borrowed(utf8(bytes)?)),
            (2, Value::Varint(of)) => Some(Cow::Owned((of != 0).to_string())),
            (3, Value::Varint(of)) => Some(Cow::Owned(of.cast_signed().to_string())),
            (4, Value::Fixed64(bits)) => Some(Cow::Owned(f64::from_bits(bits).to_string())),
            _ => None,
        };
        Ok(())
    })?;
    Ok(text)
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::NotText {
        what: "text of a client's metrics",
    })
}

/// The value of a field, by its wire type.
#[derive(Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// Calls `visit` with the number and the value of each field of a message.
fn each_field<'a>(
    mut bytes: &'a [u8],
    mut visit: impl FnMut(u64, Value<'a>) -> Result<()>,
) -> Result<()> {
    const WHAT: &str = "a client's metrics";
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => {
                let (front, rest) = bytes
                    .split_first_chunk()
                    .ok_or(Error::Truncated { what: WHAT })?;
                bytes = rest;
                Value::Fixed64(u64::from_le_bytes(*front))
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).unwrap_or(usize::MAX);
                let (front, rest) = bytes
                    .split_at_checked(length)
                    .ok_or(Error::Truncated { what: WHAT })?;
                bytes = rest;
                Value::Bytes(front)
            }
            5 => {
                let rest = bytes.get(4..).ok_or(Error::Truncated { what: WHAT })?;
                bytes = rest;
                Value::Fixed32
            }
            _ => return Err(Error::Invalid { what: WHAT }),
        };
        visit(tag >> 3, value)?;
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(Error::Truncated {
            what: "a number of a client's metrics",
        })?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Error::Varint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        assert!(bytes.len() < 128);
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn fixed(number: u8, bits: u64) -> Vec<u8> {
        [&[number << 3 | 1][..], &bits.to_le_bytes()].concat()
    }

    fn attribute(at: u8, key: &str, any: &[u8]) -> Vec<u8> {
        let pair = [field(1, key.as_bytes()), field(2, any)].concat();
        field(at, &pair)
    }

    /// One metric of a client with the attribute `rack`.
    fn pushed(metric: &[u8]) -> Vec<u8> {
        let resource = attribute(1, "rack", &field(1, b"r1"));
        let scope = field(2, metric);
        let of_resource = [field(1, &resource), field(2, &scope)].concat();
        field(1, &of_resource)
    }

    fn read(bytes: &[u8]) -> Result<Vec<Point<'_>>> {
        let mut points = Vec::new();
        each_point(bytes, &mut |point| points.push(point))?;
        Ok(points)
    }

    #[test]
    fn gauges_and_sums_are_read_and_other_kinds_skipped() {
        let point = [
            fixed(4, 1.5_f64.to_bits()),
            attribute(7, "node_id", &[3 << 3, 7]),
        ];
        let gauge = field(5, &field(1, &point.concat()));
        let bytes = pushed(&[field(1, b"a.gauge"), gauge].concat());
        let points = read(&bytes).unwrap();
        let attributes = vec![("rack", "r1".into()), ("node_id", "7".into())];
        let expected = Point {
            metric: "a.gauge",
            kind: Kind::Gauge,
            value: 1.5,
            attributes,
        };
        assert_eq!(points, [expected]);
        for (temporality, kind) in [(1, Kind::Delta), (2, Kind::Cumulative)] {
            let point = field(1, &fixed(6, (-3_i64).cast_unsigned()));
            let sum = [point, vec![2 << 3, temporality, 3 << 3, 1]].concat();
            let bytes = pushed(&[field(1, b"a.sum"), field(7, &sum)].concat());
            let points = read(&bytes).unwrap();
            assert_eq!((points[0].kind, points[0].value), (kind, -3.0));
        }
        let histogram = pushed(&[field(1, b"h"), field(9, &field(1, b""))].concat());
        assert_eq!(read(&histogram).unwrap(), []);
        assert_eq!(read(&[]).unwrap(), []);
    }

    #[test]
    fn damaged_bytes_are_refused_at_any_place() {
        let point = field(1, &fixed(4, 1.0_f64.to_bits()));
        let good = pushed(&[field(1, b"m"), field(5, &point)].concat());
        assert_eq!(read(&good).unwrap().len(), 1);
        for end in 1..good.len() {
            assert!(read(&good[..end]).is_err(), "cut at {end}");
        }
        for wrong in [&[0x0b][..], &[0x80; 11], &[0x0a, 0xff, 0xff, 0xff, 0x7f]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        let not_text = pushed(&[field(1, &[0xff]), field(5, &point)].concat());
        assert!(read(&not_text).is_err());
    }

    #[test]
    fn numbers_and_attributes_are_limited() {
        let point = field(1, &fixed(4, 0));
        let mut many = Vec::new();
        for _ in 0..=OTLP_POINTS_MAX {
            many.extend(pushed(&[field(1, b"m"), field(5, &point)].concat()));
        }
        assert!(matches!(read(&many), Err(Error::TooMany { .. })));
        let mut labelled = fixed(4, 0);
        for _ in 0..2 * OTLP_ATTRIBUTES_MAX {
            labelled.extend(attribute(7, "", &[2 << 3, 1]));
        }
        let mut attributes = Vec::new();
        number_of(&labelled, &mut attributes).unwrap();
        assert_eq!(attributes.len(), OTLP_ATTRIBUTES_MAX);
    }
}
