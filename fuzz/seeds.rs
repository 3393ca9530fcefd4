//! What fuzzing begins with: the repository's own files and samples, and all that was ever found.

use std::fs;
use std::path::{Path, PathBuf};

use millstream::mapping::functions;
use serde_json::Value;

use super::targets;

/// The first inputs of a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let root = root();
    let mut seeds = match target {
        "flow" => files(&root, &["flows", "examples", "tests/check", "tests/check_good"], "yaml"),
        "connector" => files(&root, &["connectors", "examples", "tests/check", "tests/check_good"], "yaml"),
        "template" => templates(&root),
        "body" => bodies(&root),
        "schema" => schemas(&root),
        "record" => targets::PINNED.iter().map(|flow| targets::play(flow).join(&b'\n')).collect(),
        "cron" => texts(&[
            "0 2 * * MON-FRI\n1790000000",
            "*/15 8-18/2 1,15 JAN-MAR,12 0,7\n-1",
            "@yearly\n253402300799",
            "0 0 29 2 *\n0",
            "59 23 31 12 *",
            "30 2 * * *\n1774746000",
        ]),
        "jsonpath" => texts(&[
            "$.items[?@.qty > 1].sku",
            "$..a..a..*",
            "$.items[-1:0:-1]['sku','qty']",
            "$[?length(@.Name) >= 3 && !(@.n == 1 || match(@.at, '^2.*'))]",
            "$.nested.a[0][0]",
        ]),
        other => panic!("no target {other}"),
    };
    for file in paths(&root.join("fuzz/found").join(target)) {
        seeds.push(fs::read(file).expect("a file that was listed can be read"));
    }
    seeds
}

/// The repository, from here or from `fuzz/`.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().find(|folder| folder.join("ARCHITECTURE.md").exists());
    found.expect("the sources are in the repository").to_owned()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// All files below a folder, in order; none if there is no such folder.
fn paths(folder: &Path) -> Vec<PathBuf> {
    let mut open = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Files of this kind, none longer than 16 KB.
fn files(root: &Path, folders: &[&str], extension: &str) -> Vec<Vec<u8>> {
    let paths = folders.iter().flat_map(|folder| paths(&root.join(folder)));
    let paths = paths.filter(|path| path.extension().is_some_and(|own| own == extension));
    let texts = paths.filter_map(|path| fs::read(path).ok());
    texts.filter(|text| text.len() <= 16 * 1024).collect()
}

/// What stands between braces in the repository's files, and the example of each function.
fn templates(root: &Path) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> =
        functions::all().map(|function| function.example.template.as_bytes().to_vec()).collect();
    for text in files(root, &["flows", "examples", "tests/check_good", "connectors"], "yaml") {
        for line in String::from_utf8_lossy(&text).lines() {
            if let (Some(start), Some(end)) = (line.find("{{"), line.rfind("}}"))
                && start < end
            {
                found.push(line.as_bytes()[start..end + 2].to_vec());
            }
        }
    }
    found.extend(texts(&[
        "{{#if vars.v}}a{{else}}b{{/if}}",
        "{{#each trigger.body.items}}{{@index}}{{this.sku}},{{/each}}",
    ]));
    found.sort();
    found.dedup();
    found
}

fn bodies(root: &Path) -> Vec<Vec<u8>> {
    let part = "--B\r\nContent-Disposition: form-data; name=\"a\"; filename=\"../x\"\r\nContent-Type: text/plain\r\n\r\nhi\r\n--B--\r\n";
    let mut found = texts(&[
        "application/x-www-form-urlencoded\na=1&b=%C3%A4&a=2&c[0]=+",
        "application/json; charset=utf-8\n{\"a\": [1e400, 0.1000000000000000055, \"\\ud800\", {\"a\": null, \"a\": 1}]}",
        "text/plain\n\u{feff} 9007199254740993",
        "application/octet-stream\n",
        "\n[[[[[[[[{\"$serde_json::private::Number\": \"1\"}]]]]]]]]",
        "application/ld+json\n{\"$serde_json::private::RawValue\": \"{}\"}",
    ]);
    found.push(format!("multipart/form-data; boundary=B\n{part}").into_bytes());
    for text in files(root, &["examples", "tests/it"], "json") {
        found.push([b"application/json\n", &text[..]].concat());
    }
    found
}

fn schemas(root: &Path) -> Vec<Vec<u8>> {
    let mut found = texts(&[
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":[\"string\",\"null\"],\"maxLength\":3}},\"required\":[\"a\"],\"additionalProperties\":false}\n{\"a\":\"long\",\"b\":1}",
        "{\"$defs\":{\"t\":{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/t\"}}]}},\"$ref\":\"#/$defs/t\"}\n[[null],[]]",
        "{\"$schema\":\"http://json-schema.org/draft-04/schema#\",\"id\":\"x\",\"minimum\":1,\"exclusiveMinimum\":true,\"multipleOf\":0.01}\n1",
        "{\"patternProperties\":{\"^(a+)+$\":{\"format\":\"date-time\"}},\"dependentSchemas\":{\"a\":{\"not\":{}}},\"unevaluatedProperties\":false}\n{\"aaaaaaaa\":\"x\"}",
        "{\"if\":{\"const\":1},\"then\":{\"enum\":[1,2]},\"else\":{\"contains\":{\"type\":\"number\"},\"minContains\":2,\"uniqueItems\":true}}\n[1,1]",
    ]);
    let all = files(root, &["examples", "flows", "tests/check_good", "tests/it"], "json").into_iter();
    for text in all.filter_map(|text| serde_json::from_slice::<Value>(&text).ok()) {
        if text.get("$schema").is_some() || text.get("properties").is_some() {
            found.push(format!("{text}\n{{\"UserDetails\":{{\"FirstName\":1}}}}").into_bytes());
        }
    }
    found
}
