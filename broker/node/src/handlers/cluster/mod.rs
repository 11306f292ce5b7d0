//! Handlers about the cluster: its APIs, its members, the disk, access rules and quotas.

pub mod api_versions;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_log_dirs;
