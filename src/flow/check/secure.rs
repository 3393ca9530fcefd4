//! Spreads `secure`: what is made of a hidden output is hidden too, or it would be shown one step later.

use std::collections::BTreeSet;

use super::*;

/// Names whose values are hidden.
#[derive(Default, PartialEq, Clone)]
struct Hidden {
    steps: BTreeSet<String>,
    vars: BTreeSet<String>,
    /// Loops over hidden lists.
    loops: BTreeSet<String>,
}

pub(super) fn spread<'b>(blocks: impl IntoIterator<Item = Option<&'b mut Block>>) {
    let mut blocks: Vec<&mut Block> = blocks.into_iter().flatten().collect();
    let mut hidden = Hidden::default();
    loop {
        let before = hidden.clone();
        blocks.iter_mut().for_each(|block| hidden.block(block, &mut Vec::new()));
        // A loop's first step may read what its last one gave.
        if hidden == before {
            return;
        }
    }
}

impl Hidden {
    fn block(&mut self, block: &mut Block, loops: &mut Vec<String>) {
        for step in &mut block.steps {
            let reads = reads(&step.kind).into_iter().any(|template| self.taints(template, loops));
            step.secure.inputs |= reads;
            if let Some(Mock::Output(mock) | Mock::Error(mock)) = &step.mock {
                step.secure.outputs |= mock.templates().into_iter().any(|(_, template)| self.taints(template, loops));
            }
            match &mut step.kind {
                Kind::Set(set) => {
                    step.secure.outputs |= step.secure.inputs;
                    if step.secure.outputs {
                        self.vars.extend(set.names.iter().cloned());
                    }
                }
                Kind::Response(_) => step.secure.outputs |= step.secure.inputs,
                Kind::Foreach(each) => {
                    if step.secure.inputs {
                        self.loops.insert(step.id.clone());
                    }
                    loops.push(step.id.clone());
                    self.block(&mut each.body, loops);
                    let collected = each.collect.iter().flat_map(Mapping::templates);
                    step.secure.outputs |= collected.into_iter().any(|(_, template)| self.taints(template, loops));
                    loops.pop();
                }
                Kind::If { then, otherwise, .. } => {
                    self.block(then, loops);
                    self.block(otherwise, loops);
                }
                Kind::Switch(switch) => {
                    let cases = switch.cases.iter_mut().map(|(_, block)| block);
                    cases.chain([&mut switch.default]).for_each(|block| self.block(block, loops));
                }
                Kind::Until(until) => self.block(&mut until.body, loops),
                Kind::Parallel(branches) => branches.iter_mut().for_each(|(_, block)| self.block(block, loops)),
                Kind::Scope(scope) => {
                    let parts = [Some(&mut scope.body), scope.catch.as_mut(), scope.finally.as_mut()];
                    parts.into_iter().flatten().for_each(|block| self.block(block, loops));
                    // `steps.<scope>.results` repeats the outputs of its steps.
                    step.secure.outputs |= scope.body.steps.iter().any(|inner| inner.secure.outputs);
                }
                Kind::Action(_)
                | Kind::Call(_)
                | Kind::Delay(_)
                | Kind::DelayUntil(_)
                | Kind::Wait { .. }
                | Kind::Terminate { .. } => {}
            }
            if step.secure.outputs {
                self.steps.insert(step.id.clone());
            }
        }
    }

    fn taints(&self, template: &Template, loops: &[String]) -> bool {
        template.paths().into_iter().any(|path| {
            let second = || path.get(1).map(String::as_str).unwrap_or_default();
            let status = || path.get(2).is_some_and(|field| field == "status");
            match path.first().map(String::as_str).unwrap_or_default() {
                "steps" => self.steps.contains(second()) && !status(),
                "vars" => self.vars.contains(second()),
                "item" => loops.last().is_some_and(|id| self.loops.contains(id)),
                "loops" => self.loops.contains(second()),
                _ => false,
            }
        })
    }
}

/// The templates whose values a step's inputs show.
fn reads(kind: &Kind) -> Vec<&Template> {
    fn all(mapping: &Mapping) -> Vec<&Template> {
        mapping.templates().into_iter().map(|(_, template)| template).collect()
    }
    match kind {
        Kind::Action(call) => all(&call.input),
        Kind::Call(child) => all(&child.body),
        Kind::Response(answer) => [&answer.status, &answer.headers, &answer.body]
            .into_iter()
            .flat_map(Mapping::templates)
            .map(|(_, t)| t)
            .collect(),
        Kind::Set(set) => all(&set.values),
        Kind::Foreach(each) => vec![&each.items],
        Kind::Terminate { message, .. } => all(message),
        Kind::Delay(length) | Kind::DelayUntil(length) => vec![length],
        Kind::If { .. } | Kind::Switch(_) | Kind::Until(_) | Kind::Parallel(_) | Kind::Scope(_) | Kind::Wait { .. } => {
            Vec::new()
        }
    }
}
