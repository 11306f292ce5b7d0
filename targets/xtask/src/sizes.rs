//! `cargo xtask sizes`: checks the binaries and the images against their budgets.

use std::fs;

use crate::{
    board_file::Board,
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
    let binaries = check_all(workspace, &[(&host, Compiler::Out), (&host, Compiler::In)]);
    images(workspace).and(binaries)
}

/// Prints the budgets of all boards, and checks the images that were built.
fn images(workspace: &Workspace) -> Result<()> {
    let mut failed = 0;
    for name in Board::known(workspace) {
        let board = Board::read(workspace, &name)?;
        let budget_mib = board.budget.image_max_mib;
        let image = fs::metadata(board.image(workspace)).ok();
        let image = image.map(|image| image.len() as f64 / f64::from(1 << 20));
        let fits = image.is_none_or(|mib| mib <= budget_mib);
        failed += usize::from(!fits);
        let image = match image {
            None => "not built".to_owned(),
            Some(mib) if fits => format!("{mib:.1} MiB (fits)"),
            Some(mib) => format!("{mib:.1} MiB (TOO LARGE)"),
        };
        println!(
            "board: {name}, tier {}: image {image} of {budget_mib} MiB; RAM from {} MiB, of which \
             the broker may take {} MiB",
            board.tier, board.budget.memory_min_mib, board.budget.broker_rss_max_mib,
        );
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(Error::Checks { failed })
    }
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
