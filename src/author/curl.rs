//! A `curl` line as people copy it from documentation or a browser, read without a shell: what it would send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use url::form_urlencoded;

use super::exchange::{Body, Exchange, File};

/// Options with a value that say nothing of the request.
const IGNORED: [&str; 16] = [
    "-o",
    "--output",
    "-m",
    "--max-time",
    "--connect-timeout",
    "--retry",
    "--retry-delay",
    "-w",
    "--write-out",
    "-x",
    "--proxy",
    "--cacert",
    "-b",
    "--cookie",
    "-c",
    "--cookie-jar",
];
/// Short options without a value.
const FLAGS: &str = "sSLikvfgN#0123456";

impl Exchange {
    /// Reads `curl 'https://…' -H 'Authorization: Bearer …' -d '{…}'`.
    ///
    /// # Errors
    /// A sentence that says what cannot be read, never with a value of the line: that may be a secret.
    pub fn of_curl(line: &str) -> Result<Exchange, String> {
        let mut words = words(line)?.into_iter();
        if words.next().as_deref() != Some("curl") {
            return Err("it begins with `curl`".into());
        }
        let mut read = Line::default();
        while let Some(word) = words.next() {
            read.word(&word, &mut words)?;
        }
        read.finish()
    }
}

#[derive(Default)]
struct Line {
    method: Option<String>,
    url: Option<String>,
    headers: Vec<(String, String)>,
    data: Vec<String>,
    json: bool,
    form: Vec<(String, Result<String, File>)>,
    get: bool,
}

impl Line {
    fn word(&mut self, word: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), String> {
        // `--request=POST`, `-XPOST`, `-sSXPOST`.
        let (option, glued) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option.to_owned(), Some(value.to_owned())),
            _ if word.starts_with("--") || !word.starts_with('-') || word == "-" => (word.to_owned(), None),
            _ => {
                let letters = word[1..].trim_start_matches(|letter| FLAGS.contains(letter));
                let Some(first) = letters.chars().next() else { return Ok(()) };
                let value = &letters[first.len_utf8()..];
                (format!("-{first}"), (!value.is_empty()).then(|| value.to_owned()))
            }
        };
        let mut value = || glued.clone().or_else(|| rest.next()).ok_or_else(|| format!("`{option}` has no value"));
        match option.as_str() {
            "-X" | "--request" => self.method = Some(value()?.to_ascii_uppercase()),
            "--url" => self.url = Some(value()?),
            "-G" | "--get" => self.get = true,
            "-I" | "--head" => self.method = Some("HEAD".into()),
            "-H" | "--header" => {
                let header = value()?;
                if let Some((name, value)) = header.split_once(':') {
                    self.headers.push((name.trim().to_owned(), value.trim().to_owned()));
                }
            }
            "-A" | "--user-agent" | "-e" | "--referer" => drop(value()?),
            "-u" | "--user" => {
                let encoded = STANDARD.encode(value()?);
                self.headers.push(("Authorization".into(), format!("Basic {encoded}")));
            }
            "--oauth2-bearer" => {
                let token = value()?;
                self.headers.push(("Authorization".into(), format!("Bearer {token}")));
            }
            "--data-raw" => self.data.push(value()?),
            "-d" | "--data" | "--data-ascii" | "--data-binary" => self.data.push(not_a_file(&option, value()?)?),
            "--data-urlencode" => {
                let value = value()?;
                let (name, text) = value.split_once('=').unwrap_or(("", &value));
                let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
                self.data.push(if name.is_empty() { encoded } else { format!("{name}={encoded}") });
            }
            "--json" => {
                self.json = true;
                self.data.push(not_a_file(&option, value()?)?);
            }
            "-F" | "--form" | "--form-string" => {
                let value = value()?;
                let Some((name, text)) = value.split_once('=') else {
                    return Err("a field of a form is `NAME=VALUE`".into());
                };
                let field = match text.strip_prefix('@') {
                    Some(file) if option != "--form-string" => Err(File::of(file)),
                    _ => Ok(text.to_owned()),
                };
                self.form.push((name.to_owned(), field));
            }
            ignored if IGNORED.contains(&ignored) => drop(value()?),
            // Flags: what they change is not the request.
            flag if flag.starts_with("--") => {}
            short if short.starts_with('-') && short.len() > 1 => {
                return Err(format!("the option `{short}` is not known here; leave it out"));
            }
            url => match self.url {
                None => self.url = Some(url.to_owned()),
                Some(_) => return Err("there are two URLs; quote each value, as in -H 'Name: value'".into()),
            },
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Exchange, String> {
        let mut url = self.url.ok_or("there is no URL")?;
        if !url.contains("://") {
            url = format!("https://{url}");
        }
        let mut text = self.data.join("&");
        if self.get && !text.is_empty() {
            let joint = if url.contains('?') { '&' } else { '?' };
            url = format!("{url}{joint}{text}");
            text = String::new();
        }
        if self.json {
            self.headers.push(("Content-Type".into(), "application/json".into()));
        }
        let body = if !self.form.is_empty() {
            Body::Multipart(self.form)
        } else if text.is_empty() {
            Body::None
        } else {
            let form = !self.json && !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            Body::of(&text, if form { "application/x-www-form-urlencoded" } else { "" }, &self.headers)
        };
        let usual = if matches!(body, Body::None) { "GET" } else { "POST" };
        let method = self.method.unwrap_or_else(|| usual.to_owned());
        Ok(Exchange { method, url, headers: self.headers, body, answer: None::<Value> })
    }
}

