//! `bench plugins`: what plugins cost: a call of each world, the whole way of a produce with and
//! without a filter, a hot swap, a plugin that never ends beside a neighbour, memory, and the time
//! to a first plugin.

mod calls;
mod first;
mod memory;
mod neighbour;
mod paced;
mod produce;
mod swap;

use crate::bench::Spread;
use crate::temp_dir::TempDir;

/// How long and how often each cell is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: usize,
    /// Time of each measurement.
    pub seconds: u64,
    /// Part of a cell's name; other cells are left out.
    pub cells: String,
}

const HEAD: &str = "what | median (least-most) | bar\n";

/// Measures every cell and returns the table.
pub fn run(plan: &Plan, progress: &dyn Fn(&str)) -> String {
    let mut table = Table {
        text: HEAD.into(),
        progress,
    };
    let directory = TempDir::new("bench-plugins");
    let cells: [(&str, Cell); 6] = [
        ("calls", calls::run),
        ("produce", produce::run),
        ("swap", swap::run),
        ("neighbour", neighbour::run),
        ("memory", memory::run),
        ("first", first::run),
    ];
    for (name, cell) in cells {
        if name.contains(&plan.cells) {
            cell(plan, &directory, &mut table);
        }
    }
    table.text
}

type Cell = fn(&Plan, &TempDir, &mut Table);

/// The rows so far.
struct Table<'a> {
    text: String,
    progress: &'a dyn Fn(&str),
}

impl Table<'_> {
    fn row(&mut self, what: &str, measured: &Spread, digits: usize, bar: &str) {
        let row = format!("{what} | {} | {bar}", measured.show(digits));
        (self.progress)(&row);
        self.text.push_str(&row);
        self.text.push('\n');
    }
}
