//! `cargo xtask sizes`: checks the binary against its budget.

use crate::{
    build::{self, Compiler, HOST_TRIPLE},
    error::{Error, Result},
    setup::ARM_TEST_TRIPLE,
    target_file::Target,
    workspace::Workspace,
};

/// Checks the host's binary without and with the plugin compiler, each against `targets/`.
pub fn run(workspace: &Workspace) -> Result<()> {
    // The one with the compiler is built last, since it stays in target/release.
    let host = Target::read(workspace, HOST_TRIPLE)?;
    check_all(workspace, &[(&host, Compiler::Out), (&host, Compiler::In)])
}

/// Checks the two binaries that the tests build anyway: the host's with the compiler, ARM's
/// without.
pub fn run_as_tested(workspace: &Workspace) -> Result<()> {
    let host = Target::read(workspace, HOST_TRIPLE)?;
    let arm = Target::read(workspace, ARM_TEST_TRIPLE)?;
    check_all(workspace, &[(&arm, Compiler::Out), (&host, Compiler::In)])
}

fn check_all(workspace: &Workspace, builds: &[(&Target, Compiler)]) -> Result<()> {
    let mut failed = 0;
    for (target, compiler) in builds {
        failed += usize::from(!check(workspace, target, *compiler)?);
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(Error::Checks { failed })
    }
}

/// Builds a binary and prints its size. Returns whether it is within the budget.
fn check(workspace: &Workspace, target: &Target, compiler: Compiler) -> Result<bool> {
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
