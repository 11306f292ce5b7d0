//! One segment file: its header, its frames as they are found on disk, and what they hold. Nothing
//! here knows of other segments, or of the store.

pub(crate) mod examine;
pub(crate) mod header;
mod in_memory;
pub(crate) mod listing;
pub(crate) mod rewrite;
pub(crate) mod scan;

pub use in_memory::scan_segment;
pub use scan::Found;
