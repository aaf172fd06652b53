//! Lexemes to a tree. Names of functions and variables are checked here, so a typo fails when a rule is loaded.

use std::collections::BTreeMap;

use crate::function::is_function;
use crate::lex::{Keyword, Lexeme, Token, lex};
use crate::tree::{Binding, Branch, Command, Node, Operand, Pipeline, Span, Term};
use crate::{DEPTH_MAX, Fault, SOURCE_BYTES_MAX};

type Parsed = (Vec<Node>, BTreeMap<String, Vec<Node>>);

/// Body and definitions of `source`; `variables` are declared outside of definitions.
pub(crate) fn parse(name: &str, source: &str, variables: &[&str]) -> Result<Parsed, Fault> {
    if source.len() > SOURCE_BYTES_MAX {
        let text = format!("{name:?} has {} bytes, limit is {SOURCE_BYTES_MAX}", source.len());
        return Err(Fault::exhausted(0, text));
    }
    let mut declared = vec!["$".to_owned()];
    declared.extend(variables.iter().map(|&v| v.to_owned()));
    let mut parser = Parser {
        source,
        lexemes: lex(source)?,
        at: 0,
        variables: declared,
        defined: BTreeMap::new(),
        depth: 0,
        loops: 0,
    };
    let (body, stop) = parser.nodes()?;
    match stop {
        Stop::EndOfSource => Ok((body, parser.defined)),
        Stop::End(span) => Err(Fault::invalid(span.start, "unexpected {{end}}")),
        Stop::Else(span) => Err(Fault::invalid(span.start, "unexpected {{else}}")),
    }
}

/// What ended a list of nodes. After `Else` the lexemes behind the word are still to be read.
enum Stop {
    EndOfSource,
    End(Span),
    Else(Span),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    If,
    Range,
    With,
}

