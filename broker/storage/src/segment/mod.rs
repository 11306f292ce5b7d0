//! One segment file: its header, its frames as they are on disk, and their contents. This module
//! does not know other segments or the store.

pub(crate) mod examine;
pub(crate) mod header;
mod in_memory;
pub(crate) mod listing;
pub(crate) mod rewrite;
pub(crate) mod scan;

pub use in_memory::scan_segment;
pub use scan::Found;