fn not_a_file(option: &str, value: String) -> Result<String, String> {
    match value.starts_with('@') {
        true => Err(format!("`{option}` names a file; put its content in its place, or use --from EXCHANGE.json")),
        false => Ok(value),
    }
}

/// Cuts a line into words as a POSIX shell does, with the quotes `'…'`, `"…"` and `$'…'`. Nothing is expanded or run.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => quoted(&mut letters, word.get_or_insert_default())?,
            '"' => double(&mut letters, word.get_or_insert_default())?,
            '$' if letters.peek() == Some(&'\'') => {
                letters.next();
                ansi(&mut letters, word.get_or_insert_default())?;
            }
            '\\' => match letters.next() {
                Some('\n') | None => {}
                Some('\r') => drop(letters.next_if_eq(&'\n')),
                Some(other) => word.get_or_insert_default().push(other),
            },
            space if space.is_whitespace() => words.extend(word.take()),
            '|' | ';' | '>' | '<' | '`' => {
                return Err(format!("`{letter}` outside of quotes belongs to a shell; leave it out"));
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

type Letters<'l> = std::iter::Peekable<std::str::Chars<'l>>;

fn quoted(letters: &mut Letters<'_>, word: &mut String) -> Result<(), String> {
    loop {
        match letters.next() {
            Some('\'') => return Ok(()),
            Some(letter) => word.push(letter),
            None => return Err("a `'` is not closed".into()),
        }
    }
}

fn double(letters: &mut Letters<'_>, word: &mut String) -> Result<(), String> {
    loop {
        match letters.next() {
            Some('"') => return Ok(()),
            Some('\\') => match letters.next() {
                Some('\n') => {}
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
                None => return Err("a `\"` is not closed".into()),
            },
            Some(letter) => word.push(letter),
            None => return Err("a `\"` is not closed".into()),
        }
    }
}

/// `$'…'`, as browsers copy texts that hold quotes or line breaks.
fn ansi(letters: &mut Letters<'_>, word: &mut String) -> Result<(), String> {
    loop {
        match letters.next() {
            Some('\'') => return Ok(()),
            Some('\\') => match letters.next() {
                Some('n') => word.push('\n'),
                Some('r') => word.push('\r'),
                Some('t') => word.push('\t'),
                Some(kind @ ('u' | 'x')) => {
                    let most = if kind == 'u' { 4 } else { 2 };
                    let mut digits = String::new();
                    while digits.len() < most
                        && let Some(digit) = letters.next_if(char::is_ascii_hexdigit)
                    {
                        digits.push(digit);
                    }
                    let letter = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    word.push(letter.ok_or("a `\\u` is not followed by digits")?);
                }
                Some(other) => word.push(other),
                None => return Err("a `$'` is not closed".into()),
            },
            Some(letter) => word.push(letter),
            None => return Err("a `$'` is not closed".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_as_a_shell_does_and_nothing_of_it_is_run() {
        let cut = |line: &str| words(line);
        assert_eq!(
            cut("curl -H 'a: b'\\\n  \"x \\\"$y\\\"\" z\\ 1").unwrap(),
            ["curl", "-H", "a: b", "x \"$y\"", "z 1"]
        );
        assert_eq!(cut(r#"a'b'"c"$'d\n\u0021\'' ''"#).unwrap(), ["abcd\n!'", ""]);
        for wrong in ["a 'b", "a \"b", "a $'b", "curl x | sh", "curl x; rm y", "curl `x`"] {
            assert!(cut(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_curl_would_send_is_known() {
        let sent = |line: &str| {
            let exchange = Exchange::of_curl(line).unwrap();
            format!("{} {} {:?} {:?}", exchange.method, exchange.url, exchange.headers, exchange.body)
        };
        insta::assert_snapshot!(
            [
                "curl api.example.com/v1/me -sSL --compressed",
                "curl -XPUT 'https://a.example/x' -H 'Content-Type: application/json' --data-raw '{\"a\": 1}'",
                "curl https://a.example/x -d a=1 -d 'b=two words' --data-urlencode 'c=ü&'",
                "curl -G https://a.example/x?y=1 -d q=1",
                "curl --json '{\"a\":[1]}' https://a.example/x -u user:pass",
                "curl https://a.example/x -F note=hi -F 'file=@report.csv;type=text/csv'",
                "curl --request=DELETE --url https://a.example/x/7",
                "curl https://a.example/x -H 'Content-Type: text/csv' --data-binary 'a;b'",
            ]
            .map(sent)
            .join("\n")
        );
        for wrong in ["wget x", "curl", "curl -d @secret.json x", "curl x y", "curl x -H", "curl -Z x"] {
            assert!(Exchange::of_curl(wrong).is_err(), "{wrong}");
        }
    }
}
