//! `data`: tables, XML and JSON lines, both ways; and a flow test that needs no mock for them.

use millstream::connector::{Connectors, Failure};
use serde_json::{Value, json};

use crate::app::App;
use crate::remote::{outbound, perform, verdict};

async fn run(action: &str, input: Value) -> Result<Value, Failure> {
    perform(&outbound(), &Connectors::shipped(), &format!("data.{action}"), None, input).await
}

#[tokio::test]
async fn a_table_comes_back_as_it_was() {
    let rows = json!([{"name": "O'Brien; & \"Sons\"", "note": "two\nlines", "size": "7"}, {"name": "Grüße", "note": null, "size": ""}]);
    for options in [
        json!({}),
        json!({"delimiter": ";", "quote": "'"}),
        json!({"delimiter": "\t", "line_end": "\n", "quote_all": true}),
    ] {
        let mut made = options.clone();
        made["rows"] = rows.clone();
        let text = run("make_csv", made).await.unwrap()["text"].take();
        let mut read = options;
        read.as_object_mut().unwrap().retain(|key, _| key == "delimiter" || key == "quote");
        read["text"] = text;
        let back = run("parse_csv", read).await.unwrap();
        assert_eq!(back["columns"], json!(["name", "note", "size"]));
        assert_eq!((&back["rows"][0], &back["rows"][1]["name"]), (&rows[0], &rows[1]["name"]));
    }
}

#[tokio::test]
async fn csv_is_read_and_written_as_the_options_say() {
    let read = async |input: Value| run("parse_csv", input).await.map(|mut output| output["rows"].take());
    assert_eq!(read(json!({"text": "\u{feff}a,b\r\n1\r\n"})).await.unwrap(), json!([{"a": "1", "b": null}]));
    assert_eq!(
        read(json!({"text": "1, 2\n", "header": false, "columns": ["x", "y"], "trim": true})).await.unwrap(),
        json!([{"x": "1", "y": "2"}])
    );
    assert_eq!(read(json!({"text": "a\n1", "columns": ["x"]})).await.unwrap(), json!([{"x": "1"}]));
    assert_eq!(read(json!({"text": ""})).await.unwrap(), json!([]));
    for wrong in [
        json!({"text": "a,a\n1,2"}),
        json!({"text": "a\n1,2"}),
        json!({"text": "1", "header": false}),
        json!({"text": "a", "delimiter": "ü"}),
        json!({"text": "a", "delimiter": "\n"}),
    ] {
        assert_eq!(verdict(&read(wrong.clone()).await), "Permanent data.input", "{wrong}");
    }
    let made = async |input: Value| run("make_csv", input).await.unwrap()["text"].take();
    assert_eq!(made(json!({"rows": [{"a": 1, "b": [1]}, {"c": true}]})).await, "a,b,c\r\n1,[1],\r\n,,true\r\n");
    assert_eq!(made(json!({"rows": [[1, null], ["x"]], "line_end": "\n"})).await, "1,\nx\n");
    assert_eq!(made(json!({"rows": [{"a": 1, "b": 2}], "columns": ["b"], "header": false})).await, "2\r\n");
    let formulas = json!({"rows": [["=1+1", "-5", "@x", "plain"]], "safe_for_spreadsheets": true});
    assert_eq!(made(formulas).await, "'=1+1,-5,'@x,plain\r\n");
}

#[tokio::test]
async fn xml_and_json_lines_keep_what_they_hold() {
    let value = json!({"order": {"@id": "1", "line": [{"sku": "A & B"}, {"sku": "<C>"}]}});
    let text = run("make_xml", json!({"value": value})).await.unwrap()["text"].take();
    assert_eq!(text, "<order id=\"1\"><line><sku>A &amp; B</sku></line><line><sku>&lt;C&gt;</sku></line></order>");
    assert_eq!(run("parse_xml", json!({"text": text})).await.unwrap()["value"], value);
    for wrong in ["<a>", "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>", "{}"] {
        assert_eq!(verdict(&run("parse_xml", json!({"text": wrong})).await), "Permanent data.input", "{wrong}");
    }
    assert_eq!(verdict(&run("make_xml", json!({"value": {"a": 1, "b": 2}})).await), "Permanent data.input");
    let lines = run("parse_json_lines", json!({"text": "{\"a\":9007199254740993}\r\n\r\n[1e400]\n"})).await.unwrap();
    assert_eq!(lines["rows"].to_string(), r#"[{"a":9007199254740993},[1e400]]"#);
    let wrong = run("parse_json_lines", json!({"text": "1\n{"})).await;
    assert!(wrong.unwrap_err().message.starts_with("line 2 "));
    let made = run("make_json_lines", json!({"rows": [{"a": 1}, "x\ny"]})).await.unwrap();
    assert_eq!(made["text"], "{\"a\":1}\n\"x\\ny\"\n");
}

#[tokio::test]
async fn an_output_is_bounded_as_every_other() {
    let rows: Vec<Value> = (0..3000).map(|_| json!({"a": "x".repeat(1000)})).collect();
    assert_eq!(verdict(&run("make_csv", json!({"rows": rows})).await), "Permanent outbound.response_too_large");
    assert_eq!(verdict(&run("make_json_lines", json!({"rows": rows})).await), "Permanent outbound.response_too_large");
    let text = format!("{}\n{}", "column".repeat(100), "1\n".repeat(20_000));
    assert_eq!(verdict(&run("parse_csv", json!({"text": text})).await), "Permanent outbound.response_too_large");
}

#[test]
fn a_flow_test_needs_no_mock_for_what_follows_from_its_inputs() {
    let flow = "id: table\ntrigger: {type: request}\nsteps:\n  - id: rows\n    action: data.parse_csv\n    with: {text: \"{{trigger.body.csv}}\"}\n  \
                - id: answer\n    response: {body: \"{{steps.rows.output.rows}}\"}\n";
    let test = "flow: table\ncases:\n  - name: rows\n    request: {body: {csv: \"a,b\\n1,2\"}}\n    \
                expect: {status: succeeded, response: {body: [{a: \"1\", b: \"2\"}]}}\n";
    let app = App::idle(&[("flows/table.yaml", flow), ("tests/table.test.yaml", test)]);
    let output = app.cli(&["test"]);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
