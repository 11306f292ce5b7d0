//! Gives up the pages of the program's file that only the start needed.
//!
//! The start of a broker runs through most of its code once, and the loader through a table of
//! relocations. The kernel maps sixteen pages around each that is touched, and prefers mapped code
//! to other pages of files when memory is short: a small device would keep most of the program in
//! memory for nothing. What is still needed is mapped again when it is touched, from the page
//! cache.
#![allow(unsafe_code, reason = "there is no safe call for it")]

use std::fs;
use std::io;
use std::ops::Range;
use std::ptr;

use rustix::mm::{Advice, madvise};

/// Unmaps the pages of the program's code and constants. Any thread may run meanwhile.
///
/// # Errors
/// The list of mappings cannot be read, or the kernel refuses.
pub fn release() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    for range in unwritten(&maps, &program.to_string_lossy()) {
        let start = ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the range is a private mapping of the program's file that nobody has written to,
        // so each of its pages is read from the file again when it is touched.
        unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) }?;
    }
    Ok(())
}

/// Returns the ranges of `maps` (`/proc/PID/maps`, proc(5)) in which the program's file is mapped
/// and has no relocation: its code, and the constants at the file's start. Relocated constants are
/// read-only as well, but the loader wrote them.
fn unwritten(maps: &str, program: &str) -> Vec<Range<usize>> {
    let range = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (mode, offset) = (fields.next()?, fields.next()?);
        let is_unwritten = match mode {
            "r-xp" => true,
            "r--p" => offset.bytes().all(|digit| digit == b'0'),
            _ => false,
        };
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        (is_unwritten && line.ends_with(program)).then_some(number(start)?..number(end)?)
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
555500000000-555500002000 r--p 00000000 fd:01 77 /usr/bin/sedge
555500002000-555500009000 r-xp 00001000 fd:01 77 /usr/bin/sedge
555500009000-55550000a000 r--p 00009000 fd:01 77 /usr/bin/sedge
55550000a000-55550000b000 rw-p 0000a000 fd:01 77 /usr/bin/sedge
7f0000000000-7f0000001000 r-xp 00000000 fd:01 78 /usr/lib/libc.so.6
7f0000001000-7f0000002000 r-xp 00000000 00:00 0
7f0000002000-7f0000003000 r-xp 00000000 00:00 0 [vdso]
";

    #[test]
    fn code_and_the_first_constants_of_the_program_are_given_up_and_nothing_else() {
        let expected = [
            0x5555_0000_0000..0x5555_0000_2000,
            0x5555_0000_2000..0x5555_0000_9000,
        ];
        assert_eq!(unwritten(MAPS, "/usr/bin/sedge"), expected);
        assert!(unwritten("", "/usr/bin/sedge").is_empty());
        assert!(unwritten("cut off", "off").is_empty());
    }

    #[test]
    fn the_program_goes_on_after_its_pages_were_given_up() {
        let resident = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("RssFile:"));
            let kib = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
            kib.parse::<usize>().unwrap()
        };
        let before = resident();
        release().unwrap();
        let after = resident();
        assert!(after < before, "{after} KiB, {before} before");
        assert_eq!(unwritten(MAPS, "/usr/lib/libc.so.6").len(), 1);
    }
}
