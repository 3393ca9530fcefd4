//! Mappings: JSON shapes with templates at their leaves.

use serde_json::{Map, Value};

use super::{Error, Finding, Names, ParseError, Scope, Template};
use crate::schema::{Shape, Types};

/// Deepest nesting of a mapping; JSON and YAML parsers stop there too.
const MAX_DEPTH: usize = 128;

/// A JSON shape with templates at its leaves.
///
/// ```
/// use millstream::mapping::{JsonScope, Mapping};
/// let scope = JsonScope::new(serde_json::json!({"trigger": {"body": {"company": "ACME", "seats": 5}}}));
/// let record = Mapping::parse(&serde_json::json!({
///     "subject": "Lead: {{trigger.body.Company}}",
///     "seats": "{{trigger.body.Seats}}",
///     "phone": "{{optional trigger.body.Phone}}",
/// })).unwrap();
/// assert_eq!(record.render(&scope).unwrap(), serde_json::json!({"subject": "Lead: ACME", "seats": 5}));
/// ```
#[derive(Debug, Clone)]
pub struct Mapping {
    root: Node,
}

#[derive(Debug, Clone)]
enum Node {
    /// Holds no template anywhere.
    Literal(Value),
    Leaf(Template),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Mapping {
    /// Compiles every leaf; all errors at once, each with the JSON Pointer of its leaf.
    pub fn parse(json: &Value) -> Result<Mapping, Vec<(String, ParseError)>> {
        let mut errors = Vec::new();
        let root = parse(json, &mut Vec::new(), &mut errors);
        if errors.is_empty() { Ok(Mapping { root }) } else { Err(errors) }
    }

    /// The rendered value. A leaf `{{optional x}}` that finds nothing leaves its key (or item) out.
    pub fn render(&self, scope: &dyn Scope) -> Result<Value, Error> {
        render(&self.root, scope, &mut Vec::new()).map(Option::unwrap_or_default)
    }

    /// Checks names and types of every leaf, each finding with the JSON Pointer of its leaf.
    pub fn check(&self, names: &dyn Names) -> (Shape, Vec<(String, Finding)>) {
        let mut findings = Vec::new();
        let (shape, _) = check(&self.root, names, &mut Vec::new(), &mut findings);
        (shape, findings)
    }

    /// Every template, with the JSON Pointer of its leaf.
    pub fn templates(&self) -> Vec<(String, &Template)> {
        let mut found = Vec::new();
        leaves(&self.root, &mut Vec::new(), &mut found);
        found
    }
}

fn parse(json: &Value, at: &mut Vec<String>, errors: &mut Vec<(String, ParseError)>) -> Node {
    if at.len() > MAX_DEPTH {
        let what = format!("a mapping is nested at most {MAX_DEPTH} deep");
        errors.push((pointer(at), ParseError { code: "E-MAP-002", offset: 0, what, hint: None }));
        return Node::Literal(Value::Null);
    }
    match json {
        Value::String(text) if text.contains("{{") => match Template::parse(text) {
            Ok(template) => Node::Leaf(Template { pointer: pointer(at).into(), ..template }),
            Err(error) => {
                errors.push((pointer(at), error));
                Node::Literal(Value::Null)
            }
        },
        Value::Array(items) => {
            let nodes =
                items.iter().enumerate().map(|(i, item)| below(at, i.to_string(), |at| parse(item, at, errors)));
            let nodes: Vec<Node> = nodes.collect();
            if nodes.iter().all(Node::is_literal) { Node::Literal(json.clone()) } else { Node::List(nodes) }
        }
        Value::Object(map) => {
            let mut nodes = Vec::with_capacity(map.len());
            for (key, value) in map {
                if key.contains("{{") {
                    let what = format!("the key `{key}` holds `{{{{`, but only values can be templates");
                    let hint = Some("build the object in a step of its own and give it as a value".to_owned());
                    errors.push((pointer(at), ParseError { code: "E-MAP-010", offset: 0, what, hint }));
                }
                nodes.push((key.clone(), below(at, key.clone(), |at| parse(value, at, errors))));
            }
            let literal = nodes.iter().all(|(_, node)| node.is_literal());
            if literal { Node::Literal(json.clone()) } else { Node::Object(nodes) }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Node::Literal(json.clone()),
    }
}

impl Node {
    fn is_literal(&self) -> bool {
        matches!(self, Node::Literal(_))
    }
}

/// `at` borrows keys only when rendering, so both owned and borrowed keys come here.
fn below<K, T>(at: &mut Vec<K>, key: K, work: impl FnOnce(&mut Vec<K>) -> T) -> T {
    at.push(key);
    let out = work(at);
    at.pop();
    out
}

/// A key or an index; its text is made only for an error.
#[derive(Clone, Copy)]
enum Place<'a> {
    Key(&'a str),
    Index(usize),
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Key(key) => f.write_str(key),
            Place::Index(i) => i.fmt(f),
        }
    }
}

