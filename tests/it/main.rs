//! Integration tests: one binary, one module a subject.

mod mapping;
mod mapping_check;
