//! `cargo xtask`: setup, build, sizes, tests.

fn main() {}
