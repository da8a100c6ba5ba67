//! What a replica's disk holds of what the replica has signed (docs/protocol.md §7).

/// What a replica's disk holds of what the replica has signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskState {
    /// Nothing was signed on it, and too few others have said whether they know of a time before.
    /// If they do, that was on another disk, and the replica stops.
    #[default]
    New,
    /// All that the replica has signed was signed on this disk, or does not count any more.
    Known,
    /// It stands in for a disk that was lost, and what the replica has signed on that is not known.
    /// It reports nothing until a Join that it signed afterwards is accepted, and is
    /// [`DiskState::Known`] once it signs a proposal again.
    Replaced,
}
