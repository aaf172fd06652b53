//! Walks the tree: scopes, pipelines, calls, and the bounds on all of them.

use std::fmt::Write;

use crate::calendar::{self, Civil};
use crate::function::{Refusal, call, check_count};
use crate::kv;
use crate::quote::html_escape;
use crate::sink::Sink;
use crate::tree::{Binding, Branch, Command, Node, Operand, Pipeline, Span, Term};
use crate::value::Value;
use crate::{Context, DEPTH_MAX, Escape, Fault, OUTPUT_BYTES_MAX, STEPS_MAX, Template};

/// The text `template` makes of `context`.
pub(crate) fn execute(
    template: &Template,
    library: &[Template],
    context: &Context<'_>,
    escape: Escape,
) -> Result<String, Fault> {
    let mut variables = vec![("$".to_owned(), context.data.clone())];
    for (i, name) in template.variables.iter().enumerate() {
        let value = context.variables.get(i).cloned().unwrap_or(Value::Nil);
        variables.push((name.clone(), value));
    }
    let mut run = Run {
        main: template,
        template,
        library,
        context,
        escape,
        name: template.name(),
        variables,
        out: Sink::default(),
        steps: STEPS_MAX,
        depth: 0,
    };
    run.nodes(&template.body, &context.data)?;
    Ok(run.out.into_text())
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'a> {
    /// The one that is executed.
    main: &'a Template,
    /// The one that holds the nodes being walked.
    template: &'a Template,
    /// More definitions; the last one of a name counts.
    library: &'a [Template],
    context: &'a Context<'a>,
    escape: Escape,
    /// The template being executed: the outermost, or one called by name.
    name: &'a str,
    /// Innermost last.
    variables: Vec<(String, Value)>,
    out: Sink,
    /// What is left of [`STEPS_MAX`].
    steps: u64,
    depth: usize,
}

impl<'a> Run<'a> {
    fn place(&self, span: Span) -> String {
        const SHOWN: usize = 40;
        let source = &self.template.source()[span.start..span.end];
        let shown: String = source.chars().take(SHOWN).collect();
        let dots = if shown.len() < source.len() { "..." } else { "" };
        format!("executing {:?} at <{shown}{dots}>", self.name)
    }

    fn fault(&self, span: Span, text: impl AsRef<str>) -> Fault {
        Fault::invalid(span.start, format!("{}: {}", self.place(span), text.as_ref()))
    }

    fn full(&self, span: Span) -> Fault {
        let text = format!("{}: text is longer than {OUTPUT_BYTES_MAX} bytes", self.place(span));
        Fault::exhausted(span.start, text)
    }

