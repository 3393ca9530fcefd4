//! An editor as language servers see it: it speaks to one over its stdin and stdout (LSP).

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// An editor, and the server that it started.
pub struct Client {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<Value>,
    sent: u64,
    version: u64,
}

impl Client {
    /// Starts a server by this command and initializes it.
    pub fn start(command: Command, root: &Value) -> Client {
        let mut client = Client::bare(command);
        let capabilities = json!({"textDocument": {
            "completion": {"completionItem": {"documentationFormat": ["markdown", "plaintext"], "snippetSupport": true}},
            "hover": {"contentFormat": ["markdown"]}, "publishDiagnostics": {}, "rename": {"prepareSupport": true},
        }});
        client.ask(
            "initialize",
            &json!({"processId": std::process::id(), "rootUri": root, "capabilities": capabilities}),
        );
        client.tell("initialized", &json!({}));
        client
    }

    /// Starts it and says nothing yet.
    pub fn bare(mut command: Command) -> Client {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the server's program is there");
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (give, messages) = channel();
        std::thread::spawn(move || {
            loop {
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if output.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if let Some(value) = line.strip_prefix("Content-Length: ") {
                        length = value.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        break;
                    }
                }
                let mut body = vec![0; length];
                if output.read_exact(&mut body).is_err() || give.send(serde_json::from_slice(&body).unwrap()).is_err() {
                    return;
                }
            }
        });
        Client { child, input, messages, sent: 0, version: 1 }
    }

    pub fn send(&mut self, message: &Value) {
        let body = message.to_string();
        self.send_bytes(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("it is open");
        input.write_all(bytes).and_then(|()| input.flush()).unwrap();
    }

    pub fn tell(&mut self, method: &str, params: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// The next message for which `wanted` holds; what the server asks meanwhile is answered with nothing.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left).unwrap_or_else(|error| panic!("no {what}: {error}"));
            if message.get("method").is_some() && message.get("id").is_some() {
                let asked = message["params"]["items"].as_array().map_or(0, Vec::len);
                self.send(&json!({"jsonrpc": "2.0", "id": message["id"], "result": vec![Value::Null; asked]}));
            } else if wanted(&message) {
                return message;
            }
        }
    }

    /// The result of a request, or its error.
    pub fn try_ask(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        self.sent += 1;
        let id = self.sent;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        let answer = self.until(method, |message| message["id"] == id && message.get("method").is_none());
        answer.get("error").map_or(Ok(answer["result"].clone()), |error| Err(error.clone()))
    }

    pub fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.try_ask(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Opens a text as a file and gives what is wrong with it, as `line: message`.
    pub fn open(&mut self, uri: &str, text: &str) -> Vec<String> {
        let document = json!({"uri": uri, "languageId": "yaml", "version": 1, "text": text});
        self.tell("textDocument/didOpen", &json!({"textDocument": document}));
        lines(&self.problems(uri))
    }

    /// What the server says next that is wrong with a file.
    pub fn problems(&mut self, uri: &str) -> Vec<Value> {
        let told = self.until("diagnostics", |message| {
            message["method"] == "textDocument/publishDiagnostics" && message["params"]["uri"] == uri
        });
        told["params"]["diagnostics"].as_array().unwrap().clone()
    }

    /// Changes an open file as a whole (no range) or in part.
    pub fn change(&mut self, uri: &str, changes: &Value) {
        self.version += 1;
        let document = json!({"uri": uri, "version": self.version});
        self.tell("textDocument/didChange", &json!({"textDocument": document, "contentChanges": changes}));
    }

    /// What is proposed where `‸` stands in the text: labels, and what is said of each.
    pub fn proposals(&mut self, uri: &str, text: &str) -> Vec<(String, String)> {
        let at = self.open_at(uri, text);
        let items = self.items(&at);
        let documentation = |item: &Value| {
            let text = &item["documentation"];
            text["value"].as_str().or(text.as_str()).unwrap_or_default().to_owned()
        };
        items.iter().map(|item| (item["label"].as_str().unwrap_or_default().to_owned(), documentation(item))).collect()
    }

    /// What is proposed at a place.
    pub fn items(&mut self, at: &Value) -> Vec<Value> {
        let result = self.ask("textDocument/completion", at);
        result["items"].as_array().or(result.as_array()).cloned().unwrap_or_default()
    }

    /// What is explained where `‸` stands in the text.
    pub fn explained(&mut self, uri: &str, text: &str) -> String {
        let at = self.open_at(uri, text);
        let result = self.ask("textDocument/hover", &at);
        result["contents"]["value"].as_str().or(result["contents"].as_str()).unwrap_or_default().to_owned()
    }

    /// Opens a text without its `‸`; the place of it.
    pub fn open_at(&mut self, uri: &str, text: &str) -> Value {
        let before = &text[..text.find('‸').expect("the text has a cursor")];
        let line = before.matches('\n').count();
        let character = before.rsplit('\n').next().unwrap_or_default().encode_utf16().count();
        self.open(uri, &text.replace('‸', ""));
        json!({"textDocument": {"uri": uri}, "position": {"line": line, "character": character}})
    }

    /// How the server ends once nothing more comes.
    pub fn ended(mut self) -> ExitStatus {
        self.input = None;
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Problems as `line: message`.
pub fn lines(problems: &[Value]) -> Vec<String> {
    let line =
        |one: &Value| format!("{}: {}", one["range"]["start"]["line"], one["message"].as_str().unwrap_or_default());
    problems.iter().map(line).collect()
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
