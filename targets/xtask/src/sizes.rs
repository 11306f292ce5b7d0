//! `cargo xtask sizes`: the binary against its budget.

use crate::{
    build::{self, Compiler, HOST_TRIPLE},
    error::{Error, Result},
    target_file::Target,
    workspace::Workspace,
};

/// Builds the host's binary without and with the plugin compiler and holds both to `targets/`.
pub fn run(workspace: &Workspace) -> Result<()> {
    let target = Target::read(workspace, HOST_TRIPLE)?;
    let mut failed = 0;
    // With the compiler last: that one stays in target/release.
    for compiler in [Compiler::Out, Compiler::In] {
        failed += usize::from(!check(workspace, &target, compiler)?);
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(Error::Checks { failed })
    }
}

/// Builds one and prints its size; whether it keeps to the budget.
pub fn check(workspace: &Workspace, target: &Target, compiler: Compiler) -> Result<bool> {
    let (label, budget_mib) = match compiler {
        Compiler::Out => ("without compiler", target.budget.binary_max_mib),
        Compiler::In => (
            "with compiler",
            target
                .budget
                .binary_with_jit_max_mib
                .unwrap_or(target.budget.binary_max_mib),
        ),
    };
    let built = build::run(workspace, target, compiler)?;
    let fits = built.mib() <= budget_mib;
    println!(
        "size: {} {label}: {} bytes, {:.2} MiB of {budget_mib} MiB ({}), built in {:.0} s",
        target.triple,
        built.bytes,
        built.mib(),
        if fits { "fits" } else { "TOO LARGE" },
        built.took.as_secs_f64(),
    );
    Ok(fits)
}
