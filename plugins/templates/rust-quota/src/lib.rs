//! Refuses requests of more than so many records: the setting `sedge.plugin.my-plugin.records.max`
//! of the broker, by default 1000.
#![no_std]
use sedge_plugin_sdk::{Config, Grant, QuotaPolicy, Request, String, format, quota_policy};

struct FewRecords {
    records_max: u64,
}

impl QuotaPolicy for FewRecords {
    fn configure(config: &Config) -> Result<Self, String> {
        let records_max = config.parse_or("records.max", 1000)?;
        Ok(Self { records_max })
    }

    fn decide(&mut self, request: &Request) -> Grant {
        if request.records <= self.records_max {
            return Grant::Allow;
        }
        Grant::Reject(format!("{} records are too many", request.records))
    }
}

quota_policy!(FewRecords);
