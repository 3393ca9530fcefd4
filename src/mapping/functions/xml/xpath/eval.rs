//! Evaluates an XPath expression; each node looked at and each stretch of text made is counted.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use roxmltree::{Document, Node};

use super::parse::{Axis, Expr, Operator, Path, Start, Step, Test};
use super::value::{Item, Value, in_order, number};

/// Most steps of one evaluation: a node visited, or sixteen bytes of text made.
const MAX_STEPS: usize = 4_000_000;

pub(super) struct Eval<'d, 'i> {
    pub document: &'d Document<'i>,
    steps: Cell<usize>,
    /// Prefixes that were looked up.
    prefixes: RefCell<HashMap<String, &'d str>>,
}

/// The node that an expression is evaluated at, its place among its like, and how many these are.
#[derive(Clone, Copy)]
pub(super) struct Context<'d, 'i> {
    pub item: Item<'d, 'i>,
    pub position: usize,
    pub size: usize,
}

type Outcome<'d, 'i> = Result<Value<'d, 'i>, String>;

/// The value, and how many steps it took.
pub(super) fn evaluate<'d, 'i>(expr: &Expr, document: &'d Document<'i>) -> Result<(Value<'d, 'i>, usize), String> {
    let context = Context { item: Item::Node(document.root()), position: 1, size: 1 };
    let eval = Eval { document, steps: Cell::new(0), prefixes: RefCell::default() };
    let value = eval.expr(expr, context)?;
    Ok((value, eval.steps.get()))
}

impl<'d, 'i> Eval<'d, 'i> {
    pub fn spend(&self, steps: usize) -> Result<(), String> {
        self.steps.set(self.steps.get().saturating_add(steps));
        if self.steps.get() <= MAX_STEPS {
            return Ok(());
        }
        Err("is an XPath that has too much to do on this document".to_owned())
    }

    /// The text of `value`, paid for.
    pub fn text(&self, value: &Value<'d, 'i>) -> Result<String, String> {
        match value {
            Value::Nodes(items) => items.first().map_or(Ok(String::new()), |item| self.item_text(item)),
            Value::Text(text) => {
                self.spend(text.len() / 16 + 1)?;
                Ok(text.clone())
            }
            other => Ok(other.text()),
        }
    }

    pub fn item_text(&self, item: &Item<'d, 'i>) -> Result<String, String> {
        if let Item::Node(node) = item {
            // More than its texts, but known without walking them.
            self.spend(node.range().len() / 16)?;
        }
        let text = item.text();
        self.spend(text.len() / 16 + 1)?;
        Ok(text)
    }

    pub fn number(&self, value: &Value<'d, 'i>) -> Result<f64, String> {
        match value {
            Value::Nodes(_) | Value::Text(_) => Ok(number(&self.text(value)?)),
            other => Ok(other.number()),
        }
    }

    fn expr(&self, expr: &Expr, context: Context<'d, 'i>) -> Outcome<'d, 'i> {
        self.spend(1)?;
        Ok(match expr {
            Expr::Text(text) => Value::Text(text.clone()),
            Expr::Number(value) => Value::Number(*value),
            Expr::Negative(inner) => Value::Number(-self.number(&self.expr(inner, context)?)?),
            Expr::Binary(operator, left, right) => self.binary(*operator, left, right, context)?,
            Expr::Path(path) => Value::Nodes(self.path(path, context)?),
            Expr::Call(function, args) => {
                let args = args.iter().map(|arg| self.expr(arg, context)).collect::<Result<Vec<_>, _>>()?;
                (function.run)(self, context, &args)?
            }
        })
    }

    fn binary(&self, operator: Operator, left: &Expr, right: &Expr, context: Context<'d, 'i>) -> Outcome<'d, 'i> {
        let left = self.expr(left, context)?;
        match operator {
            Operator::Or if left.holds() => return Ok(Value::Bool(true)),
            Operator::And if !left.holds() => return Ok(Value::Bool(false)),
            _ => {}
        }
        let right = self.expr(right, context)?;
        let numbers = || Ok::<_, String>((self.number(&left)?, self.number(&right)?));
        let number = |apply: fn(f64, f64) -> f64| numbers().map(|(a, b)| Value::Number(apply(a, b)));
        match operator {
            Operator::Or | Operator::And => Ok(Value::Bool(right.holds())),
            Operator::Add => number(|a, b| a + b),
            Operator::Sub => number(|a, b| a - b),
            Operator::Mul => number(|a, b| a * b),
            Operator::Div => number(|a, b| a / b),
            Operator::Mod => number(|a, b| a % b),
            Operator::Union => match (left, right) {
                (Value::Nodes(mut a), Value::Nodes(b)) => {
                    self.spend(a.len() + b.len())?;
                    a.extend(b);
                    Ok(Value::Nodes(in_order(a)))
                }
                _ => Err("is an XPath with `|` between what are no nodes".to_owned()),
            },
            Operator::Equal
            | Operator::Unequal
            | Operator::Less
            | Operator::LessEqual
            | Operator::Greater
            | Operator::GreaterEqual => self.compare(operator, &left, &right).map(Value::Bool),
        }
    }

