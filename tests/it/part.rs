//! Counterparts that are programs of their own: started for one test, told what to do next, ended by their own id.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A child process that said its port, ended by its own id when the test ends.
pub struct Part {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub port: u16,
}

impl Part {
    pub fn start(command: &mut Command) -> Part {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the stand-in starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the stand-in did not start; tests/standins/setup installs its parts. It said: {line}")
        });
        let input = child.stdin.take().unwrap();
        Part { port: said["port"].as_u64().unwrap() as u16, child, input, output }
    }

    /// Says something to it, and waits until it has heard.
    pub fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
        let mut heard = String::new();
        self.output.read_line(&mut heard).unwrap();
        assert!(heard.contains(what), "{heard}");
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder that tests/standins/setup filled, and the one of the scripts.
pub fn folders() -> (PathBuf, PathBuf) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let parts = match std::env::var_os("MILLSTREAM_STANDINS") {
        Some(dir) => PathBuf::from(dir),
        None => root.join("target/standins"),
    };
    let installed = parts.join("venv/bin/python").exists() && parts.join("node_modules/oauth2-mock-server").exists();
    assert!(installed, "the stand-ins are not installed in {}: run tests/standins/setup", parts.display());
    (parts, root.join("tests/standins"))
}
