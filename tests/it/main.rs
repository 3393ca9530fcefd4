//! Integration tests: one binary, one module a subject.

mod check;
mod durability;
mod house;
mod http;
mod mapping;
mod mapping_check;
