//! `millstream send`: posts to a flow's real URL, as a caller would.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::door::{Door, client};
use super::samples::Sample;
use super::{Place, block_on, print_json, segment, text};
use crate::mapping::parse_json;

/// Posts a file or a sample to a flow's URL on the running server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    flow: String,
    /// The body, sent as it is; `-` reads stdin.
    #[arg(required_unless_present = "sample")]
    file: Option<PathBuf>,
    /// A lead as Microsoft's marketplaces send it.
    #[arg(long, conflicts_with = "file")]
    sample: Option<Sample>,
    #[arg(long, default_value = "application/json")]
    content_type: String,
    #[arg(long, default_value = "POST")]
    method: String,
    /// What follows the key in the URL, as in `customers/7?from=shop`.
    #[arg(long, default_value = "")]
    path: String,
    /// A further header, as in `X-Tag: 7`; may come several times.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let body = match (&self.file, self.sample) {
            (Some(path), _) if path.as_os_str() == "-" => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).context("stdin could not be read")?;
                bytes
            }
            (Some(path), _) => std::fs::read(path).with_context(|| format!("{} could not be read", path.display()))?,
            (None, Some(sample)) => sample.body().to_string().into_bytes(),
            (None, None) => bail!("name a file, or a --sample"),
        };
        block_on(async {
            let door = Door::need_server(place).await?;
            let shown = door.get(&format!("/api/v1/flows/{}/url", segment(&self.flow))).await?;
            let Door::Server { whereabouts, .. } = &door else { bail!("no server runs") };
            // The listener itself, since the public address may lead here only from outside.
            let url = text(&shown, "url");
            let path = url::Url::parse(&url)?.path().to_owned();
            let mut url = format!("{}://{}{path}", whereabouts.scheme, whereabouts.public);
            if !self.path.is_empty() {
                let slash = if self.path.starts_with('?') { "" } else { "/" };
                url = format!("{url}{slash}{}", self.path.trim_start_matches('/'));
            }
            let method = reqwest::Method::from_bytes(self.method.to_ascii_uppercase().as_bytes())?;
            eprintln!("posting to {}", door.name());
            let mut request = client()?.request(method, url).header("content-type", &self.content_type).body(body);
            for header in &self.headers {
                let Some((name, value)) = header.split_once(':') else {
                    bail!("`{header}` is no header; write `--header 'Name: value'`");
                };
                request = request.header(name.trim(), value.trim());
            }
            let answer = request.send().await?;
            let status = answer.status();
            let run = answer.headers().get("x-run-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
            let text = answer.text().await?;
            match place.json {
                true => {
                    let body: Value = parse_json(text.as_bytes()).unwrap_or(Value::String(text));
                    print_json(&json!({"status": status.as_u16(), "run_id": run, "body": body}))?;
                }
                false => println!("{status}\n{text}"),
            }
            Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    }
}