    /// A comparison holds if it does for any of the nodes (3.4).
    fn compare(&self, operator: Operator, left: &Value<'d, 'i>, right: &Value<'d, 'i>) -> Result<bool, String> {
        let texts = |items: &[Item<'d, 'i>]| {
            items.iter().map(|item| self.item_text(item).map(Value::Text)).collect::<Result<Vec<_>, _>>()
        };
        match (left, right) {
            (Value::Nodes(_), Value::Bool(_)) | (Value::Bool(_), Value::Nodes(_)) => {
                self.compare_one(operator, &Value::Bool(left.holds()), &Value::Bool(right.holds()))
            }
            (Value::Nodes(a), Value::Nodes(b)) => {
                let (a, b) = (texts(a)?, texts(b)?);
                for left in &a {
                    for right in &b {
                        if self.compare_one(operator, left, right)? {
                            return Ok(true);
                        }
                    }
                }
                Ok(false)
            }
            (Value::Nodes(items), other) => {
                for left in texts(items)? {
                    if self.compare_one(operator, &left, other)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (other, Value::Nodes(items)) => {
                for right in texts(items)? {
                    if self.compare_one(operator, other, &right)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            _ => self.compare_one(operator, left, right),
        }
    }

    #[expect(clippy::float_cmp, reason = "XPath compares numbers exactly")]
    fn compare_one(&self, operator: Operator, left: &Value<'d, 'i>, right: &Value<'d, 'i>) -> Result<bool, String> {
        self.spend(1)?;
        if matches!(operator, Operator::Equal | Operator::Unequal) {
            let equal = match (left, right) {
                (Value::Bool(_), _) | (_, Value::Bool(_)) => left.holds() == right.holds(),
                (Value::Number(_), _) | (_, Value::Number(_)) => self.number(left)? == self.number(right)?,
                (Value::Text(a), Value::Text(b)) => {
                    self.spend(a.len().min(b.len()) / 16)?;
                    a == b
                }
                _ => false,
            };
            return Ok(equal == (operator == Operator::Equal));
        }
        let (a, b) = (self.number(left)?, self.number(right)?);
        Ok(match operator {
            Operator::Less => a < b,
            Operator::LessEqual => a <= b,
            Operator::Greater => a > b,
            _ => a >= b,
        })
    }

    fn path(&self, path: &Path, context: Context<'d, 'i>) -> Result<Vec<Item<'d, 'i>>, String> {
        let mut items = match &path.start {
            Start::Root => vec![Item::Node(self.document.root())],
            Start::Here => vec![context.item],
            Start::Of(expr) => match self.expr(expr, context)? {
                Value::Nodes(items) => items,
                _ => return Err("is an XPath with a path or `[` behind what are no nodes".to_owned()),
            },
        };
        items = self.filter(items, &path.predicates)?;
        for step in &path.steps {
            let mut next = Vec::new();
            for item in items {
                let found = self.walk(item, step)?;
                next.extend(self.filter(found, &step.predicates)?);
            }
            self.spend(next.len())?;
            items = in_order(next);
        }
        Ok(items)
    }

    fn filter(&self, mut items: Vec<Item<'d, 'i>>, predicates: &[Expr]) -> Result<Vec<Item<'d, 'i>>, String> {
        for predicate in predicates {
            let size = items.len();
            let mut kept = Vec::new();
            for (i, item) in items.into_iter().enumerate() {
                let context = Context { item, position: i + 1, size };
                let keep = match self.expr(predicate, context)? {
                    #[expect(clippy::cast_precision_loss, reason = "a document has far fewer nodes than 2^53")]
                    Value::Number(wanted) => (wanted - (i + 1) as f64).abs() < f64::EPSILON,
                    other => other.holds(),
                };
                if keep {
                    kept.push(item);
                }
            }
            items = kept;
        }
        Ok(items)
    }

    /// The nodes on a step's axis that pass its test, in the axis's order.
    fn walk(&self, from: Item<'d, 'i>, step: &Step) -> Result<Vec<Item<'d, 'i>>, String> {
        let node = from.node();
        let attribute = matches!(from, Item::Attribute(..));
        let nodes: Box<dyn Iterator<Item = Node<'d, 'i>>> = match step.axis {
            Axis::Parent if attribute => Box::new(std::iter::once(node)),
            Axis::Parent => Box::new(node.parent().into_iter()),
            Axis::Ancestor => Box::new(node.ancestors().skip(usize::from(!attribute))),
            Axis::AncestorOrSelf => Box::new(node.ancestors().skip(usize::from(!attribute))),
            Axis::Following => {
                let levels = node.ancestors().flat_map(|level| level.next_siblings().skip(1));
                Box::new(levels.flat_map(|sibling| sibling.descendants()))
            }
            Axis::Preceding => {
                let levels = node.ancestors().flat_map(|level| level.prev_siblings().skip(1));
                Box::new(levels.flat_map(|sibling| sibling.descendants().rev()))
            }
            // An attribute has no children, siblings and attributes.
            _ if attribute => Box::new(std::iter::empty()),
            Axis::Child => Box::new(node.children()),
            Axis::Descendant | Axis::DescendantOrSelf => Box::new(node.descendants().skip(1)),
            Axis::FollowingSibling => Box::new(node.next_siblings().skip(1)),
            Axis::PrecedingSibling => Box::new(node.prev_siblings().skip(1)),
            Axis::SelfNode | Axis::Attribute => Box::new(std::iter::empty()),
        };
        let with_self = matches!(step.axis, Axis::SelfNode | Axis::DescendantOrSelf | Axis::AncestorOrSelf);
        let attributes = node.attributes().enumerate().map(|(i, attribute)| Item::Attribute(attribute, node, i));
        let attributes = attributes.filter(|_| step.axis == Axis::Attribute && !attribute);
        let all = with_self.then_some(from).into_iter().chain(nodes.map(Item::Node)).chain(attributes);
        let mut found = Vec::new();
        for item in all {
            self.spend(1)?;
            if self.passes(&item, step)? {
                found.push(item);
            }
        }
        Ok(found)
    }

    fn passes(&self, item: &Item<'d, 'i>, step: &Step) -> Result<bool, String> {
        // What a name stands for on this axis.
        let named = match item {
            Item::Attribute(attribute, ..) => Some((attribute.namespace(), attribute.name())),
            Item::Node(node) if node.is_element() && step.axis != Axis::Attribute => {
                Some((node.tag_name().namespace(), node.tag_name().name()))
            }
            Item::Node(_) => None,
        };
        // Names are compared whole, and a document can have long ones.
        let (space, name) = named.unwrap_or_default();
        self.spend(space.map_or(0, str::len) / 16 + name.len() / 16)?;
        let node = |is: fn(&Node<'d, 'i>) -> bool| matches!(item, Item::Node(node) if is(node));
        Ok(match (&step.test, named) {
            (Test::Node, _) => true,
            (Test::Text, _) => node(Node::is_text),
            (Test::Comment, _) => node(Node::is_comment),
            (Test::Instruction(target), _) => {
                let found = item.node().pi().filter(|_| node(Node::is_pi));
                found.is_some_and(|found| target.as_ref().is_none_or(|target| found.target == target))
            }
            (_, None) => false,
            (Test::Any, Some(_)) => true,
            (Test::AnyIn(prefix), Some((space, _))) => space == Some(self.namespace(prefix)?),
            (Test::Name(prefix, local), Some((space, name))) => {
                let wanted = if prefix.is_empty() { "" } else { self.namespace(prefix)? };
                name == local && space.unwrap_or_default() == wanted
            }
        })
    }

    fn namespace(&self, prefix: &str) -> Result<&'d str, String> {
        if prefix == "xml" {
            return Ok("http://www.w3.org/XML/1998/namespace");
        }
        if let Some(known) = self.prefixes.borrow().get(prefix) {
            return Ok(known);
        }
        let found = self.document.root_element().lookup_namespace_uri(Some(prefix)).ok_or_else(|| {
            format!(
                "uses the prefix `{prefix}`, which the document's root does not declare; ask `local-name()` instead"
            )
        })?;
        self.prefixes.borrow_mut().insert(prefix.to_owned(), found);
        Ok(found)
    }
}
