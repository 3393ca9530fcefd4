//! `millstream connections login`: a browser, a person, and the way back to this machine (RFC 8252).
//!
//! This end listens and carries; what is secret (the verifier, the tokens) stays with whoever answers the API.

use std::io::{BufRead, IsTerminal};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use url::Url;

use super::door::Door;
use super::{Place, print_json, segment, text};

/// How long a login may take.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Longest request of a browser, bytes.
const LIMIT: usize = 16 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Login {
    name: String,
    /// Only prints the address that is to be opened; where the browser is on another machine, paste what it ends at.
    #[arg(long)]
    no_browser: bool,
    /// The port on this machine that the browser comes back to; some services must be told of it before.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Calls this machine `localhost` instead of 127.0.0.1, for services that know no other name.
    #[arg(long)]
    localhost: bool,
}

/// What the browser came back with.
struct Back {
    state: String,
    code: String,
}

pub(super) async fn run(place: &Place, door: &Door, login: &Login) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(("127.0.0.1", login.port)).await;
    let listener = listener.with_context(|| format!("port {} of this machine cannot be listened on", login.port))?;
    let host = if login.localhost { "localhost" } else { "127.0.0.1" };
    let redirect_uri = format!("http://{host}:{}/callback", listener.local_addr()?.port());
    let path = format!("/api/v1/connections/{}/login", segment(&login.name));
    let begun = door.post(&path, json!({"redirect_uri": redirect_uri})).await?;
    let url = Url::parse(&text(&begun, "authorize_url")).context("the server did not say where to log in")?;
    let state = url.query_pairs().find(|(name, _)| name == "state").map(|(_, state)| state.into_owned());
    let state = state.ok_or_else(|| anyhow!("the server did not say which login this is"))?;
    eprintln!("open this address and log in:\n\n  {url}\n");
    let opened = !login.no_browser && open(&url);
    if !opened {
        eprintln!("is the browser on another machine? Then paste here the address that it ends at:");
    }
    let (back, answer) = tokio::time::timeout(PATIENCE, wait(listener, opened))
        .await
        .map_err(|_| anyhow!("nobody logged in within {} minutes; run it again", PATIENCE.as_secs() / 60))??;
    let done = match back {
        Ok(back) if back.state == state => {
            door.post(&format!("{path}/code"), json!({"state": back.state, "code": back.code})).await
        }
        Ok(_) => Err(anyhow!(
            "what came back belongs to another login (its `state` is wrong); nothing was kept. Run it again, and use the \
             newest address"
        )),
        Err(why) => Err(anyhow!(why)),
    };
    if let Some(stream) = answer {
        page(stream, &done).await;
    }
    done?;
    match place.json {
        true => print_json(&json!({"connection": login.name, "logged_in": true}))?,
        false => println!("{} is logged in", login.name),
    }
    Ok(ExitCode::SUCCESS)
}

/// By the way that the desktop has for it.
fn open(url: &Url) -> bool {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}

/// What the browser brings, with the connection that waits for a page; or what a person pastes.
async fn wait(listener: TcpListener, opened: bool) -> anyhow::Result<(Result<Back, String>, Option<TcpStream>)> {
    let (paste, mut pasted) = mpsc::channel::<String>(1);
    if !opened && std::io::stdin().is_terminal() {
        // Never joined: a read of a terminal cannot be called off.
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if paste.blocking_send(line).is_err() {
                    return;
                }
            }
        });
    } else {
        drop(paste);
    }
    loop {
        tokio::select! {
            connection = listener.accept() => {
                let (mut stream, _) = connection?;
                match tokio::time::timeout(Duration::from_secs(10), request(&mut stream)).await {
                    Ok(Some(url)) if url.path() == "/callback" => return Ok((back(&url), Some(stream))),
                    // Browsers also ask for a picture.
                    Ok(_) => answer(stream, "404 Not Found", "There is nothing here.").await,
                    Err(_) => {}
                }
            }
            Some(line) = pasted.recv() => match Url::parse(line.trim()) {
                Ok(url) => return Ok((back(&url), None)),
                Err(_) => eprintln!("that is not an address; it begins with http://"),
            },
        }
    }
}

/// The address that a browser asks for.
async fn request(stream: &mut TcpStream) -> Option<Url> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 1024];
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        if bytes.len() > LIMIT {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let target = text.strip_prefix("GET ")?.split(' ').next()?;
    Url::parse("http://127.0.0.1").ok()?.join(target).ok()
}

/// RFC 6749 §4.1.2: a code, or why there is none.
fn back(url: &Url) -> Result<Back, String> {
    let find = |name: &str| url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned());
    if let Some(error) = find("error") {
        let more = find("error_description").map(|more| format!(" ({})", line(&more))).unwrap_or_default();
        return Err(match error.as_str() {
            "access_denied" => format!("the login was refused: somebody said no{more}; nothing was kept"),
            other => format!("the login server said `{}`{more}; nothing was kept", line(other)),
        });
    }
    match (find("state"), find("code")) {
        (Some(state), Some(code)) => Ok(Back { state, code }),
        _ => Err("what came back has no `code` and `state`; nothing was kept".to_owned()),
    }
}

/// Others' words, for a terminal.
fn line(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(300).collect()
}

async fn page(stream: TcpStream, done: &anyhow::Result<serde_json::Value>) {
    match done {
        Ok(_) => answer(stream, "200 OK", "You are logged in. You can close this page.").await,
        Err(_) => answer(stream, "400 Bad Request", "The login did not come to be; the terminal says why.").await,
    }
}

async fn answer(mut stream: TcpStream, status: &str, text: &str) {
    let body = format!("<!doctype html><meta charset=utf-8><title>Millstream</title><p>{text}</p>\n");
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         referrer-policy: no-referrer\r\ncontent-security-policy: default-src 'none'\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // Whether the page is seen changes nothing.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_brings_is_a_code_or_the_reason_why_there_is_none() {
        let back = |query: &str| back(&Url::parse(&format!("http://127.0.0.1/callback?{query}")).unwrap());
        let good = back("state=s&code=a%20b").ok().unwrap();
        assert_eq!((good.state.as_str(), good.code.as_str()), ("s", "a b"));
        let said = |query: &str| back(query).err().unwrap();
        assert!(said("error=access_denied&error_description=User%20said%0Ano").contains("(User saidno)"));
        assert!(said("error=server_error").contains("`server_error`"));
        assert!(said("code=x").contains("`state`"));
    }
}
