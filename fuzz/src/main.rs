//! One program for all targets: libFuzzer's driver around the target that `FUZZ_TARGET` names.

#![no_main]

use std::cell::RefCell;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../seeds.rs"]
mod seeds;
#[path = "../targets.rs"]
mod targets;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

thread_local! {
    /// Panics are kept instead of printed: most are caught by the product on purpose.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let found = targets::ALL.iter().find(|target| target.name == name);
        let Some(found) = found else {
            let names: Vec<_> = targets::ALL.iter().map(|target| target.name).collect();
            eprintln!("FUZZ_TARGET is one of {}", names.join(", "));
            std::process::exit(2);
        };
        let _ = TARGET.set(*found);
        if let Ok(folder) = std::env::var("FUZZ_SEEDS") {
            for (number, seed) in seeds::of(&name).iter().enumerate() {
                let written = std::fs::write(format!("{folder}/seed-{number}"), seed);
                written.expect("the folder of seeds can be written");
            }
            std::process::exit(0);
        }
        // libFuzzer's own hook ends the process at every panic, also at one that the product catches on purpose.
        std::panic::set_hook(Box::new(|panic| PANIC.with_borrow_mut(|kept| *kept = panic.to_string())));
    },
    |data: &[u8]| {
        let Some(target) = TARGET.get() else { return };
        if let Err(fault) = targets::run(*target, data, 1_000) {
            eprintln!("{}: {fault}\nthe last panic: {}", target.name, PANIC.take());
            std::process::abort();
        }
    }
);
