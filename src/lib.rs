#![doc = "Millstream: a YAML file becomes a durable endpoint that carries each request through connectors."]
pub mod access;
mod alike;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod connector;
pub mod data;
pub mod engine;
pub mod flow;
pub mod journal;
pub mod mapping;
pub mod outbound;
pub mod points;
pub mod private;
pub mod run;
pub mod schema;
pub mod server;
pub mod vault;
