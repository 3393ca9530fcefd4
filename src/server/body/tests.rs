//! Bodies in bounds: what is read, what is refused, and with which code.

use axum::http::HeaderName;
use axum::response::IntoResponse as _;
use serde_json::json;

use super::*;

fn reader(max_bytes: usize) -> Reader {
    Reader::new(&Limits { body_bytes: max_bytes, ..Limits::default() })
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

async fn read(content_type: &str, body: impl Into<Incoming>) -> Result<Value, (Code, bool)> {
    let headers = headers(&[("content-type", content_type)]);
    match reader(1_000).read(&headers, body.into()).await {
        Ok(taken) => Ok((**taken.body.value()).clone()),
        Err(refused) => Err((refused.problem.code, refused.kept.is_some())),
    }
}

fn parse(text: impl Into<Vec<u8>>) -> Result<(String, Value), (Code, String)> {
    match json(text.into(), DEEPEST) {
        Ok(body) => Ok((body.text().to_owned(), (**body.value()).clone())),
        Err(refused) => Err((refused.problem.code, refused.problem.detail.to_string())),
    }
}

#[test]
fn json_keeps_its_text_and_every_digit() {
    for text in ["9007199254740993", "1e400", "0.1000000000000000055", r#"{"a":1,"b":[null,"é{{secrets.x}}"]}"#] {
        let (kept, value) = parse(text).unwrap();
        assert_eq!(kept, text);
        assert_eq!(value.to_string(), text);
    }
    assert_eq!(parse("").unwrap().1, Value::Null);
    assert_eq!(parse(" \n").unwrap().0, "null");
    assert_eq!(parse("null").unwrap().1, Value::Null);
    assert_eq!(parse(b"\xEF\xBB\xBF{}".to_vec()).unwrap().0, "{}");
    assert_eq!(parse(r#"{"a":1,"a":2}"#).unwrap().1, json!({"a": 2}));
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    for text in ["{", "{}{}", "NaN", "'a'", "{\"a\":1,}", r#""\ud800""#, r#""\udc00x""#, "[1] x", "\"a\nb\""] {
        let (code, detail) = parse(text).unwrap_err();
        assert_eq!(code, Code::NotJson, "{text}");
        assert!(detail.contains("line ") && detail.contains("column "), "{text}: {detail}");
    }
    let (_, detail) = parse(b"{\n \"\xC3\xA9\xFF\"}".to_vec()).unwrap_err();
    assert_eq!(detail, "The body is not UTF-8 at line 2 column 4.");
}

#[test]
fn depth_is_bounded_and_a_million_levels_do_not_end_the_process() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(parse(nested(127)).is_ok());
    assert_eq!(parse(nested(128)).unwrap_err().0, Code::TooDeep);
    assert_eq!(parse(nested(1_000_000)).unwrap_err().0, Code::TooDeep);
    assert_eq!(parse(r#"{"a":"#.repeat(1_000_000)).unwrap_err().0, Code::TooDeep);
    assert!(json(nested(3).into(), 3).is_ok());
    assert!(json(nested(4).into(), 3).is_err());
}

#[test]
fn keys_that_the_parser_uses_itself_do_not_smuggle_depth() {
    let inner = "[".repeat(120) + &"]".repeat(120);
    let outer = "[".repeat(100) + &json!({"$serde_json::private::RawValue": inner}).to_string() + &"]".repeat(100);
    assert!(parse(outer).is_err());
}

#[tokio::test]
async fn content_types_say_how_a_body_is_read() {
    for json_type in [
        "application/json",
        "application/json; charset=utf-8",
        "text/plain",
        "application/octet-stream",
        "application/cloudevents+json",
        "Application/JSON",
        "",
    ] {
        assert_eq!(read(json_type, r#"{"a":1}"#).await, Ok(json!({"a": 1})), "{json_type}");
    }
    for other in ["application/xml", "text/html", "image/png", "multipart/form-data", "nonsense"] {
        assert_eq!(read(other, "{}").await, Err((Code::UnsupportedMediaType, true)), "{other}");
    }
    let none = reader(10).read(&HeaderMap::new(), Incoming::from("[1]")).await.unwrap();
    assert_eq!(none.body.text(), "[1]");
}

#[tokio::test]
async fn forms_become_fields_and_file_names_stay_data() {
    assert_eq!(
        read("application/x-www-form-urlencoded", "a=1&b=x+y%26&a=2&a=3").await,
        Ok(json!({"a": ["1", "2", "3"], "b": "x y&"}))
    );
    let body = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nO'Brien & Sons\r\n--B\r\nContent-Disposition: form-data; \
                name=\"f\"; filename=\"../../etc/x\"\r\nContent-Type: text/csv\r\n\r\nhi\r\n--B--\r\n";
    assert_eq!(
        read("multipart/form-data; boundary=B", body).await,
        Ok(json!({
            "a": "O'Brien & Sons",
            "f": {"filename": "../../etc/x", "content_type": "text/csv", "content": "aGk="}
        }))
    );
    assert_eq!(read("multipart/form-data; boundary=B", "--B\r\nbroken").await, Err((Code::BadForm, true)));
    assert_eq!(
        read("application/x-www-form-urlencoded", "&a".repeat(400) + &"&b=1".repeat(10)).await.map(|_| ()),
        Ok(())
    );
}

#[tokio::test]
async fn forms_have_a_bound_on_fields() {
    let many = "a&".repeat(1_001);
    let headers = headers(&[("content-type", "application/x-www-form-urlencoded")]);
    let refused = reader(10_000).read(&headers, Incoming::from(many)).await.unwrap_err();
    assert_eq!(refused.problem.code, Code::BadForm);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_length_and_while_it_comes() {
    let declared = headers(&[("content-length", "1001")]);
    let refused = reader(1_000).read(&declared, Incoming::empty()).await.unwrap_err();
    assert_eq!(refused.problem.code, Code::BodyTooLarge);

    assert_eq!(read("", vec![b' '; 1_000]).await, Ok(Value::Null));
    assert_eq!(read("", vec![b' '; 1_001]).await, Err((Code::BodyTooLarge, false)));
}

#[tokio::test]
async fn compressed_bodies_are_refused() {
    let refused = reader(9).read(&headers(&[("content-encoding", "gzip")]), Incoming::empty()).await.unwrap_err();
    assert_eq!(refused.problem.code, Code::UnsupportedEncoding);
    assert!(reader(9).read(&headers(&[("content-encoding", "identity")]), Incoming::empty()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_refused_in_time() {
    let start = Instant::now();
    let never = silent();
    let refused = reader(1_000).read(&HeaderMap::new(), never).await.unwrap_err();
    assert_eq!(refused.problem.code, Code::RequestTimeout);
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

/// A body of which nothing ever comes.
fn silent() -> Incoming {
    struct Never;
    impl axum::body::HttpBody for Never {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }
    Incoming::new(Never)
}

#[tokio::test]
async fn bodies_in_flight_share_a_budget() {
    let reader = reader(usize::MAX);
    let all = reader.budget.clone().try_acquire_many_owned(IN_FLIGHT_KIB as u32 - 1).unwrap();
    let large = || Incoming::from(vec![b' '; 10 * 1024]);
    let refused = reader.read(&HeaderMap::new(), large()).await.unwrap_err();
    assert_eq!(refused.problem.code, Code::Busy);

    drop(all);
    let taken = reader.read(&HeaderMap::new(), large()).await.unwrap();
    assert_eq!(reader.budget.available_permits(), IN_FLIGHT_KIB - 10 * TIMES);
    drop(taken);
    assert_eq!(reader.budget.available_permits(), IN_FLIGHT_KIB);
}

#[tokio::test]
async fn requests_being_read_are_bounded_and_the_next_is_told_to_come_again() {
    let reader = Reader::new(&Limits { connections: 2, ..Limits::default() });
    let none = HeaderMap::new();
    let first = reader.collect(&none, Incoming::from("{}")).await.unwrap();
    let second = reader.read(&none, Incoming::from("{}")).await.unwrap();
    let refused = reader.collect(&none, Incoming::from("{}")).await.err().unwrap();
    assert_eq!(refused.code, Code::Busy);
    assert_eq!(refused.into_response().headers()["retry-after"], "1");
    drop(first);
    assert!(reader.collect(&none, Incoming::from("{}")).await.is_ok());
    drop(second);
    assert_eq!(reader.requests.available_permits(), 2);
}

#[tokio::test]
async fn what_values_take_counts_and_a_body_that_can_never_fit_is_refused() {
    let reader = reader(10 * 1024 * 1024);
    let list = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
    let taken = reader.read(&headers(&[]), list(100_000).into()).await.unwrap();
    assert!(reader.budget.available_permits() < IN_FLIGHT_KIB - 100_000 * size_of::<Value>() / 1024);
    drop(taken);
    assert_eq!(reader.budget.available_permits(), IN_FLIGHT_KIB);
    let refused = reader.read(&headers(&[]), list(4_000_000).into()).await.unwrap_err();
    assert_eq!(refused.problem.code, Code::BodyTooLarge);
    assert_eq!(reader.budget.available_permits(), IN_FLIGHT_KIB);
    // Marks within text are no values.
    assert_eq!(weight(br#"["[{,:\\\",["]"#), 400);
}
