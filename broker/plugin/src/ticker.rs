//! Advances the engine's epoch while plugins run, so that a call can be stopped at its deadline.
//!
//! A single thread does this, and sleeps when no plugin has been called for a while.
//!
//! **Invariant**: while a [`Running`] exists, the epoch advances.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, Thread},
};

use wasmtime::EngineWeak;

use crate::limits::{IDLE_TICKS_MAX, TICK};

/// Drives the engine's epoch. Dropped with its engine; the thread then ends.
#[derive(Debug)]
pub struct Ticker {
    state: Arc<State>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct State {
    running: AtomicU32,
    used: AtomicBool,
    asleep: AtomicBool,
}

impl Ticker {
    pub fn start(engine: EngineWeak) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let weak = Arc::downgrade(&state);
        let thread = thread::Builder::new()
            .name("plugin-ticker".into())
            .stack_size(64 << 10)
            .spawn(move || tick(&engine, &weak))?
            .thread()
            .clone();
        Ok(Self { state, thread })
    }

    /// Returns whether the thread waits for the next call.
    pub fn is_asleep(&self) -> bool {
        self.state.asleep.load(Ordering::SeqCst)
    }

    /// Begins a call, which ends when the value is dropped.
    pub fn begin(&self) -> Running<'_> {
        self.state.running.fetch_add(1, Ordering::SeqCst);
        if self.state.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.state)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.asleep.store(false, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// A call in progress.
#[derive(Debug)]
pub struct Running<'a>(&'a State);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.used.store(true, Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(engine: &EngineWeak, state: &Weak<State>) {
    let mut idle_ticks = 0;
    loop {
        thread::sleep(TICK);
        let Some(state) = state.upgrade() else { return };
        let Some(engine) = engine.upgrade() else {
            return;
        };
        engine.increment_epoch();
        drop(engine);
        let used = state.used.swap(false, Ordering::Relaxed);
        if used || state.running.load(Ordering::SeqCst) > 0 {
            idle_ticks = 0;
        } else {
            idle_ticks += 1;
        }
        if idle_ticks > IDLE_TICKS_MAX && !sleep(state) {
            return;
        }
    }
}

/// Sleeps until a call begins. Returns false if the engine was dropped meanwhile.
fn sleep(state: Arc<State>) -> bool {
    state.asleep.store(true, Ordering::SeqCst);
    // A call that began before this saw the flag unset, and is noticed here.
    if state.running.load(Ordering::SeqCst) > 0 {
        state.asleep.store(false, Ordering::SeqCst);
        return true;
    }
    // Holds only a weak reference while asleep, so that the ticker can be dropped.
    let weak = Arc::downgrade(&state);
    drop(state);
    loop {
        match weak.upgrade() {
            None => return false,
            Some(state) if !state.asleep.load(Ordering::SeqCst) => return true,
            Some(_) => {}
        }
        thread::park();
    }
}
