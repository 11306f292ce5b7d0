//! Has the linker fold functions that are the same to the byte: the generated messages have
//! hundreds of them, and a device pays for each. Only where Rust links with its own lld, which can.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name, value| std::env::var(name).is_ok_and(|set| set == value);
    if is("TARGET", "x86_64-unknown-linux-gnu") && is("PROFILE", "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
