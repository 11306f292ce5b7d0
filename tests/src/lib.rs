//! Tests of the whole broker with real clients, disks and upstreams.
