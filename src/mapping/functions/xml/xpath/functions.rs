//! The functions of XPath 1.0 (4).

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::eval::{Context, Eval};
use super::value::{Item, Value};
use crate::mapping::functions::units::units;
use crate::mapping::functions::xml::document::tag_of;

type Outcome<'d, 'i> = Result<Value<'d, 'i>, String>;
type Run = for<'d, 'i> fn(&Eval<'d, 'i>, Context<'d, 'i>, &[Value<'d, 'i>]) -> Outcome<'d, 'i>;

#[derive(Debug)]
pub(super) struct Function {
    name: &'static str,
    pub args: RangeInclusive<usize>,
    pub run: Run,
}

const fn row(name: &'static str, args: RangeInclusive<usize>, run: Run) -> Function {
    Function { name, args, run }
}

pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

#[expect(clippy::cast_precision_loss, reason = "counts of nodes and characters are far below 2^53")]
fn counted<'d, 'i>(count: usize) -> Outcome<'d, 'i> {
    Ok(Value::Number(count as f64))
}

static FUNCTIONS: &[Function] = &[
    row("last", 0..=0, |_, context, _| counted(context.size)),
    row("position", 0..=0, |_, context, _| counted(context.position)),
    row("count", 1..=1, |_, _, args| counted(nodes(args)?.len())),
    row("local-name", 0..=1, |eval, context, args| {
        let name = local_name(subject(context, args)?);
        eval.spend(name.len() / 16)?;
        Ok(Value::Text(name))
    }),
    row("name", 0..=1, |eval, context, args| whole_name(eval, subject(context, args)?).map(Value::Text)),
    row("namespace-uri", 0..=1, |eval, context, args| {
        let space = match subject(context, args)? {
            Some(Item::Node(node)) => node.tag_name().namespace(),
            Some(Item::Attribute(attribute, ..)) => attribute.namespace(),
            None => None,
        };
        let space = space.unwrap_or_default();
        eval.spend(space.len() / 16)?;
        Ok(Value::Text(space.to_owned()))
    }),
    row("string", 0..=1, |eval, context, args| Ok(Value::Text(text(eval, context, args)?))),
    row("concat", 2..=usize::MAX, |eval, _, args| {
        let parts = args.iter().map(|arg| eval.text(arg)).collect::<Result<String, _>>()?;
        eval.spend(parts.len() / 16)?;
        Ok(Value::Text(parts))
    }),
    row("starts-with", 2..=2, |eval, _, args| Ok(Value::Bool(eval.text(&args[0])?.starts_with(&eval.text(&args[1])?)))),
    row("contains", 2..=2, |eval, _, args| Ok(Value::Bool(eval.text(&args[0])?.contains(&eval.text(&args[1])?)))),
    row("substring-before", 2..=2, |eval, _, args| {
        let (whole, part) = (eval.text(&args[0])?, eval.text(&args[1])?);
        Ok(Value::Text(whole.split_once(&part).map_or("", |(before, _)| before).to_owned()))
    }),
    row("substring-after", 2..=2, |eval, _, args| {
        let (whole, part) = (eval.text(&args[0])?, eval.text(&args[1])?);
        Ok(Value::Text(whole.split_once(&part).map_or("", |(_, after)| after).to_owned()))
    }),
    row("substring", 2..=3, substring),
    row("string-length", 0..=1, |eval, context, args| counted(units(&text(eval, context, args)?))),
    row("normalize-space", 0..=1, |eval, context, args| {
        let text = text(eval, context, args)?;
        let words = text.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
        Ok(Value::Text(words.collect::<Vec<_>>().join(" ")))
    }),
    row("translate", 3..=3, translate),
    row("boolean", 1..=1, |_, _, args| Ok(Value::Bool(args[0].holds()))),
    row("not", 1..=1, |_, _, args| Ok(Value::Bool(!args[0].holds()))),
    row("true", 0..=0, |_, _, _| Ok(Value::Bool(true))),
    row("false", 0..=0, |_, _, _| Ok(Value::Bool(false))),
    row("lang", 1..=1, |eval, context, args| {
        let wanted = eval.text(&args[0])?.to_lowercase();
        let space = "http://www.w3.org/XML/1998/namespace";
        let mut said = None;
        for node in context.item.node().ancestors() {
            eval.spend(node.attributes().count())?;
            said = said.or_else(|| node.attribute((space, "lang")));
        }
        let said = said.unwrap_or_default().to_lowercase();
        let rest = said.strip_prefix(&wanted);
        Ok(Value::Bool(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))))
    }),
    row("number", 0..=1, |eval, context, args| {
        let value = match args.first() {
            Some(value) => eval.number(value)?,
            None => eval.number(&Value::Nodes(vec![context.item]))?,
        };
        Ok(Value::Number(value))
    }),
    row("sum", 1..=1, |eval, _, args| {
        let mut sum = 0.0;
        for item in nodes(args)? {
            sum += super::value::number(&eval.item_text(item)?);
        }
        Ok(Value::Number(sum))
    }),
    row("floor", 1..=1, |eval, _, args| Ok(Value::Number(eval.number(&args[0])?.floor()))),
    row("ceiling", 1..=1, |eval, _, args| Ok(Value::Number(eval.number(&args[0])?.ceil()))),
    row("round", 1..=1, |eval, _, args| Ok(Value::Number(round(eval.number(&args[0])?)))),
];

