//! The syntax tree: what `parse` makes and `exec` walks.

/// Bytes of the source a piece was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Text(String),
    Action(Pipeline),
    If(Branch),
    Range(Branch),
    With(Branch),
    Template { name: String, argument: Option<Pipeline>, span: Span },
    Break,
    Continue,
}

#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) pipeline: Pipeline,
    pub(crate) body: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    /// Variables set to the result; two only in a `range`.
    pub(crate) variables: Vec<String>,
    pub(crate) binding: Binding,
    pub(crate) commands: Vec<Command>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// Never empty.
    pub(crate) operands: Vec<Operand>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) term: Term,
    /// Names after the term: `.a.b` is `Dot` with two fields.
    pub(crate) fields: Vec<String>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum Term {
    Nil,
    Dot,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Variable(String),
    Function(String),
    Pipeline(Box<Pipeline>),
}
