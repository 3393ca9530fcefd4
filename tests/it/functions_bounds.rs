//! No input makes a function take more than bounded time: the worst that is known for each, against a clock.

use std::time::{Duration, Instant};

use millstream::mapping::{JsonScope, Template};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Far above what any takes here (a few seconds, unoptimised, on a busy machine), far below what the unbounded ones would.
const BOUND: Duration = Duration::from_secs(30);

/// What it gives, or the code of its error; fails if it takes too long.
fn outcome(template: &str, vars: Value) -> Result<Value, &'static str> {
    let scope = JsonScope::new(json!({ "vars": vars }));
    let template = Template::parse(template).expect("it compiles");
    let start = Instant::now();
    let result = template.render(&scope);
    assert!(start.elapsed() < BOUND, "{} took {:?}", template.source(), start.elapsed());
    result.map(Option::unwrap_or_default).map_err(|error| error.code)
}

#[test]
fn xml_that_would_cost_its_parser_the_square_is_refused() {
    let attributes: String = (0..200_000).map(|i| format!(" a{i}='1'")).collect();
    let spaces: String = (0..5_000).map(|i| format!(" xmlns:n{i}='u{i}'")).collect();
    let siblings = "<c xmlns:x='y'/>".repeat(50_000);
    let cases = [
        format!("<a{attributes}/>"),
        format!("<a{spaces}>{siblings}</a>"),
        "<a>".repeat(100_000),
        format!("{}{}", "<a>".repeat(101), "</a>".repeat(101)),
        format!("<a>{}</a>", "<b/>".repeat(1_000_001)),
    ];
    for xml in cases {
        assert_eq!(outcome("{{xml vars.x}}", json!({ "x": xml })), Err("mapping.value"));
        assert_eq!(outcome("{{json vars.x}}", json!({ "x": xml })), Err("mapping.value"));
    }
    let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
    assert!(outcome("{{json vars.x}}", json!({ "x": deep })).is_ok());
}

#[test]
fn an_xpath_that_multiplies_the_nodes_stops_by_itself() {
    let xml = format!("<a>{}</a>", "<b><c>1</c></b>".repeat(10_000));
    let text = format!("<a>{}</a>", "x".repeat(1_000_000));
    let cases = [
        ("//*[//*[//*]]", &xml),
        ("//*[count(//*) > 1]", &xml),
        ("count(//b[. = //c])", &xml),
        ("//*[string(/) = 'x']", &xml),
        (
            "concat(/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/,/)",
            &text,
        ),
    ];
    for (path, xml) in cases {
        let found = outcome("{{xpath vars.x vars.p}}", json!({ "x": xml, "p": path }));
        assert_eq!(found, Err("mapping.value"), "{path}");
    }
    let brackets = format!("{}1{}", "(".repeat(2000), ")".repeat(2000));
    let signs = format!("{}1", "-".repeat(4000));
    let chain = format!("1{}", "+1".repeat(2000));
    for path in [brackets, signs, chain, "/a".repeat(3000)] {
        assert_eq!(outcome("{{xpath vars.x vars.p}}", json!({ "x": "<a/>", "p": path })), Err("mapping.value"));
    }
}

