//! `sedge`: the broker's process and its command line.

fn main() {}
