//! The only instance of a plugin in its component.

use alloc::{string::String, vec::Vec};
use core::cell::{RefCell, RefMut};

use crate::config::Config;

/// A plugin, once it is configured; used by the macros that export plugins.
#[derive(Debug)]
pub struct Running<P>(RefCell<Option<P>>);

// SAFETY: a component has one thread.
unsafe impl<P> Sync for Running<P> {}

impl<P> Running<P> {
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Creates the plugin with its settings.
    ///
    /// # Errors
    /// The plugin refuses the settings.
    pub fn configure_with(
        &self,
        config: Vec<(String, String)>,
        configure: impl FnOnce(&Config) -> Result<P, String>,
    ) -> Result<(), String> {
        *self.0.borrow_mut() = Some(configure(&Config(config))?);
        Ok(())
    }

    pub(crate) fn plugin(&self) -> RefMut<'_, P> {
        RefMut::map(self.0.borrow_mut(), |running| {
            running.as_mut().expect("the broker configures first")
        })
    }
}

impl<P> Default for Running<P> {
    fn default() -> Self {
        Self::new()
    }
}
