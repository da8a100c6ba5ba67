//! Who may send which command to the master of chains (docs/chain.md): replicas renew their own
//! leases, operators change chains, everybody may look.
//!
//! Each replica judges what its own clients send, as it does with the roles of docs/protocol.md
//! (O8): what `t + 1` replicas do not let in is never ordered.

use crate::master::Command;
use crate::types::{ReplicaId, Role};
use crate::wire::{CommandKind, NoteKind, Request, RequestBody};

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sender {
    /// A replica, with its own key.
    Replica(ReplicaId),
    /// A client.
    Client(Role),
}

/// Whether the master may be asked this.
///
/// # Errors
/// What the sender is told.
pub(super) fn judge(sender: Sender, request: &Request) -> Result<(), NoteKind> {
    if request.number == 0 || request.withdraws() {
        return Ok(());
    }
    let body = RequestBody::parse(&request.body).map_err(|_| NoteKind::Unacceptable)?;
    for command in &body.commands {
        let parsed = Command::parse(&command.bytes).map_err(|_| NoteKind::Unacceptable)?;
        let may = match (&parsed, sender) {
            _ if command.kind == CommandKind::Query => true,
            (Command::Show { .. }, Sender::Client(role)) => role != Role::Read,
            (Command::Show { .. }, Sender::Replica(_)) => true,
            (Command::Renew(renewal), Sender::Replica(own)) => renewal.replica == own,
            (Command::Renew(_), Sender::Client(_)) => false,
            (_, Sender::Replica(_)) => false,
            (_, Sender::Client(role)) => role == Role::Admin,
        };
        if !may {
            return Err(NoteKind::Forbidden);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SessionId;
    use crate::wire::{ChainPosition, ChainRenewal, Command as Asked};

    fn request(kind: CommandKind, command: &Command) -> Request {
        let commands = vec![Asked { kind, bytes: command.encode().into() }];
        let body = RequestBody { commands }.to_bytes();
        Request { session: SessionId(1), number: 1, low: 1, body }
    }

    #[test]
    fn replicas_renew_for_themselves_and_operators_alone_change_chains() {
        let one = ReplicaId::from_index(0);
        let two = ReplicaId::from_index(1);
        let renew = Command::Renew(ChainRenewal {
            chain: 0,
            replica: one,
            incarnation: 1,
            last: ChainPosition::default(),
            paired: 0,
            lost: false,
        });
        let show = Command::Show { chain: 0 };
        let remove = Command::Remove { chain: 0, replica: two };
        let create = Command::Create { chain: 7, wanted: 1, members: vec![one], spares: vec![] };
        let client = Sender::Client;
        let rows = [
            (Sender::Replica(one), &renew, true),
            (Sender::Replica(two), &renew, false),
            (client(Role::Admin), &renew, false),
            (client(Role::Admin), &remove, true),
            (client(Role::Write), &remove, false),
            (Sender::Replica(two), &remove, false),
            (client(Role::Write), &create, false),
            (client(Role::Write), &show, true),
            (client(Role::Read), &show, false),
        ];
        for (sender, command, may) in rows {
            let judged = judge(sender, &request(CommandKind::Execute, command));
            let expected = if may { Ok(()) } else { Err(NoteKind::Forbidden) };
            assert_eq!(judged, expected, "{sender:?} {command:?}");
        }
        // A query changes nothing, whatever it asks for: the master says so.
        for command in [&show, &remove] {
            assert_eq!(judge(client(Role::Read), &request(CommandKind::Query, command)), Ok(()));
        }
        let broken = Request { body: vec![9].into(), ..request(CommandKind::Query, &show) };
        assert_eq!(judge(client(Role::Admin), &broken), Err(NoteKind::Unacceptable));
        let opening = Request { number: 0, body: Default::default(), ..broken };
        assert_eq!(judge(client(Role::Read), &opening), Ok(()));
    }
}
