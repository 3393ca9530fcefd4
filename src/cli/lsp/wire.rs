//! Messages of the protocol on a stream: a header with the length, then JSON.
//!
//! Written here since the crates that do it cannot be used beside `arbitrary_precision` of serde_json: they read a request's
//! id with an untagged enum, which then knows no number (docs/decisions/language-server.md).

use std::io::{self, BufRead, Read, Write};

use serde_json::{Value, json};

/// Longest message, bytes: many times the longest file.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Longest line of a header.
const MAX_HEADER: u64 = 8 * 1024;

/// What came in.
#[derive(Debug)]
pub enum Incoming {
    Message(Value),
    /// A message that is no JSON.
    Garbage(String),
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
    if length > MAX_BYTES {
        let skipped = io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
        return Ok(if skipped < length {
            Incoming::End
        } else {
            Incoming::Garbage(format!("{length} bytes are too many"))
        });
    }
    let mut bytes = Vec::new();
    if (input.by_ref().take(length).read_to_end(&mut bytes)? as u64) < length {
        return Ok(Incoming::End);
    }
    Ok(serde_json::from_slice(&bytes).map_or_else(|error| Incoming::Garbage(error.to_string()), Incoming::Message))
}

/// Writes a message.
///
/// # Errors
/// If the stream breaks: nobody listens any more.
pub fn write(output: &mut impl Write, message: &Value) -> io::Result<()> {
    let body = message.to_string();
    write!(output, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    output.flush()
}

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub code: i32,
    pub message: String,
}

impl Refusal {
    pub const PARSE: i32 = -32700;
    pub const INVALID_REQUEST: i32 = -32600;
    pub const NO_METHOD: i32 = -32601;
    pub const INVALID_PARAMS: i32 = -32602;
    pub const INTERNAL: i32 = -32603;
    pub const NOT_INITIALIZED: i32 = -32002;
    pub const FAILED: i32 = -32803;

    pub fn new(code: i32, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

/// The answer to a request.
pub fn answer(id: &Value, result: Result<Value, Refusal>) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(Refusal { code, message }) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        }
    }
}

/// A message that wants no answer.
pub fn notification(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_passed_over_and_the_next_message_is_read() {
        let text = "hello\r\n\r\nContent-Type: x\r\ncontent-length: 7\r\n\r\n{\"a\":1}Content-Length: 3\r\n\r\n{a}Content-Length: 2\r\n\r\n[]Content-Length: 9\r\n\r\n{}";
        let mut input = io::Cursor::new(text);
        let mut told = Vec::new();
        loop {
            match read(&mut input).unwrap() {
                Incoming::Message(value) => told.push(value.to_string()),
                Incoming::Garbage(_) => told.push("garbage".to_owned()),
                Incoming::End => break,
            }
        }
        assert_eq!(told, ["{\"a\":1}", "garbage", "[]"]);
    }

    #[test]
    fn an_untagged_enum_reads_no_number_here_so_other_crates_would_take_no_id() {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        #[expect(dead_code, reason = "only whether it can be read is asked")]
        enum Id {
            Number(i64),
            Text(String),
        }
        assert!(serde_json::from_str::<Id>("\"a\"").is_ok());
        assert!(
            serde_json::from_str::<Id>("1").is_err(),
            "the reason for this file is gone: see docs/decisions/language-server.md"
        );
    }

    #[test]
    fn ids_come_back_as_they_were() {
        let mut bytes = Vec::new();
        let id = json!(9_007_199_254_740_993_u64);
        write(&mut bytes, &answer(&id, Err(Refusal::new(Refusal::FAILED, "no")))).unwrap();
        let Incoming::Message(message) = read(&mut io::Cursor::new(bytes)).unwrap() else { panic!("a message") };
        assert_eq!((&message["id"], &message["error"]["code"]), (&id, &json!(-32803)));
    }
}
