//! Packs what `sedge plugin new` writes (`build/plugin_projects.rs`), and has the linker leave out
//! what a device pays for and the broker does not use. Only where Rust links with its own lld,
//! which can.
//!
//! - Functions that are the same to the byte become one: the generated messages have hundreds.
//! - The tables by which stacks are unwound go (`no_unwind.ld`), a twelfth of the binary. Nothing
//!   unwinds: a panic aborts, and WebAssembly's stacks are walked by their frame pointers.

#[path = "build/plugin_projects.rs"]
mod plugin_projects;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    plugin_projects::pack().expect("the repository can be read");
    println!("cargo::rerun-if-changed=no_unwind.ld");
    let is = |name, value| std::env::var(name).is_ok_and(|set| set == value);
    if !is("TARGET", "x86_64-unknown-linux-gnu") || !is("PROFILE", "release") {
        return;
    }
    println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    // A profiler walks stacks by these tables, and a build with debug information is for one.
    if is("DEBUG", "false") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/no_unwind.ld");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{script}");
    }
}
