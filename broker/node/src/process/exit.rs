//! Exit codes for failures of the process, by sysexits(3).

use std::fmt::Display;

/// EX_IOERR: the disk failed.
pub const IO_ERROR: i32 = 74;

/// Ends the process: memory is ahead of the disk, and only a replay of the log corrects that.
pub fn fatal(doing: &str, failure: &dyn Display) -> ! {
    log::error!(
        target: "sedge",
        "cannot {doing}: {failure}. The process exits, because only a restart, which replays the \
         log, is safe now; check the disk before starting again"
    );
    log::logger().flush();
    std::process::exit(IO_ERROR);
}