fn nodes<'a, 'd, 'i>(args: &'a [Value<'d, 'i>]) -> Result<&'a [Item<'d, 'i>], String> {
    match args.first() {
        Some(Value::Nodes(items)) => Ok(items),
        _ => Err("gives something else than nodes to a function that takes only these".to_owned()),
    }
}

/// The first node of the argument, or the one that the expression is evaluated at.
fn subject<'d, 'i>(context: Context<'d, 'i>, args: &[Value<'d, 'i>]) -> Result<Option<Item<'d, 'i>>, String> {
    if args.is_empty() { Ok(Some(context.item)) } else { Ok(nodes(args)?.first().copied()) }
}

fn text<'d, 'i>(eval: &Eval<'d, 'i>, context: Context<'d, 'i>, args: &[Value<'d, 'i>]) -> Result<String, String> {
    match args.first() {
        Some(value) => eval.text(value),
        None => eval.item_text(&context.item),
    }
}

/// The name of a node without its prefix.
fn local_name(item: Option<Item<'_, '_>>) -> String {
    match item {
        Some(Item::Node(node)) if node.is_element() => node.tag_name().name().to_owned(),
        Some(Item::Node(node)) => node.pi().map_or("", |instruction| instruction.target).to_owned(),
        Some(Item::Attribute(attribute, ..)) => attribute.name().to_owned(),
        None => String::new(),
    }
}

/// The name of a node as it is written, with its prefix.
fn whole_name<'d, 'i>(eval: &Eval<'d, 'i>, item: Option<Item<'d, 'i>>) -> Result<String, String> {
    Ok(match item {
        Some(Item::Node(node)) if node.is_element() => {
            let tag = tag_of(node);
            // The whole tag was gone through for its name.
            eval.spend(tag.as_ref().map_or(0, |tag| tag.length) / 16)?;
            tag.map_or("", |tag| tag.name).to_owned()
        }
        Some(Item::Attribute(attribute, owner, _)) => {
            owner.document().input_text().get(attribute.range_qname()).unwrap_or_default().to_owned()
        }
        other => local_name(other),
    })
}

/// Half goes up.
fn round(value: f64) -> f64 {
    (value + 0.5).floor()
}

#[expect(clippy::cast_precision_loss, reason = "places of characters are far below 2^53")]
fn substring<'d, 'i>(eval: &Eval<'d, 'i>, _: Context<'d, 'i>, args: &[Value<'d, 'i>]) -> Outcome<'d, 'i> {
    let text = eval.text(&args[0])?;
    let start = round(eval.number(&args[1])?);
    let end = match args.get(2) {
        Some(length) => start + round(eval.number(length)?),
        None => f64::INFINITY,
    };
    // Places count from 1; comparisons with what is no number are false.
    let inside = |i: usize| (i + 1) as f64 >= start && ((i + 1) as f64) < end;
    Ok(Value::Text(text.chars().enumerate().filter(|(i, _)| inside(*i)).map(|(_, c)| c).collect()))
}

fn translate<'d, 'i>(eval: &Eval<'d, 'i>, _: Context<'d, 'i>, args: &[Value<'d, 'i>]) -> Outcome<'d, 'i> {
    let (text, from, to) = (eval.text(&args[0])?, eval.text(&args[1])?, eval.text(&args[2])?);
    let mut map: HashMap<char, Option<char>> = HashMap::new();
    let mut to = to.chars();
    for c in from.chars() {
        let new = to.next();
        map.entry(c).or_insert(new);
    }
    Ok(Value::Text(text.chars().filter_map(|c| map.get(&c).copied().unwrap_or(Some(c))).collect()))
}
