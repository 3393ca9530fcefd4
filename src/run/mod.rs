//! A run: its events, the state they fold to, and what comes next. Pure: no clock, no I/O.

mod event;

pub use event::*;
