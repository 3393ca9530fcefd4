//! A flow as a picture: a tree of text, or a Mermaid flowchart. Ids, kinds, conditions, branches, what follows what.

use std::fmt::Write;

use crate::flow::{After, Block, Ends, Flow, Hop, Kind, Step, Termination, Trigger};

/// The flow as a tree of lines.
pub fn tree(flow: &Flow) -> String {
    let mut out = format!("{} ({})\n", flow.id, started(&flow.trigger));
    let handler = flow.on_failure.as_ref();
    lines(&flow.steps, "", handler.is_none(), &mut out);
    if let Some(handler) = handler {
        out.push_str("└─ on_failure\n");
        lines(handler, "   ", true, &mut out);
    }
    out
}

fn lines(block: &Block, before: &str, closes: bool, out: &mut String) {
    for (number, step) in block.steps.iter().enumerate() {
        let last = closes && number + 1 == block.steps.len();
        let (branch, bar) = if last { ("└─", "   ") } else { ("├─", "│  ") };
        let _ = writeln!(out, "{before}{branch} {}  {}{}", step.id, kind(step), extras(step, block, number));
        let inner = format!("{before}{bar}");
        let parts: Vec<(String, &Block)> =
            branches(step).into_iter().filter(|(_, block)| !block.steps.is_empty()).collect();
        for (index, (label, part)) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            let (branch, bar) = if last { ("└─", "   ") } else { ("├─", "│  ") };
            if label.is_empty() {
                lines(part, &inner, last, out);
            } else {
                let _ = writeln!(out, "{inner}{branch} {label}");
                lines(part, &format!("{inner}{bar}"), true, out);
            }
        }
    }
}

/// What the tree says of a step beside its kind.
fn extras(step: &Step, block: &Block, number: usize) -> String {
    let mut text = String::new();
    if let Some(when) = &step.when {
        let _ = write!(text, "  when {}", one_line(when.template().source()));
    }
    let usual = |after: &[After]| match (number, after) {
        (0, []) => true,
        (_, [only]) => only.position as usize + 1 == number && only.on == Ends::DEFAULT,
        _ => false,
    };
    if !usual(&step.after) {
        let named = step.after.iter().map(|after| {
            let id = block.steps.get(after.position as usize).map_or("?", |step| step.id.as_str());
            format!("{id} {}", ends(after.on))
        });
        let _ = write!(text, "  after {}", named.collect::<Vec<_>>().join(", "));
    }
    if step.continues {
        text.push_str("  on_error continue");
    }
    text
}

/// The flow as a Mermaid flowchart.
pub fn mermaid(flow: &Flow) -> String {
    let mut chart = Chart { out: "flowchart TD\n".to_owned(), nodes: 0 };
    let start = chart.node(1, &format!("{} ({})", flow.id, started(&flow.trigger)), "([", "])");
    chart.block(&flow.steps, &start, "", 1);
    if let Some(handler) = &flow.on_failure {
        let node = chart.node(1, "on_failure", "([", "])");
        let _ = writeln!(chart.out, "  {start} -.->|failed| {node}");
        chart.block(handler, &node, "", 1);
    }
    chart.out
}

struct Chart {
    out: String,
    nodes: usize,
}

impl Chart {
    fn node(&mut self, depth: usize, label: &str, open: &str, close: &str) -> String {
        let name = format!("n{}", self.nodes);
        self.nodes += 1;
        let _ = writeln!(self.out, "{:indent$}{name}{open}\"{}\"{close}", "", escaped(label), indent = depth * 2);
        name
    }

