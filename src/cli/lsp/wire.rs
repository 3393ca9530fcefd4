//! Messages of the protocol on a stream: a header with the length, then JSON.
//!
//! lsp-server says what a message is. Its own reading takes memory for whatever length is named, and ends at the first
//! message that is none, so the stream is read here.

use std::io::{self, BufRead, Read, Write};

use lsp_server::{ErrorCode, Message, Notification, RequestId, Response};
use serde::Deserialize;
use serde_json::{Value, json};

/// Longest message, bytes: many times the longest file.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Longest line of a header.
const MAX_HEADER: u64 = 8 * 1024;

/// What came in.
#[derive(Debug)]
pub enum Incoming {
    Message(Message),
    /// What is no message, and its id, if it has something like one.
    Garbage(Value, Refusal),
    /// The stream has ended.
    End,
}

/// Reads the next message. What stands before a header that has a length is passed over.
///
/// # Errors
/// If the stream breaks.
pub fn read(input: &mut impl BufRead) -> io::Result<Incoming> {
    let mut length = None;
    loop {
        let mut line = Vec::new();
        if input.by_ref().take(MAX_HEADER).read_until(b'\n', &mut line)? == 0 {
            return Ok(Incoming::End);
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if let Some((name, value)) = text.split_once(':')
            && name.trim().eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<u64>().ok();
        }
        if text.is_empty()
            && let Some(length) = length
        {
            return body(input, length);
        }
    }
}

fn body(input: &mut impl BufRead, length: u64) -> io::Result<Incoming> {
    let garbage = |id, code, why| Incoming::Garbage(id, Refusal::new(code, why));
    if length > MAX_BYTES {
        let skipped = io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
        let why = format!("a message has at most {MAX_BYTES} bytes");
        return Ok(if skipped < length { Incoming::End } else { garbage(Value::Null, ErrorCode::ParseError, why) });
    }
    let mut bytes = Vec::new();
    if (input.by_ref().take(length).read_to_end(&mut bytes)? as u64) < length {
        return Ok(Incoming::End);
    }
    // As a value first: from text, numbers that are no integers would not pass through the crate's untagged enums.
    let value: Value = match serde_json::from_slice(&bytes) {
        Ok(value) => value,
        Err(error) => return Ok(garbage(Value::Null, ErrorCode::ParseError, format!("this is not JSON: {error}"))),
    };
    let id = value.get("id").cloned().unwrap_or_default();
    let why = || "this is neither a request, a notification nor an answer".to_owned();
    let read = Message::deserialize(value);
    Ok(read.map_or_else(|_| garbage(id, ErrorCode::InvalidRequest, why()), Incoming::Message))
}

/// Why a request was not answered.
#[derive(Debug)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

/// Writes the answer to a request.
///
/// # Errors
/// If the stream breaks: nobody listens any more.
pub fn answer(output: &mut impl Write, id: RequestId, result: Result<Value, Refusal>) -> io::Result<()> {
    let response = match result {
        Ok(result) => Response::new_ok(id, result),
        Err(Refusal { code, message }) => Response::new_err(id, code as i32, message),
    };
    Message::Response(response).write(output)
}

/// Writes that something was no message. The crate has no answer without a proper id.
///
/// # Errors
/// As [`answer`].
pub fn refuse(output: &mut impl Write, id: &Value, refusal: &Refusal) -> io::Result<()> {
    let error = json!({"code": refusal.code as i32, "message": refusal.message});
    let body = json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
    write!(output, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    output.flush()
}

/// Writes a message that wants no answer.
///
/// # Errors
/// As [`answer`].
pub fn notify(output: &mut impl Write, method: &str, params: Value) -> io::Result<()> {
    Message::Notification(Notification { method: method.to_owned(), params }).write(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(text: &str) -> String {
        format!("Content-Length: {}\r\n\r\n{text}", text.len())
    }

    /// What is read of a stream, a line a message.
    fn told(stream: &[u8]) -> Vec<String> {
        let mut input = io::Cursor::new(stream);
        let mut told = Vec::new();
        loop {
            told.push(match read(&mut input).unwrap() {
                Incoming::Message(Message::Request(request)) => format!("{} {}", request.id, request.params),
                Incoming::Message(Message::Notification(told)) => format!("{} {}", told.method, told.params),
                Incoming::Message(Message::Response(_)) => "an answer".to_owned(),
                Incoming::Garbage(id, refusal) => format!("{} to {id}", refusal.code as i32),
                Incoming::End => return told,
            });
        }
    }

    #[test]
    fn garbage_is_passed_over_and_the_next_message_is_read() {
        let stream = [
            "hello\r\n\r\nContent-Type: x\r\n".to_owned(),
            framed("{\"id\":7,\"method\":\"a\",\"params\":{\"x\":1.5}}").to_lowercase(),
            framed("{oops"),
            framed("[]"),
            framed("{\"id\":{}, \"params\": 1}"),
            framed("{\"method\":\"told\",\"params\":[1e400, 9007199254740993]}"),
            framed("{\"id\":\"x\",\"result\":null}"),
            "Content-Length: 9\r\n\r\n{}".to_owned(),
        ];
        let found = told(stream.concat().as_bytes());
        let expected = [
            "7 {\"x\":1.5}",
            "-32700 to null",
            "-32600 to null",
            "-32600 to {}",
            "told [1e+400,9007199254740993]",
            "an answer",
        ];
        assert_eq!(found, expected);
        assert_eq!(told(b"Content-Length: 99999999999999999\r\n\r\n{}"), Vec::<String>::new());
    }

    #[test]
    fn what_is_written_is_read_again_with_every_digit() {
        let mut bytes = Vec::new();
        let digits: Value = serde_json::from_str("[0.10000000000000000001]").unwrap();
        notify(&mut bytes, "told", digits).unwrap();
        answer(&mut bytes, RequestId::from(1), Err(Refusal::new(ErrorCode::RequestFailed, "no"))).unwrap();
        refuse(&mut bytes, &Value::Null, &Refusal::new(ErrorCode::ParseError, "no")).unwrap();
        assert_eq!(told(&bytes), ["told [0.10000000000000000001]", "an answer", "-32600 to null"]);
    }
}