    fn step(&mut self, span: Span, count: u64) -> Result<(), Fault> {
        match self.steps.checked_sub(count) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                let text = format!("{}: more than {STEPS_MAX} steps", self.place(span));
                Err(Fault::exhausted(span.start, text))
            }
        }
    }

    fn deeper(&mut self, span: Span) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let text = format!("{}: nested deeper than {DEPTH_MAX}", self.place(span));
            return Err(Fault::exhausted(span.start, text));
        }
        Ok(())
    }

    fn nodes(&mut self, nodes: &'a [Node], dot: &Value) -> Result<Flow, Fault> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    let whole = Span { start: 0, end: 0 };
                    self.step(whole, 1)?;
                    self.out.write_str(text).map_err(|_| self.full(whole))?;
                    Flow::Next
                }
                Node::Action(pipeline) => self.action(pipeline, dot)?,
                Node::If(branch) => self.choice(branch, dot, false)?,
                Node::With(branch) => self.choice(branch, dot, true)?,
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Template { name, argument, span } => {
                    self.named(name, argument.as_ref(), *span, dot)?;
                    Flow::Next
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn action(&mut self, pipeline: &'a Pipeline, dot: &Value) -> Result<Flow, Fault> {
        let value = self.pipeline(pipeline, dot)?;
        if pipeline.variables.is_empty() {
            if self.escape == Escape::Html && !matches!(value, Value::Html(_)) {
                let mut plain = Sink::default();
                value.print(&mut plain).map_err(|_| self.full(pipeline.span))?;
                let escaped = html_escape(plain.as_str());
                self.out.write_str(&escaped).map_err(|_| self.full(pipeline.span))?;
            } else {
                value.print(&mut self.out).map_err(|_| self.full(pipeline.span))?;
            }
        }
        Ok(Flow::Next)
    }

    /// `if`, and with `sets_dot` also `with`.
    fn choice(&mut self, branch: &'a Branch, dot: &Value, sets_dot: bool) -> Result<Flow, Fault> {
        self.deeper(branch.pipeline.span)?;
        let scope = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let flow = match (value.truth(), sets_dot) {
            (true, true) => self.nodes(&branch.body, &value)?,
            (true, false) => self.nodes(&branch.body, dot)?,
            (false, _) => self.nodes(&branch.otherwise, dot)?,
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(flow)
    }

    fn range(&mut self, branch: &'a Branch, dot: &Value) -> Result<Flow, Fault> {
        let span = branch.pipeline.span;
        self.deeper(span)?;
        let scope = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let flow = match &value {
            Value::List(values) => {
                let turns = values.iter().zip(0..).map(|(v, i)| (Value::Int(i), v.clone()));
                self.turns(branch, turns)?
            }
            Value::Map(map) => {
                let turns = map.entries().iter().map(|(k, v)| (Value::text(k.as_str()), v.clone()));
                self.turns(branch, turns)?
            }
            Value::Int(n) => self.turns(branch, (0..*n).map(|i| (Value::Int(i), Value::Int(i))))?,
            Value::Nil => None,
            other => {
                let text = format!("range can't iterate over {}", other.type_name());
                return Err(self.fault(span, text));
            }
        };
        self.variables.truncate(scope);
        if flow.is_none() {
            let flow = self.nodes(&branch.otherwise, dot)?;
            self.variables.truncate(scope);
            self.depth -= 1;
            return Ok(flow);
        }
        self.depth -= 1;
        Ok(Flow::Next)
    }

    /// Runs the body once a turn; `None` when there was none.
    fn turns(
        &mut self,
        branch: &'a Branch,
        turns: impl Iterator<Item = (Value, Value)>,
    ) -> Result<Option<()>, Fault> {
        let mut any = None;
        let names = &branch.pipeline.variables;
        let scope = self.variables.len();
        for (key, value) in turns {
            any = Some(());
            self.step(branch.pipeline.span, 1)?;
            if let Some(last) = names.last() {
                self.set(last, value.clone(), branch.pipeline.binding);
            }
            if names.len() == 2 {
                self.set(&names[0], key, branch.pipeline.binding);
            }
            let inner = self.variables.len();
            let flow = self.nodes(&branch.body, &value)?;
            self.variables.truncate(inner);
            if flow == Flow::Break {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(any)
    }

    fn named(
        &mut self,
        name: &'a str,
        argument: Option<&'a Pipeline>,
        span: Span,
        dot: &Value,
    ) -> Result<(), Fault> {
        let places = std::iter::once(self.main).chain(self.library.iter().rev());
        let mut found = places.filter_map(|place| Some((place, place.defined.get(name)?)));
        let Some((place, body)) = found.next() else {
            return Err(self.fault(span, format!("template {name:?} not defined")));
        };
        self.deeper(span)?;
        self.step(span, 1)?;
        let argument = argument.map_or(Ok(Value::Nil), |pipeline| self.pipeline(pipeline, dot))?;
        let outer =
            std::mem::replace(&mut self.variables, vec![("$".to_owned(), argument.clone())]);
        let caller = std::mem::replace(&mut self.name, name);
        let home = std::mem::replace(&mut self.template, place);
        let done = self.nodes(body, &argument);
        self.template = home;
        if let Err(fault) = done {
            if std::ptr::eq(home, place) {
                return Err(fault);
            }
            // Its place is one in another source: told in words.
            let kind = fault.kind;
            let text = fault.into_error(&place.name, &place.source).to_string();
            return Err(Fault { at: span.start, text, kind });
        }
        self.name = caller;
        self.variables = outer;
        self.depth -= 1;
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value, binding: Binding) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match (binding, known) {
            (Binding::Assign, Some(variable)) => variable.1 = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &'a Pipeline, dot: &Value) -> Result<Value, Fault> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        // Loop variables are set a turn at a time, so a range never comes here with two of them.
        if let [name] = pipeline.variables.as_slice() {
            self.set(name, value.clone(), pipeline.binding);
        }
        Ok(value)
    }

    fn command(
        &mut self,
        command: &'a Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Fault> {
        let first = &command.operands[0];
        let n_args = command.operands.len() - 1 + usize::from(piped.is_some());
        self.step(command.span, 1)?;
        if let Term::Function(name) = &first.term {
            let value = self.function(name, command, dot, piped)?;
            return self.fields(value, &first.fields, first.span);
        }
        if n_args == 0 {
            if matches!(first.term, Term::Nil) {
                return Err(self.fault(first.span, "nil is not a command"));
            }
            return self.operand(first, dot);
        }
        // With arguments only a method of a time or a length of time makes sense.
        let Some((method, path)) = first.fields.split_last() else {
            let source = &self.template.source()[first.span.start..first.span.end];
            return Err(
                self.fault(first.span, format!("can't give argument to non-function {source}"))
            );
        };
        let host = self.term(&first.term, dot, first.span)?;
        let host = self.fields(host, path, first.span)?;
        let args = self.arguments(command, dot, piped)?;
        match member(&host, method, &args) {
            Some(Ok(value)) => Ok(value),
            Some(Err(text)) => Err(self.fault(first.span, text)),
            None => {
                let text = format!("{method} has arguments but cannot be invoked as function");
                Err(self.fault(first.span, text))
            }
        }
    }

    fn arguments(
        &mut self,
        command: &'a Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Vec<Value>, Fault> {
        let mut args = Vec::with_capacity(command.operands.len());
        for operand in &command.operands[1..] {
            args.push(self.operand(operand, dot)?);
        }
        args.extend(piped);
        Ok(args)
    }

    fn function(
        &mut self,
        name: &str,
        command: &'a Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Fault> {
        let n_args = command.operands.len() - 1 + usize::from(piped.is_some());
        check_count(name, n_args).map_err(|text| self.fault(command.span, text))?;
        if let "and" | "or" = name {
            return self.junction(name == "or", command, dot, piped);
        }
        let args = self.arguments(command, dot, piped)?;
        let weight: usize = args.iter().map(Value::weight).sum();
        self.step(command.span, u64::try_from(weight / 256).unwrap_or(u64::MAX))?;
        let value = call(name, &args, self.context).map_err(|refusal| match refusal {
            Refusal::Wrong(text) => {
                self.fault(command.span, format!("error calling {name}: {text}"))
            }
            Refusal::Full => self.full(command.span),
        })?;
        if matches!(&value, Value::Text(text) if text.len() > OUTPUT_BYTES_MAX) {
            return Err(self.full(command.span));
        }
        Ok(value)
    }

    /// `and` and `or`: the first argument whose truth is `decides`, else the last; the others are not evaluated.
    fn junction(
        &mut self,
        decides: bool,
        command: &'a Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Fault> {
        let mut value = Value::Nil;
        for operand in &command.operands[1..] {
            value = self.operand(operand, dot)?;
            if value.truth() == decides {
                return Ok(value);
            }
        }
        Ok(piped.unwrap_or(value))
    }

    fn operand(&mut self, operand: &'a Operand, dot: &Value) -> Result<Value, Fault> {
        self.step(operand.span, 1)?;
        let value = match &operand.term {
            Term::Function(name) => {
                check_count(name, 0).map_err(|text| self.fault(operand.span, text))?;
                call(name, &[], self.context).map_err(|refusal| match refusal {
                    Refusal::Wrong(text) => self.fault(operand.span, text),
                    Refusal::Full => self.full(operand.span),
                })?
            }
            term => self.term(term, dot, operand.span)?,
        };
        self.fields(value, &operand.fields, operand.span)
    }

    fn term(&mut self, term: &'a Term, dot: &Value, span: Span) -> Result<Value, Fault> {
        Ok(match term {
            Term::Nil | Term::Function(_) => Value::Nil,
            Term::Dot => dot.clone(),
            Term::Bool(value) => Value::Bool(*value),
            Term::Int(value) => Value::Int(*value),
            Term::Float(value) => Value::Float(*value),
            Term::Text(text) => Value::text(text.as_str()),
            Term::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = known.map(|(_, value)| value.clone());
                value.ok_or_else(|| self.fault(span, format!("undefined variable: {name}")))?
            }
            Term::Pipeline(pipeline) => {
                self.deeper(span)?;
                let scope = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                self.variables.truncate(scope);
                self.depth -= 1;
                value
            }
        })
    }

    fn fields(&mut self, value: Value, fields: &[String], span: Span) -> Result<Value, Fault> {
        let mut at = value;
        for name in fields {
            self.step(span, 1)?;
            let next = match &at {
                Value::Map(map) => match kv::member(&at, name, &[]) {
                    Some(Ok(value)) => Some(value),
                    Some(Err(text)) => return Err(self.fault(span, text)),
                    None => map.field(name),
                },
                Value::Nil => {
                    return Err(self.fault(span, format!("nil data; no entry for key {name:?}")));
                }
                other => match member(other, name, &[]) {
                    Some(Ok(value)) => Some(value),
                    Some(Err(text)) => return Err(self.fault(span, text)),
                    None => None,
                },
            };
            let kind = at.type_name();
            at = next.ok_or_else(|| {
                self.fault(span, format!("can't evaluate field {name} in type {kind}"))
            })?;
        }
        Ok(at)
    }
}

/// A method of a time or a length of time; `None` when there is none of this name.
fn member(host: &Value, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    let value = match (host, name, args) {
        (Value::Time(ns), "Format", [Value::Text(layout)]) => {
            Value::text(calendar::format(*ns, layout))
        }
        (Value::Time(_), "Format", _) => {
            return Some(Err("Format takes one layout".to_owned()));
        }
        (Value::Time(ns), _, []) => time_part(*ns, name)?,
        (Value::Duration(ns), _, []) => duration_part(*ns, name)?,
        (Value::Map(_) | Value::List(_), ..) => return kv::member(host, name, args),
        _ => return None,
    };
    Some(Ok(value))
}

fn time_part(ns: i64, name: &str) -> Option<Value> {
    let time = Civil::of(ns);
    Some(match name {
        "Year" => Value::Int(time.year),
        "Month" => Value::text(time.month_name()),
        "Day" => Value::Int(time.day),
        "Hour" => Value::Int(time.hour),
        "Minute" => Value::Int(time.minute),
        "Second" => Value::Int(time.second),
        "Nanosecond" => Value::Int(time.nanosecond),
        "Weekday" => Value::text(time.weekday),
        "YearDay" => Value::Int(time.year_day),
        "Unix" => Value::Int(ns.div_euclid(1_000_000_000)),
        "UnixMilli" => Value::Int(ns.div_euclid(1_000_000)),
        "UTC" => Value::Time(ns),
        "String" => Value::text(calendar::text(ns)),
        _ => return None,
    })
}

fn duration_part(ns: i64, name: &str) -> Option<Value> {
    let seconds = ns as f64 / 1e9;
    Some(match name {
        "Seconds" => Value::Float(seconds),
        "Minutes" => Value::Float(seconds / 60.0),
        "Hours" => Value::Float(seconds / 3_600.0),
        "Milliseconds" => Value::Int(ns / 1_000_000),
        "String" => Value::text(calendar::duration_text(ns)),
        _ => return None,
    })
}