fn render<'a>(node: &'a Node, scope: &dyn Scope, at: &mut Vec<Place<'a>>) -> Result<Option<Value>, Error> {
    match node {
        Node::Literal(value) => Ok(Some(value.clone())),
        Node::Leaf(template) => template.render(scope),
        Node::List(nodes) => {
            let mut items = Vec::with_capacity(nodes.len());
            for (i, node) in nodes.iter().enumerate() {
                items.extend(below(at, Place::Index(i), |at| render(node, scope, at))?);
            }
            Ok(Some(Value::Array(items)))
        }
        Node::Object(nodes) => {
            let mut map = Map::with_capacity(nodes.len());
            for (key, node) in nodes {
                if let Some(value) = below(at, Place::Key(key), |at| render(node, scope, at))? {
                    map.insert(key.clone(), value);
                }
            }
            Ok(Some(Value::Object(map)))
        }
    }
}

/// The shape of a node, and whether it is there for certain.
fn check<'a>(
    node: &'a Node,
    names: &dyn Names,
    at: &mut Vec<Place<'a>>,
    findings: &mut Vec<(String, Finding)>,
) -> (Shape, bool) {
    match node {
        Node::Literal(value) => (super::check::shape_of(value), true),
        Node::Leaf(template) => {
            let (shape, found) = template.check(names);
            findings.extend(found.into_iter().map(|finding| (pointer(at), finding)));
            let optional = template.is_optional() && shape.types.meets(Types::NULL);
            let mut present = shape.clone();
            present.types = shape.types.without(Types::NULL);
            (if optional { present } else { shape }, !optional)
        }
        Node::List(nodes) => {
            let nodes = nodes.iter().enumerate();
            let items = nodes.map(|(i, node)| below(at, Place::Index(i), |at| check(node, names, at, findings)).0);
            let items = items.reduce(Shape::either).map(Box::new);
            (Shape { items, ..Shape::of(Types::ARRAY) }, true)
        }
        Node::Object(nodes) => {
            let mut shape = Shape { closed: true, ..Shape::of(Types::OBJECT) };
            for (key, node) in nodes {
                let (of, certain) = below(at, Place::Key(key), |at| check(node, names, at, findings));
                shape.properties.insert(key.clone(), of);
                if certain {
                    shape.required.push(key.clone());
                }
            }
            (shape, true)
        }
    }
}

fn leaves<'a>(node: &'a Node, at: &mut Vec<Place<'a>>, found: &mut Vec<(String, &'a Template)>) {
    match node {
        Node::Literal(_) => {}
        Node::Leaf(template) => found.push((pointer(at), template)),
        Node::List(nodes) => {
            for (i, node) in nodes.iter().enumerate() {
                below(at, Place::Index(i), |at| leaves(node, at, found));
            }
        }
        Node::Object(nodes) => {
            for (key, node) in nodes {
                below(at, Place::Key(key), |at| leaves(node, at, found));
            }
        }
    }
}

/// RFC 6901.
fn pointer(at: &[impl ToString]) -> String {
    at.iter().map(|key| format!("/{}", key.to_string().replace('~', "~0").replace('/', "~1"))).collect()
}
