//! Integration tests: one binary, one module a subject.

mod durability;
mod http;
mod mapping;
mod mapping_check;
