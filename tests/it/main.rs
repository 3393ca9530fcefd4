//! Integration tests, in one binary to link once: a module for each subject.

mod durability;
