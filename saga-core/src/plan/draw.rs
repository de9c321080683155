//! Drawings of a plan, for people: Graphviz and Mermaid.
//!
//! Steps are named by their index in the source of the drawing, and by their name in its labels, so that any name is
//! legal. Solid edges carry data, dashed ones only order. A step's class shows by shape, colour and word, as not everyone
//! tells colours apart and not every printer has them.

use std::fmt;
use std::fmt::Write as _;

use crate::plan::{Plan, Recovery, Shape, StepPlan, Wire};

/// How the steps of a recovery class are drawn.
struct Style {
    /// The class in words, also its identifier in Mermaid.
    word: &'static str,
    identifier: &'static str,
    dot_shape: &'static str,
    /// What stands around a Mermaid label.
    mermaid_shape: (&'static str, &'static str),
    fill: &'static str,
    line: &'static str,
}

const COMPENSABLE: Style = Style {
    word: "compensable",
    identifier: "compensable",
    dot_shape: "box",
    mermaid_shape: ("[", "]"),
    fill: "#dff0d8",
    line: "#3c763d",
};
const READ_ONLY: Style = Style {
    word: "nothing to undo",
    identifier: "readOnly",
    dot_shape: "ellipse",
    mermaid_shape: ("([", "])"),
    fill: "#f5f5f5",
    line: "#777777",
};
const NON_COMPENSABLE: Style = Style {
    word: "non-compensable",
    identifier: "nonCompensable",
    dot_shape: "octagon",
    mermaid_shape: ("{{", "}}"),
    fill: "#f2dede",
    line: "#a94442",
};
const FORWARD: Style = Style {
    word: "finished forward",
    identifier: "forward",
    dot_shape: "cds",
    mermaid_shape: ("[/", "/]"),
    fill: "#d9edf7",
    line: "#31708f",
};

impl Style {
    fn of(step: &StepPlan) -> &'static Self {
        match step.recovery {
            Recovery::Compensable { .. } => &COMPENSABLE,
            Recovery::ReadOnly => &READ_ONLY,
            Recovery::NonCompensable => &NON_COMPENSABLE,
            Recovery::Forward { .. } => &FORWARD,
        }
    }
}

