//! An XPath expression's tree.

use super::functions::{Function, find};
use super::lexer::{Token, tokens};

/// Longest expression, in bytes.
const MAX_TEXT: usize = 4096;
/// Deepest nesting of brackets and signs.
const MAX_DEPTH: usize = 32;
/// Most operators of one expression.
const MAX_OPERATORS: usize = 200;

#[derive(Debug, Clone)]
pub(super) enum Expr {
    Binary(Operator, Box<Expr>, Box<Expr>),
    Negative(Box<Expr>),
    Text(String),
    Number(f64),
    Call(&'static Function, Vec<Expr>),
    Path(Path),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Union,
}

#[derive(Debug, Clone)]
pub(super) struct Path {
    pub start: Start,
    /// Of the value it starts from: `(//a)[1]`.
    pub predicates: Vec<Expr>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(super) enum Start {
    Root,
    Here,
    Of(Box<Expr>),
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub axis: Axis,
    pub test: Test,
    pub predicates: Vec<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Ancestor,
    AncestorOrSelf,
    Attribute,
    Child,
    Descendant,
    DescendantOrSelf,
    Following,
    FollowingSibling,
    Parent,
    Preceding,
    PrecedingSibling,
    SelfNode,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    Node,
    Text,
    Comment,
    Instruction(Option<String>),
    /// `*`
    Any,
    /// `soap:*`
    AnyIn(String),
    /// Prefix (empty for none) and local name.
    Name(String, String),
}

/// The tree of `text`; the error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Expr, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("is an XPath of more than {MAX_TEXT} bytes"));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, operators: 0 };
    let expr = parser.expr()?;
    match parser.peek(0) {
        None => Ok(expr),
        Some(_) => Err(parser.unexpected()),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    operators: usize,
}

/// Operators, those that bind least first.
const LEVELS: [&[(&str, Operator)]; 7] = [
    &[("or", Operator::Or)],
    &[("and", Operator::And)],
    &[("=", Operator::Equal), ("!=", Operator::Unequal)],
    &[("<", Operator::Less), ("<=", Operator::LessEqual), (">", Operator::Greater), (">=", Operator::GreaterEqual)],
    &[("+", Operator::Add), ("-", Operator::Sub)],
    &[("*", Operator::Mul), ("div", Operator::Div), ("mod", Operator::Mod)],
    &[("|", Operator::Union)],
];
/// A sign before an expression binds between these.
const UNION: usize = 6;

impl Parser {
    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn sign(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(0), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.sign(sign) { Ok(()) } else { Err(format!("{}; `{sign}` is missing", self.unexpected())) }
    }

    fn unexpected(&self) -> String {
        match self.peek(0) {
            None => "is no XPath: it ends too early".to_owned(),
            Some(Token::Sign(sign) | Token::Operator(sign)) => {
                format!("is no XPath: `{sign}` can't stand where it does")
            }
            Some(Token::Name(name)) => format!("is no XPath: `{name}` can't stand where it does"),
            Some(Token::Number(_) | Token::Text(_)) => "is no XPath: a value can't stand where it does".to_owned(),
        }
    }

    fn expr(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("is an XPath nested more than {MAX_DEPTH} deep"));
        }
        let expr = self.level(0);
        self.depth -= 1;
        expr
    }

