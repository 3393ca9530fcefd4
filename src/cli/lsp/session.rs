//! One session with an editor: what comes in, in its order, and what goes out.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use lsp_server::{ErrorCode, Message, Notification, Request};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use super::Event;
use super::last::Last;
use super::wire::{self, Incoming, Refusal};
use super::workspace::{Document, Workspace};
use crate::cli::Place;
use crate::language::{self, Position, Range, View};

/// How long nothing must come in before what was typed is checked.
const QUIET: Duration = Duration::from_millis(80);
/// The longest that constant typing can put that off.
const PATIENCE: Duration = Duration::from_millis(600);

type Answer = Result<Value, Refusal>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not initialized yet.
    New,
    Open,
    /// Asked to shut down: only `exit` may follow.
    Shut,
}

pub(super) struct Session<W> {
    out: W,
    state: State,
    workspace: Workspace,
    last: Last,
    /// What the editor said that it can do.
    client: Value,
    /// Folders that the editor has open.
    folders: Vec<String>,
    /// When the oldest edit came that is not checked yet.
    behind: Option<Instant>,
}

/// Why a session goes no further.
enum End {
    /// `exit`, after `shutdown` or not.
    Exit { well: bool },
    /// Nobody listens any more.
    Gone,
}

impl<W: Write> Session<W> {
    pub fn new(place: &Place, handle: Handle, events: Sender<Event>, out: W) -> Session<W> {
        // Where --dir says no more than it does unless set, the editor knows better.
        let named = place.dir != Path::new(".");
        let fixed = place.dir().ok().filter(|_| named);
        Session {
            out,
            state: State::New,
            workspace: Workspace::new(fixed, handle.clone(), events),
            last: Last::new(place, handle),
            client: Value::Null,
            folders: Vec::new(),
            behind: None,
        }
    }

    /// Goes on until the editor has enough; true if it left as the protocol has it.
    pub fn run(mut self, events: &Receiver<Event>) -> bool {
        loop {
            let end = match self.next(events) {
                Some(Event::Incoming(Incoming::Message(message))) => self.take(message),
                Some(Event::Incoming(Incoming::Garbage(id, refusal))) => {
                    wire::refuse(&mut self.out, &id, &refusal).map_err(|_| End::Gone)
                }
                Some(Event::Incoming(Incoming::End)) => Err(End::Exit { well: self.state == State::Shut }),
                Some(Event::Changed(dir)) => {
                    self.workspace.changed(Some(dir));
                    Ok(())
                }
                None => self.flush(),
            };
            match end {
                Ok(()) => {}
                Err(End::Exit { well }) => return well,
                Err(End::Gone) => return false,
            }
        }
    }