#[test]
fn a_format_or_number_can_not_ask_for_endless_digits() {
    for format in ["N999999999", "D999999999", "X999999999", "E999999999", "F1000001"] {
        assert_eq!(outcome("{{formatNumber 1 vars.f}}", json!({ "f": format })), Err("mapping.too_large"), "{format}");
    }
    let wide = "0,".repeat(100_000) + "0";
    assert!(outcome("{{formatNumber 1 vars.f}}", json!({ "f": wide })).is_ok());
    let long = "y".repeat(100_000);
    assert!(outcome(r#"{{formatDateTime "2024-01-01" vars.f}}"#, json!({ "f": long })).is_ok());
    let months = "MMMM dddd ".repeat(1_000_000);
    assert_eq!(outcome(r#"{{formatDateTime "2024-01-01" vars.f}}"#, json!({ "f": months })), Err("mapping.too_large"));
    let digits = "9".repeat(1_000_000);
    for template in ["{{float vars.x}}", "{{decimal vars.x}}", "{{formatDateTime vars.x}}", "{{dayOfWeek vars.x}}"] {
        assert_eq!(outcome(template, json!({ "x": digits })), Err("mapping.value"), "{template}");
    }
    assert_eq!(outcome("{{isFloat vars.x}}", json!({ "x": digits })), Ok(json!(false)));
}

#[test]
fn a_jsonpath_stays_bounded_on_large_bodies() {
    let items: Vec<Value> = (0..10_000).map(|i| json!({"a": {"a": i, "b": [i]}})).collect();
    let body = json!({ "items": items });
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!({"a": deep, "b": [1, 2, 3]});
    }
    for path in
        ["$..a..a", "$..[?@..a]", "$..*..*", "$..[?count(@..*) > 1]", "$..[?@.a == $.items]", "$..[*,*,*,*][*,*]"]
    {
        // Found or refused: both within the bound.
        for value in [&body, &deep] {
            let _ = outcome(&format!("{{{{jsonpath \"{path}\" vars.x}}}}"), json!({ "x": value }));
        }
    }
}

#[test]
fn a_jsonpath_with_patterns_or_the_root_in_its_filter_stays_bounded() {
    let items: Vec<Value> = (0..30_000).map(|i| json!({"a": format!("a{i}"), "re": "((a{100}){100}){10}"})).collect();
    let body = json!({"items": items, "re": "((a{100}){100}){10}", "text": "x".repeat(4_000_000), "max": 5});
    let refused = [
        "$.items[?match(@.a, @.re)]",
        "$.items[?search(@.a, $.re)]",
        "$.items[?match(@.a, '((a{100}){100}){10}')]",
        "$.items[?match($.text, 'x')]",
        "$.items[?length($.text) > 1]",
        "$.items[?@.a == $.items]",
    ];
    for path in refused {
        let template = format!("{{{{jsonpath \"{path}\" vars.x}}}}");
        assert_eq!(outcome(&template, json!({ "x": body })), Err("mapping.too_large"), "{path}");
    }
    let found = |path: &str, n: usize| {
        let list: Vec<Value> = (0..n).map(|i| json!({"a": format!("a{i}"), "n": i})).collect();
        let template = format!("{{{{length (jsonpath \"{path}\" vars.x)}}}}");
        outcome(&template, json!({"x": {"items": list, "max": 5}}))
    };
    assert_eq!(found("$.items[?match(@.a, 'a1.*')]", 1000), Ok(json!(111)));
    assert_eq!(found("$.items[?@.n < $.max]", 10_000), Ok(json!(5)));
    assert_eq!(found("$.items[?search(@.a, '[0-9]{3}')]", 1000), Ok(json!(900)));
}

/// Templates with one argument from outside each; it stands in `vars.x`.
const OPEN: [&str; 22] = [
    "{{formatDateTime vars.x vars.y vars.z}}",
    r#"{{formatDateTime "2024-02-29T13:14:15.1234567Z" vars.x vars.y}}"#,
    "{{parseDateTime vars.x vars.y vars.z}}",
    r#"{{parseDateTime vars.x "en-US" vars.y}}"#,
    "{{parseDateTime vars.x vars.y}}",
    r#"{{formatTimeSpan vars.x "g"}}"#,
    r#"{{formatTimeSpan "-10675199.02:48:05.4775807" vars.x}}"#,
    r#"{{addDays "2024-02-29" vars.n vars.x}}"#,
    r#"{{addToTime "2024-02-29" vars.n vars.x}}"#,
    r#"{{addToTime vars.x vars.n "Month"}}"#,
    r#"{{subtractFromTime "2024-02-29T00:00:00Z" vars.n "Year"}}"#,
    "{{convertTimeZone vars.x vars.y vars.z}}",
    r#"{{convertToUtc "2024-03-31T02:30:00" vars.x}}"#,
    "{{formatNumber vars.n vars.x}}",
    "{{formatNumber vars.m vars.x vars.y}}",
    "{{float vars.x vars.y}}",
    "{{decimal vars.x}}",
    "{{xml vars.x}}",
    "{{json vars.x}}",
    "{{xpath vars.x vars.y}}",
    r#"{{xpath "<a b='1'>x<c/></a>" vars.x}}"#,
    "{{xml vars.o}}",
];

/// Text that looks like what a function reads, so that it comes further than to the first refusal.
fn likely() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,40}",
        "[dfFghHKmMstyz:/%'\"\\\\ .,-]{1,20}",
        "[CDEFGNPRXBcdexq][0-9]{0,4}",
        "[0#.,;%‰eE+'\"\\\\ x-]{1,24}",
        "[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}[T ]?[0-9:.]{0,12}(Z|[+-][0-9:]{1,5})?",
        "(de-DE|fr|ja|ko|Pacific Standard Time|Europe/Berlin|UTC|Day|month)",
        "<[a-c]{1,2}( [a-c]=['\"][a-c&]{0,3}['\"])?>[a-c<>&; ]{0,10}</?[a-c]{0,2}>",
        "(//|/)?(@|\\.\\.|[a-c*]|text\\(\\)|ancestor::\\*)(/|//|\\[|\\]|\\||=|\\+|and|[0-9]){0,6}",
        "[-]?[0-9]{0,8}[.:]?[0-9]{1,2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,8})?",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_text_or_number_brings_a_function_down(x in likely(), y in likely(), z in likely(), n in any::<i64>(), m in any::<f64>()) {
        let vars = json!({"x": x, "y": y, "z": z, "n": n, "m": m, "o": {x.clone(): {y.clone(): z.clone(), "#text": [n]}}});
        for template in OPEN {
            let _ = outcome(template, vars.clone());
        }
    }
}
