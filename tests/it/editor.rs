//! The schemas in the language server that VS Code and other editors use for YAML (`tests/standins/setup` installs it).

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::App;

const PATIENCE: Duration = Duration::from_secs(60);

/// A language server, spoken to over its stdin and stdout (LSP).
struct Server {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    sent: u64,
}

impl Server {
    fn start() -> Server {
        let parts = std::env::var_os("MILLSTREAM_STANDINS").map(PathBuf::from);
        let parts = parts.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/standins"));
        let program = parts.join("node_modules/yaml-language-server/bin/yaml-language-server");
        assert!(program.exists(), "{} is not there: run tests/standins/setup", program.display());
        let mut command = Command::new("node");
        command.arg(program).arg("--stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("node is there");
        let input = child.stdin.take().unwrap();
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
        let mut server = Server { child, input, messages, sent: 0 };
        let capabilities = json!({"textDocument": {
            "completion": {"completionItem": {"documentationFormat": ["markdown", "plaintext"]}},
            "hover": {"contentFormat": ["markdown"]}, "publishDiagnostics": {},
        }});
        server.ask(
            "initialize",
            &json!({"processId": std::process::id(), "rootUri": null, "capabilities": capabilities}),
        );
        server.tell("initialized", &json!({}));
        let settings =
            json!({"yaml": {"validate": true, "completion": true, "hover": true, "schemaStore": {"enable": false}}});
        server.tell("workspace/didChangeConfiguration", &json!({"settings": settings}));
        server
    }

    fn send(&mut self, message: &Value) {
        let body = message.to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{body}", body.len()).and_then(|()| self.input.flush()).unwrap();
    }

    fn tell(&mut self, method: &str, params: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// The next message for which `wanted` holds; what the server asks meanwhile is answered with nothing.
    fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
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

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.sent += 1;
        let id = self.sent;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        let answer = self.until(method, |message| message["id"] == id && message.get("method").is_none());
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Opens a text as a file and gives what is wrong with it, as `line: message`.
    fn open(&mut self, uri: &str, text: &str) -> Vec<String> {
        let document = json!({"uri": uri, "languageId": "yaml", "version": 1, "text": text});
        self.tell("textDocument/didOpen", &json!({"textDocument": document}));
        let told = self.until("diagnostics", |message| {
            message["method"] == "textDocument/publishDiagnostics" && message["params"]["uri"] == uri
        });
        let list = told["params"]["diagnostics"].as_array().unwrap();
        list.iter()
            .map(|one| format!("{}: {}", one["range"]["start"]["line"], one["message"].as_str().unwrap_or_default()))
            .collect()
    }

    /// Labels of what is proposed where `‸` stands in the text.
    fn proposals(&mut self, uri: &str, text: &str) -> Vec<(String, String)> {
        let at = self.open_at(uri, text);
        let result = self.ask("textDocument/completion", &at);
        let items = result["items"].as_array().or(result.as_array()).cloned().unwrap_or_default();
        let documentation = |item: &Value| {
            let text = &item["documentation"];
            text["value"].as_str().or(text.as_str()).unwrap_or_default().to_owned()
        };
        items.iter().map(|item| (item["label"].as_str().unwrap_or_default().to_owned(), documentation(item))).collect()
    }

    /// What is explained where `‸` stands in the text.
    fn explained(&mut self, uri: &str, text: &str) -> String {
        let at = self.open_at(uri, text);
        let result = self.ask("textDocument/hover", &at);
        result["contents"]["value"].as_str().or(result["contents"].as_str()).unwrap_or_default().to_owned()
    }

    fn open_at(&mut self, uri: &str, text: &str) -> Value {
        let before = &text[..text.find('‸').expect("the text has a cursor")];
        let line = before.matches('\n').count();
        let character = before.rsplit('\n').next().unwrap_or_default().chars().count();
        self.open(uri, &text.replace('‸', ""));
        json!({"textDocument": {"uri": uri}, "position": {"line": line, "character": character}})
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_editor_completes_explains_and_checks_flows_by_the_schema() {
    let connections = "sales: {connector: slack, credentials: {bot_token: {env: X}}}\ncrm: {connector: http, settings: {base_url: \"https://crm.example\"}}\n";
    let app = App::idle(&[("connections.yaml", connections)]);
    let written = app.cli(&["schema", "--write"]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let modeline =
        format!("# yaml-language-server: $schema=file://{}\n", app.path(".millstream/schema/flow.json").display());
    let mut server = Server::start();
    let mut files = 0;
    let mut uri = || {
        files += 1;
        format!("file://{}", app.path(&format!("flows/f{files}.yaml")).display())
    };
    let text = |steps: &str| format!("{modeline}trigger:\n  type: request\nsteps:\n{steps}");

    let good = "  - id: tell\n    action: slack.post_message\n    connection: sales\n    with:\n      channel: leads\n      text: \"{{trigger.body.x}}\"\n    retry:\n      attempts: 3\n";
    assert_eq!(server.open(&uri(), &text(good)), Vec::<String>::new());

    // A key and an action that are misspelt, a connection of another connector, an input that is none.
    let wrong = server.open(&uri(), &text(&good.replace("retry:", "retyr:")));
    assert!(wrong.iter().any(|line| line.starts_with("10: ") && line.contains("retyr")), "{wrong:?}");
    let wrong = server.open(&uri(), &text(&good.replace("post_message", "post_mesage")));
    assert!(wrong.iter().any(|line| line.starts_with("5: ") && line.contains("slack.post_message")), "{wrong:?}");
    let wrong = server.open(&uri(), &text(&good.replace("connection: sales", "connection: crm")));
    assert!(wrong.iter().any(|line| line.starts_with("6: ") && line.contains("sales")), "{wrong:?}");
    let wrong = server.open(&uri(), &text(&good.replace("channel:", "chanel:")));
    assert!(wrong.iter().any(|line| line.contains("chanel")), "{wrong:?}");

    let actions = server.proposals(&uri(), &text("  - id: tell\n    action: ‸\n"));
    for action in ["slack.post_message", "http.request", "sql.insert", "dynamics365.create_record"] {
        assert!(actions.iter().any(|(label, _)| label == action), "{action}: {actions:?}");
    }
    let explained = &actions.iter().find(|(label, _)| label == "slack.post_message").unwrap().1;
    assert!(explained.contains("Posts a message to a channel"), "{explained}");
    let names = server.proposals(&uri(), &text("  - id: tell\n    action: slack.post_message\n    connection: ‸\n"));
    assert!(
        names.iter().any(|(label, _)| label == "sales") && !names.iter().any(|(label, _)| label == "crm"),
        "{names:?}"
    );
    let inputs = server.proposals(
        &uri(),
        &text("  - id: tell\n    action: slack.post_message\n    connection: sales\n    with:\n      ‸\n"),
    );
    for input in ["channel", "text", "blocks", "thread_ts"] {
        assert!(inputs.iter().any(|(label, _)| label == input), "{input}: {inputs:?}");
    }
    let keys = server.proposals(&uri(), &text("  - id: tell\n    ‸\n"));
    for key in ["action", "set", "when", "foreach"] {
        assert!(keys.iter().any(|(label, _)| label == key), "{key}: {keys:?}");
    }

    let told = server.explained(&uri(), &text(&good.replace("retry:", "re‸try:")));
    assert!(told.contains("none") && told.contains("keys below"), "{told}");
    let told = server.explained(&uri(), &text(&good.replace("attempts:", "att‸empts:")));
    assert!(told.contains("calls in all, the first included"), "{told}");
    let told = server.explained(&uri(), &text(&good.replace("channel:", "chan‸nel:")));
    assert!(told.contains("Channel id or name"), "{told}");

    // Connections too, by the schema of their own.
    let modeline = modeline.replace("flow.json", "connections.json");
    let wrong = server.open(&uri(), &format!("{modeline}crm:\n  connector: http\n  setings: {{}}\n"));
    assert!(wrong.iter().any(|line| line.contains("setings")), "{wrong:?}");
}
