//! The only place at which wasmtime is configured.
//!
//! **Invariant**: compiling and loading use the same settings on all machines. Machine code records
//! the settings it was made with and does not load under others, so code that counts instructions
//! does not load in a broker.

use wasmtime::{Config, Engine, Result};

use crate::limits::WASM_STACK_BYTES_MAX;

/// Creates an engine for this machine (`None`) or, to compile ahead, for another.
///
/// `target` is a triple; libc and vendor make no difference to plugins. 32-bit ARM has no compiler
/// backend and uses Pulley, wasmtime's interpreter.
pub fn engine(target: Option<&str>) -> Result<Engine> {
    let mut config = settings(target.unwrap_or(host_target()));
    if let Some(target) = target {
        config.target(wasm_target(target))?;
    }
    Engine::new(&config)
}

/// Creates an engine for this machine whose code counts the instructions that it executes. Such
/// code is slower, and never leaves the process.
#[cfg(feature = "jit")]
pub fn metered_engine() -> Result<Engine> {
    let mut config = settings(host_target());
    config.consume_fuel(true);
    Engine::new(&config)
}

fn settings(target: &str) -> Config {
    let mut config = Config::new();
    if target_family(target) == Some("x86_64") {
        // All that a 32-bit address can name is reserved, so that the processor checks bounds and
        // the code does not. Address space costs nothing, and there is room for 30,000 memories.
        config
            .memory_reservation(1 << 32)
            .memory_guard_size(32 << 20);
    } else {
        // ARM has 512 GiB of address space under some kernels.
        config
            .memory_reservation(1 << 20)
            .memory_guard_size(64 << 10);
    }
    config
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES_MAX)
        .memory_reservation_for_growth(1 << 20)
        .wasm_memory64(false)
        .relaxed_simd_deterministic(true)
        // A plugin's stack is never inspected: without addresses and unwinding, code is smaller and
        // traps are cheaper.
        .generate_address_map(false)
        .native_unwind_info(false);
    config
}

/// Returns the triple this binary was built for, in the form that artifacts use.
#[must_use]
pub fn host_target() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "x86_64"
    } else if cfg!(target_arch = "aarch64") {
        "aarch64"
    } else if cfg!(target_pointer_width = "64") {
        "pulley64"
    } else {
        "pulley32"
    }
}

/// Returns the part of a triple that matters to a plugin's machine code, in the form that artifacts
/// use.
#[must_use]
pub fn target_family(triple: &str) -> Option<&'static str> {
    let arch = triple.split('-').next().unwrap_or(triple);
    let linux = triple == arch || triple.contains("-linux-");
    match arch {
        "x86_64" if linux => Some("x86_64"),
        "aarch64" | "arm64" if linux => Some("aarch64"),
        "pulley64" => Some("pulley64"),
        "pulley32" => Some("pulley32"),
        _ if arch.starts_with("arm") && linux => Some("pulley32"),
        _ => None,
    }
}

fn wasm_target(target: &str) -> &str {
    match target {
        "x86_64" => "x86_64-unknown-linux-gnu",
        "aarch64" => "aarch64-unknown-linux-gnu",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triples_have_families() {
        for (triple, family) in [
            ("x86_64-unknown-linux-musl", Some("x86_64")),
            ("aarch64-unknown-linux-gnu", Some("aarch64")),
            ("armv7-unknown-linux-musleabihf", Some("pulley32")),
            ("riscv64gc-unknown-linux-gnu", None),
            ("aarch64", Some("aarch64")),
            ("pulley64", Some("pulley64")),
            ("aarch64-apple-darwin", None),
            ("thumbv7em-none-eabi", None),
            ("", None),
        ] {
            assert_eq!(target_family(triple), family, "{triple}");
        }
    }

    #[test]
    fn this_machine_is_one_of_them() {
        assert_eq!(target_family(host_target()), Some(host_target()));
    }
}
