//! Schemas as people send them, and what is known of a value before it exists.

use serde_json::{Value, json};

use super::{Lookup, Schema, Shape, Types};

/// The schema that Microsoft's guide has publishers paste: draft-04, relative ids, nothing required.
fn lead() -> Value {
    let text = |name: &str| json!({"id": format!("/properties/UserDetails/properties/{name}"), "type": "string"});
    json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "definitions": {},
        "id": "http://example.com/example.json",
        "properties": {
            "ActionCode": {"id": "/properties/ActionCode", "type": "string"},
            "UserDetails": {
                "id": "/properties/UserDetails",
                "properties": {"Email": text("Email"), "FirstName": text("FirstName")},
                "type": "object"
            }
        },
        "type": "object"
    })
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn leads_pass_in_both_casings_and_a_wrong_type_is_named_without_its_value() {
    let schema = Schema::compile(&lead()).unwrap();

    let pascal = json!({"ActionCode": "INS", "UserDetails": {"Email": "a@b.c"}, "Description": "extra"});
    let camel = json!({"actionCode": "INS", "userDetails": {"email": "a@b.c"}});
    let wrong = json!({"ActionCode": 5, "UserDetails": {"Email": ["secret@b.c"]}});

    assert_eq!(schema.violations(&pascal), []);
    assert_eq!(schema.violations(&camel), []);
    let text = serde_json::to_string(&schema.violations(&wrong)).unwrap();
    assert_eq!(
        text,
        r#"[{"pointer":"/ActionCode","message":"value is not of type \"string\""},{"pointer":"/UserDetails/Email","message":"value is not of type \"string\""}]"#
    );
}

#[test]
fn nested_relative_ids_do_not_break_references() {
    let mut source = lead();
    source["definitions"] = json!({"text": {"type": "string"}});
    source["properties"]["UserDetails"]["properties"]["Phone"] =
        json!({"id": "/x", "allOf": [{"$ref": "#/definitions/text"}]});
    source["properties"]["UserDetails"]["properties"]["Fax"] = json!({"$ref": "#/definitions/text"});

    let schema = Schema::compile(&source).unwrap();

    for key in ["Phone", "Fax"] {
        let found = schema.violations(&json!({"UserDetails": {key: 1}}));
        assert_eq!(found[0].pointer, format!("/UserDetails/{key}"));
    }
}

#[test]
fn a_property_named_id_keeps_its_schema_and_an_id_that_is_referred_to_stays() {
    let source = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "http://example.com/root.json",
        "definitions": {"item": {"$id": "item.json", "type": "integer"}},
        "properties": {"id": {"type": "string"}, "n": {"$ref": "item.json"}}
    });
    let schema = Schema::compile(&source).unwrap();

    let pointers: Vec<String> = schema.violations(&json!({"id": 1, "n": "x"})).into_iter().map(|v| v.pointer).collect();
    assert_eq!(pointers, ["/id", "/n"]);
}

#[test]
fn nothing_is_fetched() {
    for reference in ["http://127.0.0.1:9/x.json", "file:///etc/passwd", "other.json"] {
        assert!(Schema::compile(&json!({"$ref": reference})).is_err(), "{reference}");
    }
}

#[test]
fn a_bad_schema_says_where_and_why() {
    let error = Schema::compile(&json!({"properties": {"a": {"type": "sting"}}})).unwrap_err();
    assert_eq!(error.pointer, "/properties/a/type");
    assert!(error.what.contains("sting"), "{}", error.what);

    assert!(Schema::compile(&json!(5)).is_err());
    assert!(Schema::compile(&json!({"$schema": "http://example.com/unknown"})).is_err());
    assert!(Schema::compile(&json!({"$schema": "https://json-schema.org/schema", "type": "string"})).is_ok());
}

#[test]
fn patterns_are_linear_and_look_around_is_refused_at_compile_time() {
    let error = Schema::compile(&json!({"pattern": "^(?=a)b"})).unwrap_err();
    assert!(error.what.contains("look-around"), "{}", error.what);

    let schema = Schema::compile(&json!({"pattern": "^(a+)+$"})).unwrap();
    assert_eq!(schema.violations(&json!("a".repeat(50_000) + "b")).len(), 1);
}

#[test]
fn violations_are_few_sorted_and_short() {
    let schema = Schema::compile(&json!({"items": {"type": "string"}, "additionalProperties": false})).unwrap();

    assert_eq!(schema.violations(&json!(vec![1; 500])).len(), 20);
    assert_eq!(schema.violations(&json!(vec![1; 500_000])).len(), 1);
    let long_key = schema.violations(&json!({"k".repeat(100_000): 1}));
    assert!(long_key[0].message.chars().count() <= 301);

    let names = Schema::compile(&json!({"propertyNames": {"maxLength": 3}})).unwrap();
    assert!(!names.violations(&json!({"secret": 1}))[0].message.contains("secret"));
}