struct Parser<'a> {
    source: &'a str,
    lexemes: Vec<Lexeme>,
    at: usize,
    variables: Vec<String>,
    defined: BTreeMap<String, Vec<Node>>,
    depth: usize,
    loops: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Lexeme {
        // The last lexeme is `End`, and nothing steps past it.
        &self.lexemes[self.at.min(self.lexemes.len() - 1)]
    }

    fn next(&mut self) -> Lexeme {
        let lexeme = self.peek().clone();
        self.at += 1;
        lexeme
    }

    fn skip_space(&mut self) {
        while self.peek().token == Token::Space {
            self.at += 1;
        }
    }

    fn next_solid(&mut self) -> Lexeme {
        self.skip_space();
        self.next()
    }

    fn unexpected(&self, lexeme: &Lexeme, context: &str) -> Fault {
        let text = match &lexeme.token {
            Token::End => format!("unexpected end of template in {context}"),
            Token::Close => format!("unexpected \"}}}}\" in {context}"),
            _ => {
                let piece = &self.source[lexeme.span.start..lexeme.span.end];
                format!("unexpected {piece:?} in {context}")
            }
        };
        Fault::invalid(lexeme.span.start, text)
    }

    fn close(&mut self, context: &str) -> Result<(), Fault> {
        let lexeme = self.next_solid();
        match lexeme.token {
            Token::Close => Ok(()),
            _ => Err(self.unexpected(&lexeme, context)),
        }
    }

    fn deeper(&mut self, at: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::exhausted(at, format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(())
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), Fault> {
        self.deeper(self.peek().span.start)?;
        let mut nodes = Vec::new();
        let stop = loop {
            let lexeme = self.next();
            match lexeme.token {
                Token::End => break Stop::EndOfSource,
                Token::Text(text) => nodes.push(Node::Text(text)),
                _ => {
                    self.skip_space();
                    let first = self.peek().clone();
                    let Token::Keyword(keyword) = first.token else {
                        nodes.push(self.action()?);
                        continue;
                    };
                    if keyword != Keyword::Nil {
                        self.at += 1;
                    }
                    match keyword {
                        Keyword::End => {
                            self.close("end")?;
                            break Stop::End(first.span);
                        }
                        Keyword::Else => break Stop::Else(first.span),
                        _ => nodes.extend(self.keyword(keyword, first.span)?),
                    }
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, stop))
    }

    fn action(&mut self) -> Result<Node, Fault> {
        let pipeline = self.pipeline("command", 1)?;
        self.close("command")?;
        Ok(Node::Action(pipeline))
    }

    fn keyword(&mut self, keyword: Keyword, span: Span) -> Result<Option<Node>, Fault> {
        Ok(Some(match keyword {
            Keyword::If => Node::If(self.branch(Block::If, span)?),
            Keyword::With => Node::With(self.branch(Block::With, span)?),
            Keyword::Range => Node::Range(self.branch(Block::Range, span)?),
            Keyword::Template => self.template(span)?,
            Keyword::Block => self.block(span)?,
            Keyword::Define => {
                self.define(span)?;
                return Ok(None);
            }
            Keyword::Break | Keyword::Continue => {
                let (name, node) = match keyword {
                    Keyword::Break => ("break", Node::Break),
                    _ => ("continue", Node::Continue),
                };
                if self.loops == 0 {
                    let text = format!("{{{{{name}}}}} outside {{{{range}}}}");
                    return Err(Fault::invalid(span.start, text));
                }
                self.close(name)?;
                node
            }
            Keyword::Nil | Keyword::End | Keyword::Else => self.action()?,
        }))
    }

    fn branch(&mut self, block: Block, span: Span) -> Result<Branch, Fault> {
        let name = match block {
            Block::If => "if",
            Block::Range => "range",
            Block::With => "with",
        };
        let scope = self.variables.len();
        let pipeline = self.pipeline(name, if block == Block::Range { 2 } else { 1 })?;
        self.close(name)?;
        self.loops += usize::from(block == Block::Range);
        let (body, stop) = self.nodes()?;
        self.loops -= usize::from(block == Block::Range);
        let otherwise = match stop {
            Stop::End(_) => Vec::new(),
            Stop::Else(at) => self.otherwise(block, at)?,
            Stop::EndOfSource => {
                return Err(Fault::invalid(
                    span.start,
                    format!("{{{{{name}}}}} without {{{{end}}}}"),
                ));
            }
        };
        self.variables.truncate(scope);
        Ok(Branch { pipeline, body, otherwise })
    }

    fn otherwise(&mut self, block: Block, span: Span) -> Result<Vec<Node>, Fault> {
        self.skip_space();
        let chained = match (block, &self.peek().token) {
            (Block::If, Token::Keyword(Keyword::If)) => Some(Block::If),
            (Block::With, Token::Keyword(Keyword::With)) => Some(Block::With),
            _ => None,
        };
        if let Some(block) = chained {
            // `else if` shares the `end` of the `if` it belongs to.
            self.deeper(span.start)?;
            self.at += 1;
            let branch = self.branch(block, span)?;
            self.depth -= 1;
            return Ok(vec![if block == Block::If {
                Node::If(branch)
            } else {
                Node::With(branch)
            }]);
        }
        self.close("else")?;
        let (nodes, stop) = self.nodes()?;
        match stop {
            Stop::End(_) => Ok(nodes),
            Stop::Else(at) => Err(Fault::invalid(at.start, "expected end; found {{else}}")),
            Stop::EndOfSource => Err(Fault::invalid(span.start, "{{else}} without {{end}}")),
        }
    }

    fn name(&mut self, context: &str) -> Result<String, Fault> {
        let lexeme = self.next_solid();
        match lexeme.token {
            Token::Str(name) => Ok(name),
            _ => Err(self.unexpected(&lexeme, context)),
        }
    }

    fn template(&mut self, span: Span) -> Result<Node, Fault> {
        let name = self.name("template clause")?;
        self.skip_space();
        let argument = match self.peek().token {
            Token::Close => None,
            _ => Some(self.pipeline("template clause", 1)?),
        };
        self.close("template clause")?;
        Ok(Node::Template { name, argument, span })
    }

    fn define(&mut self, span: Span) -> Result<(), Fault> {
        let name = self.name("define clause")?;
        self.close("define clause")?;
        self.definition(name, span)
    }

    fn block(&mut self, span: Span) -> Result<Node, Fault> {
        let name = self.name("block clause")?;
        let argument = self.pipeline("block clause", 1)?;
        self.close("block clause")?;
        self.definition(name.clone(), span)?;
        Ok(Node::Template { name, argument: Some(argument), span })
    }

    /// A definition sees no variable but its own `$`.
    fn definition(&mut self, name: String, span: Span) -> Result<(), Fault> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (body, stop) = self.nodes()?;
        self.variables = outer;
        self.loops = loops;
        if !matches!(stop, Stop::End(_)) {
            let text = format!("definition of {name:?} without {{{{end}}}}");
            return Err(Fault::invalid(span.start, text));
        }
        self.defined.insert(name, body);
        Ok(())
    }

    fn pipeline(&mut self, context: &str, variables_max: usize) -> Result<Pipeline, Fault> {
        self.skip_space();
        let start = self.peek().span.start;
        let (variables, binding) = self.declaration(variables_max)?;
        let mut commands: Vec<Command> = Vec::new();
        loop {
            let command = self.command(context)?;
            let first = &command.operands[0];
            let literal = matches!(
                first.term,
                Term::Nil
                    | Term::Dot
                    | Term::Bool(_)
                    | Term::Int(_)
                    | Term::Float(_)
                    | Term::Text(_)
            );
            if !commands.is_empty() && literal && first.fields.is_empty() {
                let text =
                    format!("non executable command in pipeline stage {}", commands.len() + 1);
                return Err(Fault::invalid(first.span.start, text));
            }
            commands.push(command);
            self.skip_space();
            if self.peek().token != Token::Pipe {
                break;
            }
            self.at += 1;
        }
        let end = commands[commands.len() - 1].span.end;
        if binding == Binding::Declare {
            // Only now: a declaration does not see its own variables.
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, binding, commands, span: Span { start, end } })
    }

    /// `$x :=`, `$x =`, and in a range also `$i, $x :=`; nothing is consumed when there is none.
    fn declaration(&mut self, variables_max: usize) -> Result<(Vec<String>, Binding), Fault> {
        let begin = self.at;
        let mut variables = Vec::new();
        loop {
            let lexeme = self.next_solid();
            let Token::Variable(name) = lexeme.token else { break };
            variables.push(name);
            let after = self.next_solid();
            match after.token {
                Token::Declare => return Ok((variables, Binding::Declare)),
                Token::Assign => {
                    variables.iter().try_for_each(|v| self.declared(v, lexeme.span))?;
                    return Ok((variables, Binding::Assign));
                }
                Token::Comma if variables.len() < variables_max => {}
                Token::Comma => return Err(self.unexpected(&after, "declaration")),
                _ => break,
            }
        }
        self.at = begin;
        Ok((Vec::new(), Binding::Declare))
    }

    fn declared(&self, name: &str, span: Span) -> Result<(), Fault> {
        if self.variables.iter().any(|v| v == name) {
            return Ok(());
        }
        Err(Fault::invalid(span.start, format!("undefined variable \"{name}\"")))
    }

    fn command(&mut self, context: &str) -> Result<Command, Fault> {
        self.skip_space();
        let start = self.peek().span.start;
        let mut operands: Vec<Operand> = Vec::new();
        while let Some(operand) = self.operand()? {
            operands.push(operand);
            if self.peek().token != Token::Space {
                break;
            }
            self.skip_space();
        }
        let next = self.peek().clone();
        let ends = matches!(next.token, Token::Close | Token::RightParen | Token::Pipe);
        match operands.last() {
            Some(last) if ends => {
                let end = last.span.end;
                Ok(Command { operands, span: Span { start, end } })
            }
            None if ends => {
                Err(Fault::invalid(next.span.start, format!("missing value for {context}")))
            }
            _ => Err(self.unexpected(&next, "operand")),
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, Fault> {
        let Some((term, span)) = self.term()? else { return Ok(None) };
        let mut fields = Vec::new();
        let mut end = span.end;
        // `.a` alone is a field of the dot: its own lexeme was taken as the term.
        if let Token::Field(name) = &self.lexemes[self.at - 1].token {
            fields.push(name.clone());
        }
        while let Token::Field(name) = self.peek().token.clone() {
            if matches!(term, Term::Nil | Term::Bool(_) | Term::Int(_) | Term::Float(_))
                || matches!(term, Term::Text(_))
                || (matches!(term, Term::Dot) && fields.is_empty())
            {
                return Err(Fault::invalid(end, format!("unexpected .{name} after term")));
            }
            fields.push(name);
            end = self.next().span.end;
        }
        Ok(Some(Operand { term, fields, span: Span { start: span.start, end } }))
    }

    fn term(&mut self) -> Result<Option<(Term, Span)>, Fault> {
        let Lexeme { token, mut span } = self.peek().clone();
        let term = match token {
            Token::Keyword(Keyword::Nil) => Term::Nil,
            Token::Dot | Token::Field(_) => Term::Dot,
            Token::Bool(value) => Term::Bool(value),
            Token::Int(value) => Term::Int(value),
            Token::Float(value) => Term::Float(value),
            Token::Str(text) => Term::Text(text),
            Token::Variable(name) => {
                self.declared(&name, span)?;
                Term::Variable(name)
            }
            Token::Identifier(name) => {
                if !is_function(&name) {
                    let text = format!("function {name:?} not defined");
                    return Err(Fault::invalid(span.start, text));
                }
                Term::Function(name)
            }
            Token::LeftParen => {
                self.deeper(span.start)?;
                self.at += 1;
                let pipeline = self.pipeline("parenthesized pipeline", 1)?;
                let close = self.next_solid();
                if close.token != Token::RightParen {
                    return Err(self.unexpected(&close, "parenthesized pipeline"));
                }
                self.depth -= 1;
                span.end = close.span.end;
                return Ok(Some((Term::Pipeline(Box::new(pipeline)), span)));
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some((term, span)))
    }
}
