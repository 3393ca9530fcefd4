//! What is known of a connector: how it was proved, what was not, and what its author read.

/// How a connector was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub kind: ProofKind,
    /// What it was proved against.
    pub by: String,
    /// What is from memory or could not be tried, one line each.
    pub unverified: Vec<String>,
}

/// What it was proved against, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofKind {
    /// The system itself, or its maker's own emulator.
    Real,
    /// A server made from the system's own description, as OpenAPI or a protocol's standard.
    Specified,
    /// A stand-in, written by hand from the system's documentation.
    StandIn,
}

impl ProofKind {
    pub(crate) const NAMES: [(&'static str, ProofKind); 3] =
        [("real", ProofKind::Real), ("specified", ProofKind::Specified), ("stand-in", ProofKind::StandIn)];

    /// As a file says it.
    pub fn name(self) -> &'static str {
        match self {
            ProofKind::Real => "real",
            ProofKind::Specified => "specified",
            ProofKind::StandIn => "stand-in",
        }
    }
}