    fn level(&mut self, level: usize) -> Result<Expr, String> {
        let Some(operators) = LEVELS.get(level) else {
            return self.path();
        };
        if level == UNION && self.sign("-") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(format!("is an XPath nested more than {MAX_DEPTH} deep"));
            }
            let inner = self.level(level)?;
            self.depth -= 1;
            return Ok(Expr::Negative(Box::new(inner)));
        }
        let mut left = self.level(level + 1)?;
        while let Some(operator) = self.operator(operators) {
            // The tree leans to the left, and is evaluated by recursion.
            self.operators += 1;
            if self.operators > MAX_OPERATORS {
                return Err(format!("is an XPath with more than {MAX_OPERATORS} operators"));
            }
            let right = self.level(level + 1)?;
            left = Expr::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn operator(&mut self, operators: &[(&str, Operator)]) -> Option<Operator> {
        let word = match self.peek(0)? {
            Token::Sign(word) if *word != "*" => *word,
            Token::Operator(word) => *word,
            _ => return None,
        };
        let (_, operator) = operators.iter().find(|(name, _)| *name == word)?;
        self.at += 1;
        Some(*operator)
    }

    fn path(&mut self) -> Result<Expr, String> {
        let mut path = Path { start: Start::Here, predicates: Vec::new(), steps: Vec::new() };
        let called = matches!((self.peek(0), self.peek(1)), (Some(Token::Name(name)), Some(Token::Sign("("))) if !is_node_test(name));
        let filter = match self.peek(0) {
            Some(Token::Text(text)) => Some(Expr::Text(text.clone())),
            Some(Token::Number(value)) => Some(Expr::Number(*value)),
            _ => None,
        };
        let filter = if let Some(value) = filter {
            self.at += 1;
            Some(value)
        } else if called {
            Some(self.call()?)
        } else if self.sign("(") {
            let inner = self.expr()?;
            self.expect(")")?;
            Some(inner)
        } else {
            None
        };
        if let Some(value) = filter {
            path.predicates = self.predicates()?;
            let goes_on = matches!(self.peek(0), Some(Token::Sign("/" | "//")));
            if path.predicates.is_empty() && !goes_on {
                return Ok(value);
            }
            path.start = Start::Of(Box::new(value));
            if !goes_on {
                return Ok(Expr::Path(path));
            }
        } else if self.sign("//") {
            path.start = Start::Root;
            path.steps.push(anywhere());
            path.steps.push(self.step()?);
        } else if self.sign("/") {
            path.start = Start::Root;
            if !self.starts_step() {
                return Ok(Expr::Path(path));
            }
            path.steps.push(self.step()?);
        } else {
            path.steps.push(self.step()?);
        }
        loop {
            if self.sign("//") {
                path.steps.push(anywhere());
            } else if !self.sign("/") {
                return Ok(Expr::Path(path));
            }
            path.steps.push(self.step()?);
        }
    }

    fn starts_step(&self) -> bool {
        matches!(self.peek(0), Some(Token::Name(_) | Token::Sign("." | ".." | "@" | "*")))
    }

    fn step(&mut self) -> Result<Step, String> {
        let plain = |axis| Ok(Step { axis, test: Test::Node, predicates: Vec::new() });
        if self.sign(".") {
            return plain(Axis::SelfNode);
        }
        if self.sign("..") {
            return plain(Axis::Parent);
        }
        let named = match (self.peek(0), self.peek(1)) {
            (Some(Token::Name(name)), Some(Token::Sign("::"))) => Some(name.clone()),
            _ => None,
        };
        let axis = match named {
            Some(name) => {
                self.at += 2;
                axis(&name).ok_or_else(|| format!("is an XPath with an axis `{name}`, which there is not"))?
            }
            None if self.sign("@") => Axis::Attribute,
            None => Axis::Child,
        };
        let test = self.test()?;
        Ok(Step { axis, test, predicates: self.predicates()? })
    }

    fn test(&mut self) -> Result<Test, String> {
        if self.sign("*") {
            return Ok(Test::Any);
        }
        let Some(Token::Name(name)) = self.peek(0).cloned() else {
            return Err(self.unexpected());
        };
        self.at += 1;
        if is_node_test(&name) && self.sign("(") {
            let target = match self.peek(0) {
                Some(Token::Text(text)) if name == "processing-instruction" => Some(text.clone()),
                _ => None,
            };
            self.at += usize::from(target.is_some());
            self.expect(")")?;
            return Ok(match name.as_str() {
                "text" => Test::Text,
                "comment" => Test::Comment,
                "processing-instruction" => Test::Instruction(target),
                _ => Test::Node,
            });
        }
        Ok(match name.split_once(':') {
            Some((prefix, "*")) => Test::AnyIn(prefix.to_owned()),
            Some((prefix, local)) => Test::Name(prefix.to_owned(), local.to_owned()),
            None => Test::Name(String::new(), name),
        })
    }

    fn predicates(&mut self) -> Result<Vec<Expr>, String> {
        let mut found = Vec::new();
        while self.sign("[") {
            found.push(self.expr()?);
            self.expect("]")?;
        }
        Ok(found)
    }

    fn call(&mut self) -> Result<Expr, String> {
        let Some(Token::Name(name)) = self.peek(0).cloned() else {
            return Err(self.unexpected());
        };
        let function =
            find(&name).ok_or_else(|| format!("is an XPath with a function `{name}`, which there is not"))?;
        self.at += 2;
        let mut args = Vec::new();
        if !self.sign(")") {
            loop {
                args.push(self.expr()?);
                if !self.sign(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        if !function.args.contains(&args.len()) {
            return Err(format!("gives `{name}` {} arguments, which it does not take", args.len()));
        }
        Ok(Expr::Call(function, args))
    }
}

fn anywhere() -> Step {
    Step { axis: Axis::DescendantOrSelf, test: Test::Node, predicates: Vec::new() }
}

fn is_node_test(name: &str) -> bool {
    matches!(name, "node" | "text" | "comment" | "processing-instruction")
}

fn axis(name: &str) -> Option<Axis> {
    Some(match name {
        "ancestor" => Axis::Ancestor,
        "ancestor-or-self" => Axis::AncestorOrSelf,
        "attribute" => Axis::Attribute,
        "child" => Axis::Child,
        "descendant" => Axis::Descendant,
        "descendant-or-self" => Axis::DescendantOrSelf,
        "following" => Axis::Following,
        "following-sibling" => Axis::FollowingSibling,
        "parent" => Axis::Parent,
        "preceding" => Axis::Preceding,
        "preceding-sibling" => Axis::PrecedingSibling,
        "self" => Axis::SelfNode,
        _ => return None,
    })
}
