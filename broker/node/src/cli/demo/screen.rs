//! The demo's output: a block that is redrawn on a terminal, lines anywhere else.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::TOPIC;
use super::server::Server;
use super::sums::Sums;
use crate::console::Bytes;
use crate::process::failure::{Exit, Failure};

/// How often a terminal is redrawn, and how often a line is written elsewhere.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(250);
const LINE_INTERVAL: Duration = Duration::from_secs(1);

pub struct Screen {
    is_terminal: bool,
    started: Instant,
    /// Lines of the block on the terminal.
    drawn: Cell<usize>,
    last_line: Cell<Option<Instant>>,
    /// Produced and mirrored readings in the last line: an unchanged line is not repeated.
    last_said: Cell<(u64, u64)>,
}

impl Screen {
    /// Says which processes run, and their addresses.
    pub fn open(
        edge: &Server,
        hq: &Server,
        time: Duration,
        is_filtered: bool,
    ) -> Result<Self, Failure> {
        let screen = Self {
            is_terminal: io::stdout().is_terminal(),
            started: Instant::now(),
            drawn: Cell::new(0),
            last_line: Cell::new(None),
            last_said: Cell::new((0, 0)),
        };
        let filter = if is_filtered {
            "a filter drops readings outside -40 to 85 °C"
        } else {
            "no filter: give one with --plugin FILE"
        };
        write(&format!(
            "sensors -> edge broker ({filter}) -> mirror -> hq broker\n\nedge  {}  console \
             http://{}/\nhq    {}  console http://{}/\n\nJoin in:  kcat -C -b {} -t {TOPIC} -o \
             end\n\x20         kcat -P -b {} -t another-topic\nProducing for {} s; Ctrl-C ends the \
             demo.\n\n",
            edge.kafka,
            edge.console,
            hq.kafka,
            hq.console,
            hq.kafka,
            edge.kafka,
            time.as_secs_f64(),
        ))?;
        Ok(screen)
    }

    /// Returns the time until the next update.
    pub fn interval(&self) -> Duration {
        if self.is_terminal {
            TERMINAL_INTERVAL
        } else {
            LINE_INTERVAL
        }
    }

    /// Shows the numbers.
    pub fn show(&self, sums: &Sums) -> Result<(), Failure> {
        if self.is_terminal {
            let block = self.block(sums);
            let up = match self.drawn.replace(block.lines().count()) {
                0 => String::new(),
                lines => format!("\x1b[{lines}A"),
            };
            return write(&format!("{up}{}", block.replace('\n', "\x1b[K\n")));
        }
        let is_due = self
            .last_line
            .get()
            .is_none_or(|last| last.elapsed() >= LINE_INTERVAL / 2);
        let said = (sums.produced, sums.at_hq);
        if is_due && self.last_said.replace(said) != said {
            self.last_line.set(Some(Instant::now()));
            write(&self.line(sums))?;
        }
        Ok(())
    }

    /// Says whether the numbers match.
    pub fn close(&self, sums: &Sums) -> Result<(), Failure> {
        let mut text = String::from("\n");
        if !self.is_terminal && self.last_said.get() != (sums.produced, sums.at_hq) {
            text.push_str(&self.line(sums));
        }
        let checks = sums.checks();
        for (check, holds) in &checks {
            let verdict = if *holds { "ok   " } else { "WRONG" };
            text.push_str(verdict);
            text.push(' ');
            text.push_str(check);
            text.push('\n');
        }
        write(&text)?;
        if checks.iter().all(|(_, holds)| *holds) {
            return write("the sums add up\n");
        }
        let what = "the sums do not add up: records are missing or duplicated";
        Err(Failure::new(Exit::Software, what)
            .advise("run the demo again with --keep, and read the logs beside the data"))
    }

    fn block(&self, sums: &Sums) -> String {
        format!(
            "  after      {:.0} s\n\
             \x20 produced   {}\n\
             \x20 kept       {}\n\
             \x20 dropped    {}\n\
             \x20 mirrored   {}\n\
             \x20 lag        {} records, {:.1} s\n\
             \x20 log        {} of batches, {} written to disk\n\
             \x20 memory     {}\n",
            self.started.elapsed().as_secs_f64(),
            sums.produced,
            sums.kept,
            sums.dropped,
            sums.at_hq,
            sums.lag(),
            sums.lag_seconds,
            Bytes(sums.log_bytes as u64),
            Bytes(sums.written_bytes as u64),
            Bytes(sums.memory_bytes as u64),
        )
    }

    fn line(&self, sums: &Sums) -> String {
        format!(
            "after={:.0}s produced={} kept={} dropped={} mirrored={} \
             lag={} log_bytes={} written_bytes={} memory_bytes={}\n",
            self.started.elapsed().as_secs_f64(),
            sums.produced,
            sums.kept,
            sums.dropped,
            sums.at_hq,
            sums.lag(),
            sums.log_bytes,
            sums.written_bytes,
            sums.memory_bytes,
        )
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Io,
            format!("cannot write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}
