//! A wall clock that a test can move, for one process: a library that is loaded before the C
//! library and changes the times that it returns.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::limits;
use crate::process::Process;
use crate::report;
use crate::temp_dir::TempDir;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    if (failed || id != CLOCK_REALTIME) return failed;
    char text[32] = {0};
    int file = open(getenv("MOVED_CLOCK"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) > 0) at->tv_sec += strtoll(text, 0, 10);
        close(file);
    }
    return 0;
}
"#;

/// A movable wall clock; see the module.
#[derive(Debug)]
pub struct WallClock {
    library: PathBuf,
    moved_by: PathBuf,
}

impl WallClock {
    /// Builds the library. Returns `None`, after printing a line, if there is no C compiler.
    pub fn build(directory: &TempDir) -> Option<Self> {
        let source = directory.join("clock.c");
        let clock = Self {
            library: directory.join("clock.so"),
            moved_by: directory.join("moved-by"),
        };
        std::fs::write(&source, SOURCE).expect("the test's directory can be written");
        clock.move_by(0);
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"])
            .arg(&clock.library)
            .arg(&source);
        if !has_compiler() {
            report::line(format_args!(
                "skipped: there is no C compiler to build a clock with"
            ));
            return None;
        }
        let built = Process::run("cc", &mut cc, b"", limits::COMMAND);
        assert!(built.status.success(), "{}", built.stderr);
        Some(clock)
    }

    /// Returns the variables for the process's environment.
    pub fn variables(&self) -> [(String, String); 2] {
        let text = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD".into(), text(&self.library)),
            ("MOVED_CLOCK".into(), text(&self.moved_by)),
        ]
    }

    /// Moves the clock to `seconds` ahead of the true time.
    pub fn move_by(&self, seconds: i64) {
        // Replaced atomically: a concurrent reader sees the old or the new text, never half of it.
        let new = self.moved_by.with_extension("new");
        std::fs::write(&new, seconds.to_string()).expect("the test's directory can be written");
        std::fs::rename(new, &self.moved_by).expect("the test's directory can be written");
    }
}

fn has_compiler() -> bool {
    Command::new("cc").arg("--version").output().is_ok()
}

/// Returns the true time, in ms.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_millis() as i64
}
