//! Integration tests: one binary, one module a subject.

mod account;
mod alerts;
mod app;
mod check;
mod cli;
mod connector_docs;
mod control;
mod crash;
#[cfg(feature = "crash-points")]
mod crash_phases;
mod durability;
mod dynamics365;
mod fairness;
mod fuzz;
mod house;
mod http;

mod kill_each;
mod load;
mod letters;
mod mapping;
mod mapping_check;
mod outbound_calls;
mod outbound_guard;
mod outbound_oauth;
mod outbound_sql;
mod outbound_tls;
mod papers;
mod power;
mod reload;
mod remote;
mod retention;
mod schedule;
mod stories;
mod triggers;
mod triggers_auth;
mod waits;
