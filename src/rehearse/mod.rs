//! Flow tests: cases that play a flow without the outside, and what they expect of it.
//!
//! A case is played by the same core that runs are driven by ([`crate::run`]), with mocks in place of calls and a clock
//! of its own, so hours pass at once and each play gives the same. Nothing is sent, no secret is read, nothing is stored.

mod coverage;
mod diff;
mod door;
mod file;
mod judge;
mod junit;
mod mock;
mod reader;
mod record;
mod snapshot;
mod stage;
mod suite;
mod wanted;
mod yaml;

pub use coverage::Coverage;
pub use file::{Case, Input, KEYS, TestFile};
pub use junit::junit;
pub use record::{Recorded, record};
pub use snapshot::Bless;
pub use stage::{Began, Fault, Played, PlayedRun};
pub use suite::{Mismatch, Told, Verdict, check, check_text, find, run, run_text};
