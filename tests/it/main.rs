//! Integration tests: one binary, one module a subject.

mod app;
mod durability;
mod http;
mod mapping;
mod mapping_check;
mod stories;