    /// The next event; `None` once it is time to check what was typed.
    fn next(&mut self, events: &Receiver<Event>) -> Option<Event> {
        if !self.workspace.is_behind() || self.state != State::Open {
            self.behind = None;
            return Some(events.recv().unwrap_or(Event::Incoming(Incoming::End)));
        }
        let since = *self.behind.get_or_insert_with(Instant::now);
        match events.recv_timeout(QUIET.min(PATIENCE.saturating_sub(since.elapsed()))) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::Incoming(Incoming::End)),
        }
    }

    fn flush(&mut self) -> Result<(), End> {
        self.behind = None;
        let workspace = &mut self.workspace;
        let news = catch_unwind(AssertUnwindSafe(|| workspace.flush())).unwrap_or_else(|_| {
            eprintln!("a check gave up; the next one begins anew");
            Vec::new()
        });
        for params in news {
            wire::notify(&mut self.out, "textDocument/publishDiagnostics", params).map_err(|_| End::Gone)?;
        }
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Notification(told) if told.method == "exit" => Err(End::Exit { well: self.state == State::Shut }),
            Message::Notification(Notification { method, params }) => {
                let told = catch_unwind(AssertUnwindSafe(|| self.told(&method, &params)));
                if told.is_err() {
                    eprintln!("{method} could not be taken in");
                }
                Ok(())
            }
            Message::Request(Request { id, method, params }) => {
                let answered = catch_unwind(AssertUnwindSafe(|| self.asked(&method, &params)));
                let gave_up = || Err(Refusal::new(ErrorCode::InternalError, format!("{method} could not be answered")));
                let answer = answered.unwrap_or_else(|_| gave_up());
                wire::answer(&mut self.out, id, answer).map_err(|_| End::Gone)
            }
            // Nothing is asked of the editor.
            Message::Response(_) => Ok(()),
        }
    }

    fn told(&mut self, method: &str, params: &Value) {
        if self.state != State::Open {
            return;
        }
        let uri = params.pointer("/textDocument/uri").and_then(Value::as_str).unwrap_or_default();
        match method {
            "initialized" => {
                let folders = std::mem::take(&mut self.folders);
                if folders.is_empty() {
                    self.workspace.open_folder(None);
                }
                folders.iter().for_each(|folder| self.workspace.open_folder(Some(folder)));
            }
            "textDocument/didOpen" => {
                let text = params.pointer("/textDocument/text").and_then(Value::as_str).unwrap_or_default();
                self.workspace.open(uri, text, version(params));
            }
            "textDocument/didChange" => self.change(uri, params),
            "textDocument/didClose" => self.workspace.close(uri),
            "textDocument/didSave" => {
                let dir = self.workspace.documents.get(uri).map(|document| document.dir.clone());
                if dir.is_some() {
                    self.workspace.changed(dir);
                }
            }
            "workspace/didChangeWatchedFiles" => self.workspace.changed(None),
            "workspace/didChangeWorkspaceFolders" => {
                let added = params.pointer("/event/added").and_then(Value::as_array).into_iter().flatten();
                let uris = added.filter_map(|folder| folder.get("uri")?.as_str());
                uris.for_each(|uri| self.workspace.open_folder(Some(uri)));
            }
            _ => {}
        }
    }

    fn change(&mut self, uri: &str, params: &Value) {
        let Some(mut document) = self.workspace.documents.remove(uri) else { return };
        for change in params.get("contentChanges").and_then(Value::as_array).into_iter().flatten() {
            let Some(text) = change.get("text").and_then(Value::as_str) else { continue };
            let range = change.get("range").filter(|range| !range.is_null());
            match range.map(Range::deserialize) {
                None => document.text.replace(None, text),
                Some(Ok(range)) => document.text.replace(Some(range), text),
                Some(Err(_)) => {}
            }
        }
        document.version = version(params);
        document.note();
        self.workspace.edited(&document);
        self.workspace.documents.insert(uri.to_owned(), document);
    }

    fn asked(&mut self, method: &str, params: &Value) -> Answer {
        match (self.state, method) {
            (State::New, "initialize") => {
                self.state = State::Open;
                return Ok(self.initialize(params));
            }
            (State::New, _) => return Err(Refusal::new(ErrorCode::ServerNotInitialized, "`initialize` comes first")),
            (State::Open, "shutdown") => {
                self.state = State::Shut;
                return Ok(Value::Null);
            }
            (State::Open, "initialize") => {
                return Err(Refusal::new(ErrorCode::InvalidRequest, "it is initialized already"));
            }
            (State::Shut, _) => return Err(Refusal::new(ErrorCode::InvalidRequest, "it was asked to shut down")),
            (State::Open, _) => {}
        }
        let answer: fn(&Session<W>, &Document, &View<'_>, &Value) -> Answer = match method {
            "textDocument/completion" => |_, _, view, params| {
                Ok(json!({"isIncomplete": false, "items": language::complete(view, position(params)?)}))
            },
            "textDocument/hover" => |_, _, view, params| Ok(json!(language::hover(view, position(params)?))),
            "textDocument/definition" => |session, document, view, params| {
                let found = language::definition(view, position(params)?);
                Ok(json!(found.and_then(|found| session.workspace.location(&document.dir, &found))))
            },
            "textDocument/references" => |session, document, view, params| {
                let found = language::references(view, position(params)?);
                let place = |found| session.workspace.location(&document.dir, found);
                Ok(found.iter().filter_map(place).collect())
            },
            "textDocument/documentSymbol" => |_, _, view, _| Ok(json!(language::symbols(view))),
            "textDocument/prepareRename" => |_, _, view, params| {
                let found = language::prepare(view, position(params)?);
                let found = found.map_err(|why| Refusal::new(ErrorCode::RequestFailed, why))?;
                Ok(json!({"range": found.range, "placeholder": found.name}))
            },
            "textDocument/rename" => Session::rename,
            _ => return Err(Refusal::new(ErrorCode::MethodNotFound, format!("`{method}` is not known"))),
        };
        let uri = params.pointer("/textDocument/uri").and_then(Value::as_str);
        let uri = uri.ok_or_else(|| Refusal::new(ErrorCode::InvalidParams, "no document is named"))?;
        let Some(document) = self.workspace.documents.get(uri) else { return Ok(Value::Null) };
        self.view(document, |view| answer(self, document, view, params)).unwrap_or(Ok(Value::Null))
    }

    fn rename(&self, document: &Document, view: &View<'_>, params: &Value) -> Answer {
        let to = params.get("newName").and_then(Value::as_str).unwrap_or_default();
        let edits =
            language::rename(view, position(params)?, to).map_err(|why| Refusal::new(ErrorCode::RequestFailed, why))?;
        let changes: Map<String, Value> = edits
            .into_iter()
            .filter_map(|(file, edits)| Some((self.workspace.uri_of(&document.dir, &file)?, json!(edits))))
            .collect();
        Ok(json!({"changes": changes}))
    }

    /// Shows `look` a document with its project.
    fn view<T>(&self, document: &Document, look: impl FnOnce(&View<'_>) -> T) -> Option<T> {
        let project = self.workspace.project(&document.dir)?;
        let snapshot = project.snapshot();
        let kind = language::Kind::of(&document.file);
        let schema = project.schema(kind);
        let read = |file: &Path| {
            // What was typed and not checked yet counts too.
            let open = self.workspace.documents.values().find(|other| other.dir == document.dir && other.file == file);
            open.map(|open| open.text.as_str().to_owned()).or_else(|| project.text(file))
        };
        let snippets = self.client.pointer("/textDocument/completion/completionItem/snippetSupport");
        Some(look(&View {
            file: &document.file,
            text: &document.text,
            good: document.good.as_deref(),
            snapshot: &snapshot,
            env: project.env(),
            schema: schema.as_deref(),
            read: &read,
            last: &|flow| self.last.of(&document.dir, flow),
            snippets: snippets == Some(&Value::Bool(true)),
        }))
    }

    fn initialize(&mut self, params: &Value) -> Value {
        self.client = params.get("capabilities").cloned().unwrap_or_default();
        let folders = params.get("workspaceFolders").and_then(Value::as_array).into_iter().flatten();
        self.folders = folders.filter_map(|folder| folder.get("uri")?.as_str().map(str::to_owned)).collect();
        if self.folders.is_empty() {
            self.folders.extend(params.get("rootUri").and_then(Value::as_str).map(str::to_owned));
        }
        let prepares = self.client.pointer("/textDocument/rename/prepareSupport") == Some(&Value::Bool(true));
        let rename = if prepares { json!({"prepareProvider": true}) } else { json!(true) };
        json!({
            "capabilities": {
                "positionEncoding": "utf-16",
                "textDocumentSync": {"openClose": true, "change": 2, "save": true},
                "completionProvider": {"triggerCharacters": [".", "{", "(", " ", "[", "/", "#", "@", ":"]},
                "hoverProvider": true,
                "definitionProvider": true,
                "referencesProvider": true,
                "documentSymbolProvider": true,
                "renameProvider": rename,
                "workspace": {"workspaceFolders": {"supported": true, "changeNotifications": true}},
            },
            "serverInfo": {"name": "millstream", "version": env!("CARGO_PKG_VERSION")},
        })
    }
}

fn position(params: &Value) -> Result<Position, Refusal> {
    let position = params.get("position").map(Position::deserialize);
    position.and_then(Result::ok).ok_or_else(|| Refusal::new(ErrorCode::InvalidParams, "no position is named"))
}

fn version(params: &Value) -> i64 {
    params.pointer("/textDocument/version").and_then(Value::as_i64).unwrap_or_default()
}