    /// Draws a block's steps; those that follow no other are led to from `from`.
    fn block(&mut self, block: &Block, from: &str, label: &str, depth: usize) {
        let mut names = Vec::new();
        for step in &block.steps {
            let (open, close) = match &step.kind {
                Kind::If { .. } | Kind::Switch(_) => ("{", "}"),
                Kind::Delay(_) | Kind::DelayUntil(_) | Kind::Wait { .. } => ("(", ")"),
                _ => ("[", "]"),
            };
            let mut text = format!("{}\n{}", step.id, kind(step));
            if let Some(when) = &step.when {
                let _ = write!(text, "\nwhen {}", one_line(when.template().source()));
            }
            let name = self.node(depth, &text, open, close);
            if step.after.is_empty() {
                let _ = writeln!(self.out, "{:indent$}{from} -->{} {name}", "", edge(label), indent = depth * 2);
            }
            for after in &step.after {
                let Some(before) = names.get(after.position as usize) else { continue };
                let on = if after.on == Ends::DEFAULT { String::new() } else { ends(after.on) };
                let _ = writeln!(self.out, "{:indent$}{before} -->{} {name}", "", edge(&on), indent = depth * 2);
            }
            for (label, part) in branches(step).into_iter().filter(|(_, part)| !part.steps.is_empty()) {
                let label = if label.is_empty() { "do".to_owned() } else { label };
                let _ = writeln!(
                    self.out,
                    "{:indent$}subgraph {name}_{}[\"{}: {}\"]",
                    "",
                    self.nodes,
                    escaped(&step.id),
                    escaped(&label),
                    indent = depth * 2
                );
                self.block(part, &name, &label, depth + 1);
                let _ = writeln!(self.out, "{:indent$}end", "", indent = depth * 2);
            }
            names.push(name);
        }
    }
}

fn edge(label: &str) -> String {
    if label.is_empty() { String::new() } else { format!("|\"{}\"|", escaped(label)) }
}

/// Text as Mermaid takes it within quotes: what it would read as its own is written as an entity.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' => out.push_str("<br/>"),
            '"' | '#' | '<' | '>' | '{' | '}' | '[' | ']' | '|' | '`' | '&' | ';' | '\\' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn started(trigger: &Trigger) -> &'static str {
    trigger.name()
}

/// The kind of a step with what matters most of it.
fn kind(step: &Step) -> String {
    match &step.kind {
        Kind::Action(call) => {
            let connection = call.connection.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            format!("action {}.{}{connection}", call.connector.name, call.action)
        }
        Kind::Call(child) => format!("call {}", child.flow),
        Kind::Response(_) => "response".to_owned(),
        Kind::Set(set) => format!("set {}", set.names.join(", ")),
        Kind::If { condition, .. } => format!("if {}", one_line(condition.template().source())),
        Kind::Switch(switch) => format!("switch {}", one_line(switch.on.source())),
        Kind::Foreach(each) if each.concurrency > 1 => {
            format!("foreach {} ({} at once)", one_line(each.items.source()), each.concurrency)
        }
        Kind::Foreach(each) => format!("foreach {}", one_line(each.items.source())),
        Kind::Until(until) => format!("until {}", one_line(until.condition.template().source())),
        Kind::Parallel(_) => "parallel".to_owned(),
        Kind::Scope(_) => "scope".to_owned(),
        Kind::Delay(length) => format!("delay {}", one_line(length.source())),
        Kind::DelayUntil(time) => format!("delay_until {}", one_line(time.source())),
        Kind::Wait { .. } => "wait".to_owned(),
        Kind::Terminate { status, .. } => {
            let status = match status {
                Termination::Succeeded => "succeeded",
                Termination::Failed => "failed",
                Termination::Cancelled => "cancelled",
            };
            format!("terminate {status}")
        }
    }
}

/// The blocks inside a step by what leads into them; of loops nothing need be said.
fn branches(step: &Step) -> Vec<(String, &Block)> {
    step.blocks().into_iter().map(|(hop, block)| (way(step, hop), block)).collect()
}

fn way(step: &Step, hop: Hop) -> String {
    let Hop::Branch(sub) = hop else { return String::new() };
    let name = step.branch_name(sub, ", ").unwrap_or_default();
    match &step.kind {
        Kind::Switch(switch) if (sub as usize) < switch.cases.len() => format!("case {name}"),
        _ => name,
    }
}

fn ends(on: Ends) -> String {
    let names = [
        (Ends::SUCCEEDED, "succeeded"),
        (Ends::FAILED, "failed"),
        (Ends::SKIPPED, "skipped"),
        (Ends::TIMED_OUT, "timed_out"),
    ];
    names.iter().filter(|(one, _)| on.has(*one)).map(|(_, name)| *name).collect::<Vec<_>>().join(" or ")
}

/// A template on one line, cut where it is long.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 70;
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &flat[..end]),
        None => flat,
    }
}
