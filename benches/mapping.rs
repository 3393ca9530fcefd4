//! What mapping costs: seven fields of a lead, over bodies of 0.6, 4 and 32 KB. Prints microseconds.

use std::hint::black_box;
use std::time::Instant;

use millstream::mapping::{JsonScope, Mapping, parse_json};
use serde_json::{Value, json};

const FIELDS: [&str; 7] = ["FirstName", "LastName", "Email", "Phone", "Country", "Company", "Title"];

fn main() {
    println!("{:>8} {:>12} {:>12} {:>12} {:>12}", "body", "parse body", "7 paths", "other case", "7 + calls");
    for size in [600, 4_000, 32_000] {
        let text = lead(size).to_string();
        let scope = JsonScope::new(json!({"trigger": {"body": parse_json(text.as_bytes()).expect("it is JSON")}}));
        let parse = time(|| drop(black_box(serde_json::from_str::<Value>(&text))));
        let paths = render(&scope, |field| format!("{{{{trigger.body.UserDetails.{field}}}}}"));
        let case = render(&scope, |field| format!("{{{{trigger.body.userDetails.{}}}}}", field.to_lowercase()));
        let calls = render(&scope, |field| format!("Lead: {{{{toUpper (trim trigger.body.UserDetails.{field})}}}}"));
        println!("{:>8} {parse:>12.2} {paths:>12.2} {case:>12.2} {calls:>12.2}", text.len());
    }
    let template = json!({"a": "Lead: {{toUpper (trim trigger.body.UserDetails.Company)}}"});
    println!("compile one template: {:.2}", time(|| drop(black_box(Mapping::parse(&template)))));
}

fn render(scope: &JsonScope, template: impl Fn(&str) -> String) -> f64 {
    let fields: serde_json::Map<_, _> = FIELDS.iter().map(|f| (f.to_lowercase(), template(f).into())).collect();
    let mapping = Mapping::parse(&Value::Object(fields)).expect("it compiles");
    time(|| drop(black_box(mapping.render(scope))))
}

/// A lead whose items fill it up to `size` bytes.
fn lead(size: usize) -> Value {
    let details: serde_json::Map<_, _> =
        FIELDS.iter().map(|f| ((*f).to_owned(), format!("MSFT_TEST_{f}").into())).collect();
    let item =
        json!({"sku": "0123456789", "qty": 3, "price": 12.5, "text": "forty characters of text, more or less.."});
    let count = size.saturating_sub(320) / item.to_string().len();
    json!({"items": vec![item; count], "LeadSource": "AzureMarketplace", "ActionCode": "INS", "OfferTitle": "Offer",
        "Description": "x".repeat(100), "UserDetails": details})
}

/// Median of 15 rounds of 2,000 calls, in microseconds a call.
fn time(mut work: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..15)
        .map(|_| {
            let start = Instant::now();
            (0..2_000).for_each(|_| work());
            start.elapsed().as_secs_f64() * 1e6 / 2_000.0
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
