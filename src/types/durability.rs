//! What a replica has on its disk before it says something (docs/protocol.md §7).

/// What a replica has on its disk before it says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// A committed round with its certificate and its requests, before its replies leave: what was
    /// acknowledged outlives a power cut of all replicas.
    #[default]
    Reply,
    /// That, and each own proposal with what it rests on and with its requests, before it leaves:
    /// a replica that stopped goes on in its epoch, and nothing that was chosen is ever given up.
    /// Each request waits for two syncs more.
    Strict,
    /// Nothing of what is ordered: for tests and benchmarks, and for services whose state need not
    /// outlive all replicas.
    None,
}

impl Durability {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Strict => "strict",
            Self::None => "none",
        }
    }
}
