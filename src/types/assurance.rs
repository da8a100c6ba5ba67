//! How many replicas have to say the same (docs/protocol.md §9, C4).

use super::Ensemble;

/// How much a client wants of an answer before it believes it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    serde::Deserialize,
    serde::Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// `t + 1` equal replies: right while the assumptions of the protocol hold, of which one is
    /// the bound Δ on delays.
    #[default]
    Majority,
    /// `⌈(3t + 2) / 2⌉` equal replies (3 of 3, 4 of 5, 6 of 7) of replicas that never gave up what
    /// they had answered: no second answer can get so many, whatever the timing was, while at most
    /// `t` lie. One of few replicas that is down can be enough that there is no answer.
    Strong,
}

impl Assurance {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Majority => "majority",
            Self::Strong => "strong",
        }
    }

    /// How many equal replies that takes.
    pub fn needs(self, ensemble: Ensemble) -> usize {
        match self {
            Self::Majority => ensemble.majority(),
            Self::Strong => ensemble.strong(),
        }
    }
}
