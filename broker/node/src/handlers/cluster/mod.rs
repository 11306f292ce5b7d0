//! Handlers about the cluster: its APIs, its members, the disk.

pub mod api_versions;
pub mod describe_cluster;
pub mod describe_log_dirs;
