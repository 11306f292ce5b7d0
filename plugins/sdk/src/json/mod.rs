//! JSON without a tree, for filters that look at each record once: [`number`] finds one number, and
//! a [`Cursor`] walks over a text.

mod cursor;
mod number;

pub use cursor::{Cursor, Kind, Malformed, Text};
pub use number::{number, text};
