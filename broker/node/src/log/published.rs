//! A value that one thread replaces and many threads read: a reader takes a reference to the whole
//! value and keeps using that.

use std::sync::{Arc, PoisonError, RwLock};

use event_listener::{Event, EventListener};

#[derive(Debug)]
pub struct Published<T> {
    value: RwLock<Arc<T>>,
    changed: Event,
}

impl<T> Published<T> {
    pub fn new(value: T) -> Self {
        Self {
            value: RwLock::new(Arc::new(value)),
            changed: Event::new(),
        }
    }

    /// Returns the newest value.
    pub fn load(&self) -> Arc<T> {
        Arc::clone(&self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn publish(&self, value: Arc<T>) {
        *self.value.write().unwrap_or_else(PoisonError::into_inner) = value;
        self.changed.notify(usize::MAX);
    }

    /// Returns a listener for the next value. Listen first, then load.
    pub fn listen(&self) -> EventListener {
        self.changed.listen()
    }
}