#[test]
fn numbers_of_any_size_never_panic() {
    let huge =
        ["1e400", "-1e400", "1e-400", "9007199254740993", "1e999999999", "123456789012345678901234567890", "-0", "1.0"];
    for keyword in ["minimum", "maximum", "multipleOf", "exclusiveMinimum", "const", "maxLength", "minItems"] {
        for limit in huge {
            let Ok(schema) = Schema::compile(&parse(&format!(r#"{{"{keyword}": {limit}}}"#))) else {
                continue;
            };
            for value in huge {
                schema.violations(&parse(value));
                schema.violations(&parse(&format!(r#"["x", {value}]"#)));
            }
        }
    }
    let schema = Schema::compile(&json!({"type": "integer", "maximum": 9007199254740992u64})).unwrap();
    assert_eq!(schema.violations(&parse("9007199254740993")).len(), 1);
    let schema = Schema::compile(&json!({"type": "number", "uniqueItems": true, "enum": [1]})).unwrap();
    assert_eq!(schema.violations(&parse("1e400")).len(), 1);
}

#[test]
fn deep_and_circular_schemas_and_values_end() {
    let mut nested = json!({});
    for _ in 0..100 {
        nested = json!({"properties": {"a": nested}});
    }
    assert!(Schema::compile(&nested).unwrap_err().what.contains("64 levels"));

    let circles = [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
        json!({"not": {"$ref": "#"}}),
        json!({"properties": {"a": {"$ref": "#"}}, "items": {"allOf": [{"oneOf": [{"$ref": "#"}, {"type": "string"}]}]}, "additionalProperties": {"$ref": "#"}}),
    ];
    let mut object = json!(1);
    let mut array = json!(1);
    for _ in 0..126 {
        object = json!({"a": object});
        array = json!([array]);
    }
    for circle in circles {
        let Ok(schema) = Schema::compile(&circle) else { continue };
        schema.violations(&object);
        schema.violations(&array);
        assert!(schema.shape().types.within(Types::ANY));
    }
}

#[test]
fn a_shape_knows_the_lead_in_any_casing() {
    let schema = Schema::compile(&lead()).unwrap();
    let shape = schema.shape();

    assert_eq!(shape.types, Types::OBJECT);
    let Lookup::Known(user) = shape.get("userDetails") else { panic!("userDetails is described") };
    assert!(matches!(user.get("Email"), Lookup::Known(email) if email.types == Types::STRING));
    assert_eq!(shape.get("Description"), Lookup::Open);
    assert_eq!(user.nearest("Emial").as_deref(), Some("Email"));
    let Lookup::Known(email) = user.get("email") else { panic!("email is described") };
    assert_eq!(email.get("x"), Lookup::Absent { nearest: None });
}

#[test]
fn a_closed_shape_knows_what_is_absent_and_keys_alike_but_for_case_are_not_guessed() {
    let shape = Shape::of_schema(&json!({
        "type": "object", "additionalProperties": false, "properties": {"email": {}, "Name": true, "NAME": true}
    }));
    assert_eq!(shape.get("emial"), Lookup::Absent { nearest: Some("email".to_owned()) });
    assert!(matches!(shape.get("Name"), Lookup::Known(_)));
    assert!(matches!(shape.get("name"), Lookup::Absent { .. }));
}

#[test]
fn shapes_merge_what_must_hold_together_and_open_what_may() {
    let shape = Shape::of_schema(&json!({
        "$defs": {"base": {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}},
        "allOf": [{"$ref": "#/$defs/base"}, {"properties": {"a": {"type": "string"}, "b": {"const": 1}}}],
        "anyOf": [{"properties": {"c": {"type": "string"}}, "required": ["c"]}, {"properties": {"c": {"type": "number"}}}]
    }));
    assert_eq!(shape.types, Types::OBJECT);
    assert_eq!(shape.required, ["a"]);
    assert_eq!(shape.properties["a"].types, Types::STRING);
    assert_eq!(shape.properties["b"].values, [json!(1)]);
    assert_eq!(shape.properties["c"].types, Types::STRING.or(Types::NUMBER));
    assert!(!shape.closed);

    let nullable = Shape::of_schema(&json!({"oneOf": [
        {"type": "null"},
        {"type": "object", "properties": {"x": {"enum": ["p", "q"]}}, "additionalProperties": false}
    ]}));
    assert_eq!(nullable.types, Types::NULL.or(Types::OBJECT));
    assert!(nullable.closed);
    assert_eq!(nullable.properties["x"].values, [json!("p"), json!("q")]);

    let list = Shape::of_schema(&json!({"type": "array", "items": {"type": "number"}}));
    assert!(matches!(list.get("0"), Lookup::Known(item) if item.types == Types::NUMBER));
    assert_eq!(list.get("length"), Lookup::Absent { nearest: None });
}

#[test]
fn references_that_multiply_stay_small() {
    let mut definitions = serde_json::Map::new();
    for level in 0..40 {
        let next = format!("#/definitions/d{}", level + 1);
        definitions.insert(format!("d{level}"), json!({"properties": {"l": {"$ref": next}, "r": {"$ref": next}}}));
    }
    definitions.insert("d40".to_owned(), json!({"type": "string"}));
    let shape = Shape::of_schema(&json!({"definitions": definitions, "$ref": "#/definitions/d0"}));
    assert!(matches!(shape.get("l"), Lookup::Known(_)));
}

#[test]
fn long_chains_of_references_end() {
    let mut definitions = serde_json::Map::new();
    for level in 0..5_000 {
        definitions.insert(format!("d{level}"), json!({"$ref": format!("#/definitions/d{}", level + 1)}));
    }
    definitions.insert("d5000".to_owned(), json!({"type": "string"}));
    if let Ok(schema) = Schema::compile(&json!({"definitions": definitions, "$ref": "#/definitions/d0"})) {
        assert_eq!(schema.violations(&json!(1)).len(), 1);
    }
}
