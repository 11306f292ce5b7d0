//! The scheduling of a thread that runs a plugin: behind all others, and back.
#![allow(unsafe_code, reason = "there is no safe call for it")]

use std::{io, thread};

use log::error;

/// The calling thread runs only when no other thread of the machine wants the processor
/// (`SCHED_IDLE`), until the value is dropped by the same thread.
#[derive(Debug)]
pub struct Behind(());

impl Behind {
    /// Puts the calling thread behind all others. Returns `None` if that is not allowed. Call this
    /// only if [`Self::is_allowed`].
    pub fn others() -> Option<Self> {
        set(libc::SCHED_IDLE).is_ok().then_some(Self(()))
    }

    /// Returns whether a thread of this process may come back from behind the others. Linux allows
    /// that with `CAP_SYS_NICE`, or if `RLIMIT_NICE` covers the thread's nice value. A thread of
    /// its own tries. False if the process has another scheduling than the usual.
    pub fn is_allowed() -> bool {
        let attempt = || get() == libc::SCHED_OTHER && Self::others().is_some() && back().is_ok();
        let attempt = thread::Builder::new().stack_size(64 << 10).spawn(attempt);
        attempt.is_ok_and(|attempt| attempt.join().unwrap_or(false))
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        if let Err(why) = back() {
            error!(
                target: "sedge::plugin",
                "a thread that ran a plugin stays behind all others of the machine: {why}; \
                 raise RLIMIT_NICE to 20 and restart the broker"
            );
        }
    }
}

fn back() -> io::Result<()> {
    set(libc::SCHED_OTHER)
}

/// Returns the scheduling of the calling thread.
fn get() -> libc::c_int {
    // SAFETY: the call has no pointer. 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) as libc::c_int }
}

/// Sets the scheduling of the calling thread. The system call itself, because musl's function
/// refuses.
fn set(policy: libc::c_int) -> io::Result<()> {
    let priority: libc::c_int = 0;
    let parameter: *const libc::c_int = &raw const priority;
    // SAFETY: the kernel reads one `int` behind the pointer, which is that of a variable. 0 is the
    // calling thread.
    let done = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, parameter) };
    if done == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_comes_back() {
        if !Behind::is_allowed() {
            eprintln!("skipped: no thread may come back from SCHED_IDLE here");
            return;
        }
        assert_eq!(get(), libc::SCHED_OTHER, "another thread tried");
        let behind = Behind::others().unwrap();
        assert_eq!(get(), libc::SCHED_IDLE);
        drop(behind);
        assert_eq!(get(), libc::SCHED_OTHER);
    }
}
