//! Reads the topics that a consumer's metadata subscribes to: the front of
//! `ConsumerProtocolSubscription`, the same in all versions.
//!
//! | bytes | field |
//! | --- | --- |
//! | 2 | version |
//! | 4 | number of topics |
//! | 2 + n each | topic |

use alloc::collections::BTreeSet;
use alloc::string::String;

use crate::groups::limits::SUBSCRIPTION_TOPICS_MAX;

/// Returns `None` if the bytes are not a subscription.
pub fn topics(metadata: &[u8]) -> Option<BTreeSet<String>> {
    let mut rest = metadata;
    let _version = i16::from_be_bytes(take(&mut rest)?);
    let count = usize::try_from(i32::from_be_bytes(take(&mut rest)?)).ok()?;
    if count > SUBSCRIPTION_TOPICS_MAX {
        return None;
    }
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        let length = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
        let (name, behind) = rest.split_at_checked(length)?;
        topics.insert(core::str::from_utf8(name).ok()?.into());
        rest = behind;
    }
    Some(topics)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (front, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*front)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn check(bytes: &[u8], expected: Option<&[&str]>) {
        let names = topics(bytes);
        let names: Option<Vec<&str>> = names
            .as_ref()
            .map(|set| set.iter().map(String::as_str).collect());
        assert_eq!(names.as_deref(), expected, "{bytes:?}");
    }

    #[test]
    fn reads_the_topics_and_refuses_the_rest() {
        check(
            b"\0\x03\0\0\0\x02\0\x01b\0\x02aa\xff\xff\xff\xff",
            Some(&["aa", "b"]),
        );
        check(b"\0\0\0\0\0\0", Some(&[]));
        check(b"", None);
        check(b"\0\0\0\0\0\x01\0\x05abc", None);
        check(b"\0\0\x7f\xff\xff\xff", None);
        check(b"\0\0\xff\xff\xff\xff", None);
        check(b"\0\0\0\0\0\x01\xff\xff", None);
        check(b"\0\0\0\0\0\x01\0\x01\xff", None);
    }
}
