//! The versions of each request that one broker speaks, and the choice among them.

use std::collections::BTreeMap;

use sedge_protocol::kafka::generated::{ApiKey, ApiVersionsResponseData, client_api_info};

/// A broker's answer to `ApiVersions`.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    ranges: BTreeMap<i16, (i16, i16)>,
}

impl Versions {
    #[must_use]
    pub fn from_response(response: &ApiVersionsResponseData) -> Self {
        let ranges = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)))
            .collect();
        Self { ranges }
    }

    /// Returns the highest version that both sides speak; `None` if there is none.
    #[must_use]
    pub fn choose(&self, key: ApiKey) -> Option<i16> {
        self.choose_at_most(key, i16::MAX)
    }

    /// Like [`Versions::choose`], but not above `most`.
    #[must_use]
    pub fn choose_at_most(&self, key: ApiKey, most: i16) -> Option<i16> {
        let (broker_min, broker_max) = *self.ranges.get(&(key as i16))?;
        let (own_min, own_max) = own_range(key);
        let version = broker_max.min(own_max).min(most);
        (version >= broker_min.max(own_min)).then_some(version)
    }
}

/// Returns the versions that this client speaks.
#[must_use]
pub fn own_range(key: ApiKey) -> (i16, i16) {
    let info = client_api_info(key);
    let own_max = match key {
        // From 13 (10 for offsets) on, topics are named by id; this client names them, except where
        // it fetches for the mirror.
        ApiKey::Fetch => 17,
        ApiKey::OffsetCommit => 9,
        // From 12 (5) on, partitions and groups join a transaction without being added, and each
        // end of a transaction changes the epoch (KIP-890). `transactions.rs` has the older form,
        // which all brokers take.
        ApiKey::Produce => 11,
        ApiKey::TxnOffsetCommit | ApiKey::EndTxn => 4,
        // From 8 on, a request may have many groups, which this client does not need.
        ApiKey::OffsetFetch => 7,
        // The same from 4 on, and the other is one between brokers.
        ApiKey::FindCoordinator | ApiKey::AddPartitionsToTxn => 3,
        // 6 is not stable (KIP-939).
        ApiKey::InitProducerId => 5,
        _ => info.max_version,
    };
    (info.min_version, own_max.min(info.max_version))
}

#[cfg(test)]
mod tests {
    use sedge_protocol::kafka::generated::ApiVersion;

    use super::*;

    #[test]
    fn the_highest_common_version() {
        let check = |broker: (i16, i16), expected: Option<i16>| {
            let mut response = ApiVersionsResponseData::default();
            response.api_keys.push(
                ApiVersion::default()
                    .with_api_key(ApiKey::Produce as i16)
                    .with_min_version(broker.0)
                    .with_max_version(broker.1),
            );
            let versions = Versions::from_response(&response);
            assert_eq!(versions.choose(ApiKey::Produce), expected, "{broker:?}");
            assert_eq!(versions.choose(ApiKey::Metadata), None);
        };
        check((0, 13), Some(11));
        check((0, 7), Some(7));
        check((0, 2), None);
        check((13, 14), None);
        check((5, 4), None);
    }
}