impl Plan {
    /// The plan as a Graphviz digraph: `dot -Tsvg saga.dot > saga.svg`.
    ///
    /// ```
    /// # use saga_core::{Ctx, Saga, StepError};
    /// # async fn act(_: Ctx<()>, n: u64) -> Result<u64, StepError> { Ok(n) }
    /// let mut saga = Saga::<(), u64>::builder("one", 1);
    /// let input = saga.input();
    /// let done = saga.step("act", input, act).nothing_to_undo();
    /// let dot = saga.build(done)?.to_dot();
    /// assert!(dot.contains(r#"s0 [label="act\nnothing to undo", shape=ellipse"#));
    /// assert!(dot.contains("input -> s0;"));
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut text = String::from("digraph saga {\n");
        self.write_dot(&mut text).expect("a string takes all that is written to it");
        text.push_str("}\n");
        text
    }

    /// The plan as a Mermaid flowchart, which many web pages draw where it stands in a `mermaid` code block.
    ///
    /// ```
    /// # use saga_core::{Ctx, Saga, StepError};
    /// # async fn act(_: Ctx<()>, n: u64) -> Result<u64, StepError> { Ok(n) }
    /// let mut saga = Saga::<(), u64>::builder("one", 1);
    /// let input = saga.input();
    /// let done = saga.step("act", input, act).nothing_to_undo();
    /// let flowchart = saga.build(done)?.to_mermaid();
    /// assert!(flowchart.contains(r#"s0(["act<br/>nothing to undo"]):::readOnly"#));
    /// assert!(flowchart.contains("input --> s0"));
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        self.write_mermaid(&mut text).expect("a string takes all that is written to it");
        text
    }

    fn write_dot(&self, f: &mut String) -> fmt::Result {
        writeln!(f, "  label=\"{}\";", Dot(&self.title()))?;
        writeln!(f, "  rankdir=LR;")?;
        writeln!(f, "  node [style=filled];")?;
        if self.steps().iter().any(|step| uses_input(&step.input)) {
            writeln!(f, "  input [shape=plaintext, style=solid];")?;
        }
        for (at, step) in self.steps().iter().enumerate() {
            let Style { word, dot_shape, fill, line, .. } = Style::of(step);
            write!(f, "  s{at} [label=\"{}\\n{word}", Dot(step.name.as_str()))?;
            if let Shape::Each { concurrency } = step.shape {
                write!(f, "\\nfor each, {concurrency} at a time")?;
            }
            write!(f, "\", shape={dot_shape}, fillcolor=\"{fill}\", color=\"{line}\"")?;
            // A fan-out is drawn with a double outline.
            writeln!(f, "{}];", if is_fan_out(step) { ", peripheries=2" } else { "" })?;
        }
        writeln!(f, "  output [shape=plaintext, style=solid];")?;
        self.edges(|from, to, carries| match carries {
            Carries::Data => writeln!(f, "  {from} -> {to};"),
            Carries::Order => writeln!(f, "  {from} -> {to} [style=dashed];"),
        })
    }

    fn write_mermaid(&self, f: &mut String) -> fmt::Result {
        writeln!(f, "  %% {}", Mermaid(&self.title()))?;
        if self.steps().iter().any(|step| uses_input(&step.input)) {
            writeln!(f, "  input((input))")?;
        }
        for (at, step) in self.steps().iter().enumerate() {
            let Style { word, identifier, mermaid_shape: (open, close), .. } = Style::of(step);
            write!(f, "  s{at}{open}\"{}<br/>{word}", Mermaid(step.name.as_str()))?;
            if let Shape::Each { concurrency } = step.shape {
                write!(f, "<br/>for each, {concurrency} at a time")?;
            }
            writeln!(f, "\"{close}:::{identifier}")?;
        }
        writeln!(f, "  output((output))")?;
        self.edges(|from, to, carries| match carries {
            Carries::Data => writeln!(f, "  {from} --> {to}"),
            Carries::Order => writeln!(f, "  {from} -.-> {to}"),
        })?;
        for Style { identifier, fill, line, .. } in [COMPENSABLE, READ_ONLY, NON_COMPENSABLE, FORWARD] {
            writeln!(f, "  classDef {identifier} fill:{fill},stroke:{line},color:#000000")?;
        }
        for (at, _) in self.steps().iter().enumerate().filter(|(_, step)| is_fan_out(step)) {
            // Mermaid has no double outline for every shape; a thick one does.
            writeln!(f, "  style s{at} stroke-width:4px")?;
        }
        Ok(())
    }

    fn title(&self) -> String {
        let mut title = format!("{}, version {}", self.saga(), self.version());
        if self.is_guarded() {
            title.push_str(", guarded");
        }
        if self.is_finalized() {
            title.push_str(", with a finalizer");
        }
        title
    }

    /// Calls `draw` for each edge, those to one step together.
    fn edges(&self, mut draw: impl FnMut(Node, Node, Carries) -> fmt::Result) -> fmt::Result {
        for (at, step) in self.steps().iter().enumerate() {
            if uses_input(&step.input) {
                draw(Node::Input, Node::Step(at), Carries::Data)?;
            }
            let data = step.input.steps();
            for dep in &step.deps {
                let carries = if data.contains(dep) { Carries::Data } else { Carries::Order };
                draw(Node::Step(dep.at()), Node::Step(at), carries)?;
            }
        }
        self.output().steps().into_iter().try_for_each(|step| draw(Node::Step(step.at()), Node::Output, Carries::Data))
    }
}

/// An end of an edge, which displays as its name in either language.
enum Node {
    Input,
    Step(usize),
    Output,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("input"),
            Self::Step(at) => write!(f, "s{at}"),
            Self::Output => f.write_str("output"),
        }
    }
}

enum Carries {
    Data,
    Order,
}

fn is_fan_out(step: &StepPlan) -> bool {
    matches!(step.shape, Shape::Each { .. })
}

fn uses_input(wire: &Wire) -> bool {
    match wire {
        Wire::Input => true,
        Wire::Unit | Wire::Step(_) => false,
        Wire::List(parts) => parts.iter().any(uses_input),
    }
}

/// Text as it stands in a quoted Graphviz label.
struct Dot<'a>(&'a str);

impl fmt::Display for Dot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' | '\\' => write!(f, "\\{c}"),
            // Graphviz reads HTML entities even in plain labels.
            '&' => f.write_str("&amp;"),
            _ => f.write_char(c),
        })
    }
}

/// Text as it stands in a quoted Mermaid label, which is Markdown with HTML in it: what means something there is written
/// as its number.
struct Mermaid<'a>(&'a str);

impl fmt::Display for Mermaid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' | '#' | '&' | '<' | '>' | '`' | '\\' | '*' | '_' | '{' | '}' => write!(f, "#{};", u32::from(c)),
            _ => f.write_char(c),
        })
    }
}
