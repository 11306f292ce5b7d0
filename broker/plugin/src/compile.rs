//! Compiles ahead of time: for another machine, or for this one in a process that then ends.

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use crate::{
    error::Error,
    limits::{
        CODE_BYTES_MIN_ALLOWED, CODE_BYTES_PER_COMPONENT_BYTE_MAX, COMPILE_TIME_MAX, TEXT_BYTES_MAX,
    },
};

/// Compiles a component for `triple` (this machine if it is `None`) into an artifact, sealed with
/// `key` if there is one. `sedge plugin compile` calls this.
///
/// # Errors
/// The component is not a valid plugin, or the target is unknown.
#[cfg(feature = "jit")]
pub fn compile_ahead(
    component: &[u8],
    triple: Option<&str>,
    limits: &crate::Limits,
    key: Option<&crate::SealKey>,
) -> Result<Vec<u8>, Error> {
    use crate::{artifact::Artifact, config};
    let (_, hash) = crate::component::inspect(component, limits.component_bytes_max)?;
    let target = match triple {
        None => config::host_target(),
        Some(triple) => config::target_family(triple).ok_or_else(|| Error::UnknownTarget {
            triple: triple.to_owned(),
        })?,
    };
    if !cfg!(feature = "cross") && target != config::host_target() {
        return Err(Error::HostOnly { target });
    }
    // For this machine the code uses all features of its CPU, for another only what all of its kind
    // have.
    let engine = config::engine(triple.map(|_| target)).map_err(Error::engine)?;
    let code = engine
        .precompile_component(component)
        .map_err(Error::invalid)?;
    Ok(Artifact::write(target, hash, component, &code, key))
}

/// Runs the child's side of [`compile_in_child`]: reads a component from `input` and writes an
/// artifact to `output`.
///
/// # Errors
/// The errors of [`compile_ahead`], and failed reads or writes.
#[cfg(feature = "jit")]
pub fn compile_for_parent(
    input: impl Read,
    mut output: impl Write,
    limits: &crate::Limits,
) -> Result<(), Error> {
    let file = |source| Error::File {
        path: "pipe to the broker".into(),
        source,
    };
    let mut component = Vec::new();
    // One byte more than allowed, so that an oversized component is recognised.
    let bytes_max = limits.component_bytes_max as u64 + 1;
    input
        .take(bytes_max)
        .read_to_end(&mut component)
        .map_err(file)?;
    let artifact = compile_ahead(&component, None, limits, None)?;
    output
        .write_all(&artifact)
        .and_then(|()| output.flush())
        .map_err(file)
}

/// Compiles a component in a child process: `command` runs [`compile_for_parent`] on its standard
/// input and output. A child is used because compiling leaves 10 MiB and more resident, and may
/// need more memory than the machine has. Blocks; kills the child when it takes too long.
///
/// # Errors
/// The child cannot be started, fails, or answers too much. Its standard error is the reason.
pub fn compile_in_child(mut command: Command, component: &[u8]) -> Result<Vec<u8>, Error> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Spawn { source })?;
    let answer = exchange(&mut child, component);
    if answer.is_none() {
        // The child may have ended already.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|source| Error::Spawn { source })?;
    match answer {
        None => Err(Error::Compiler {
            status: None,
            said: "took too long".into(),
        }),
        Some((artifact, _))
            if status.success() && artifact.len() as u64 <= bytes_max(component) =>
        {
            Ok(artifact)
        }
        Some((_, said)) => {
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            Err(Error::Compiler {
                status: Some(status),
                said,
            })
        }
    }
}

fn bytes_max(component: &[u8]) -> u64 {
    (component
        .len()
        .saturating_mul(CODE_BYTES_PER_COMPONENT_BYTE_MAX)
        + CODE_BYTES_MIN_ALLOWED) as u64
}

/// Feeds the child and reads both of its output pipes. Returns `None` if it does not end in time.
fn exchange(child: &mut Child, component: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut stdin, stdout, stderr) = (
        child.stdin.take()?,
        child.stdout.take()?,
        child.stderr.take()?,
    );
    let component_owned = component.to_vec();
    let answer_bytes_max = bytes_max(component) + 1;
    let (done, wait) = mpsc::channel();
    // Unscoped threads: a child that hangs is killed, which ends its pipes and so the threads.
    thread::spawn(move || {
        // A child that ends early reports the reason on its standard error.
        let _ = stdin.write_all(&component_owned);
    });
    let said = thread::spawn(move || {
        let mut said = Vec::new();
        let _ = stderr.take(TEXT_BYTES_MAX as u64).read_to_end(&mut said);
        said
    });
    thread::spawn(move || {
        let mut answer = Vec::new();
        let _ = stdout.take(answer_bytes_max).read_to_end(&mut answer);
        let _ = done.send((answer, said.join().unwrap_or_default()));
    });
    wait.recv_timeout(COMPILE_TIME_MAX).ok()
}
