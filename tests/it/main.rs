//! Integration tests: one binary, one module a subject.

mod mapping;
mod dynamics365;
mod outbound_calls;
mod outbound_guard;
mod outbound_oauth;
mod outbound_sql;
mod remote;
