//! Handlers about the cluster: its APIs and features, its members, its quorum, the disk.

pub mod add_raft_voter;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod describe_cluster;
pub mod describe_log_dirs;
pub mod describe_quorum;
mod raft_voters;
pub mod remove_raft_voter;
pub mod unregister_broker;
pub mod update_features;
