//! Making a cluster: its file and all keys.

use super::keys::{create_key_directory, identity_files, write_private};
use super::write::{create_directories, sync_directory_of};
use super::{FileError, create_new, generate_key};
use crate::config::{Cluster, FaultModel, default_lease, show_duration};
use crate::crypto::SecretKey;
use crate::service::kv::Kv;
use crate::types::{Digest, Ensemble, MAX_ROSTER, MAX_T};
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Admin ports lie so far above the replicas'.
pub const ADMIN_PORT_OFFSET: u16 = 100;

/// Clients that `init` makes keys for at most; more can be added by hand.
pub const MAX_CLIENTS: u16 = 1000;

/// What cluster to make.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Where to: `quorate.toml` and `keys/` are made in it. It may exist.
    pub directory: PathBuf,
    /// How many replicas may be bad.
    pub t: u8,
    /// What must be survived.
    pub fault_model: FaultModel,
    /// How many replicas there are for chains alone, behind those that vote; 0: those that vote are
    /// the chains', too.
    pub chain_replicas: u8,
    /// Replica `i` gets port `base_port + i`, and `base_port + 100 + i` for its admin address.
    pub base_port: u16,
    /// How many clients to make keys for.
    pub clients: u16,
    /// Δ.
    pub delta: Duration,
    /// The host in all addresses: a name or an IP address.
    pub host: String,
    /// Whether replicas may be started as liars.
    pub allow_liars: bool,
    /// The name of the service: a built-in one, or one's own.
    pub service: String,
    /// The digest of the state that the service begins with; `None`: with an empty one.
    pub initial: Option<Digest>,
}

impl InitOptions {
    /// A cluster on this machine that survives one bad replica, with two clients and Δ = 100 ms.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            t: 1,
            fault_model: FaultModel::Byzantine,
            chain_replicas: 0,
            base_port: 7100,
            clients: 2,
            delta: Duration::from_millis(100),
            host: "127.0.0.1".to_owned(),
            allow_liars: false,
            service: Kv::NAME.to_owned(),
            initial: None,
        }
    }
}

/// A cluster on disk.
#[derive(Debug)]
pub struct NewCluster {
    /// What the file says.
    pub cluster: Cluster,
    /// The cluster file.
    pub config_file: PathBuf,
    /// Private key files of the replicas, in the order of their ids.
    pub replica_keys: Vec<PathBuf>,
    /// Private key files of the clients.
    pub client_keys: Vec<PathBuf>,
    /// The private key file of the operator: a client with the role admin.
    pub operator_key: PathBuf,
}

/// The client that may command the group.
const OPERATOR: &str = "operator";

/// Makes a cluster: `quorate.toml` and, under `keys/`, `replica-1.pem`, `replica-1.pub.pem` and so
/// on to `client-1.pem` and its like, and `operator.pem`.
///
/// # Errors
/// If an option cannot be met, or anything that would be written exists. On an error no file is
/// left behind.
pub fn write_cluster(options: &InitOptions) -> Result<NewCluster, FileError> {
    let ensemble = check_options(options)?;
    let identities = draw_identities(options, ensemble)?;
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(FileError::Random)?;
    let text = render(options, ensemble, &nonce, &identities);
    let config_file = options.directory.join("quorate.toml");
    // Read before it is written: whatever the options were, no file is made that is refused later.
    let no_files = &mut |_: &str| Err("keys are written out in a new file".to_owned());
    let cluster = Cluster::parse(&text, &config_file.display().to_string(), no_files)
        .map_err(|e| FileError::Request(format!("{}; {}", e.problem, e.remedy)))?;
    let keys = options.directory.join("keys");
    let mut made = Made::default();
    match made.write_all(&config_file, &text, &keys, &identities) {
        Ok(()) => {}
        Err(e) => {
            made.remove();
            return Err(e);
        }
    }
    let mut private_files: Vec<PathBuf> =
        identities.iter().map(|i| identity_files(&keys, &i.name).0).collect();
    let mut client_keys = private_files.split_off(roster(options, ensemble));
    let operator_key = client_keys.pop().expect("the operator's identity is always drawn");
    Ok(NewCluster { cluster, config_file, replica_keys: private_files, client_keys, operator_key })
}

/// The ports of a replica: for QUIC and for the admin address.
pub fn ports(base_port: u16, number: u8) -> (u16, u16) {
    let port = base_port.saturating_add(u16::from(number));
    (port, port.saturating_add(ADMIN_PORT_OFFSET))
}

struct NewIdentity {
    name: String,
    secret: SecretKey,
}

fn check_options(o: &InitOptions) -> Result<Ensemble, FileError> {
    let refuse = |message: String| Err(FileError::Request(message));
    let Some(ensemble) = Ensemble::new(o.t) else {
        return refuse(format!("--t {} is out of range; write 1 to {MAX_T}", o.t));
    };
    let all = roster(o, ensemble);
    if o.chain_replicas > 0 && o.fault_model != FaultModel::FailStop {
        return refuse(
            "--chain-replicas are those of the fail-stop model; add --fault-model fail-stop"
                .to_owned(),
        );
    }
    if all > MAX_ROSTER {
        let most = MAX_ROSTER - ensemble.n();
        return refuse(format!("--chain-replicas {} is above {most}", o.chain_replicas));
    }
    let highest = usize::from(u16::MAX) - usize::from(ADMIN_PORT_OFFSET) - all;
    if o.base_port == 0 || usize::from(o.base_port) > highest {
        return refuse(format!(
            "--base-port {} leaves no room: ports run from it + 1 to it + {}; write 1 to {highest}",
            o.base_port,
            usize::from(ADMIN_PORT_OFFSET) + all,
        ));
    }
    if o.clients > MAX_CLIENTS {
        return refuse(format!("--clients {} is above {MAX_CLIENTS}", o.clients));
    }
    if !is_word(&o.service) {
        return refuse(format!(
            "--service {:?} is no name: write one with the characters a-z, 0-9, - and _",
            o.service
        ));
    }
    if o.host.contains(['"', '\\', '\n', '\r']) || o.host.contains(char::is_control) {
        return refuse(format!("--host {:?} is neither a name nor an IP address", o.host));
    }
    Ok(ensemble)
}

/// How many replicas there are.
fn roster(o: &InitOptions, ensemble: Ensemble) -> usize {
    ensemble.n() + usize::from(o.chain_replicas)
}

fn is_word(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    !name.is_empty() && name.chars().all(fits)
}

fn draw_identities(o: &InitOptions, ensemble: Ensemble) -> Result<Vec<NewIdentity>, FileError> {
    let replicas = (1..=roster(o, ensemble)).map(|i| format!("replica-{i}"));
    let clients = (1..=o.clients).map(|i| format!("client-{i}"));
    let names = replicas.chain(clients).chain([OPERATOR.to_owned()]);
    names.map(|name| Ok(NewIdentity { name, secret: generate_key()? })).collect()
}

/// The files made so far, to be removed if one cannot be.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn write_all(
        &mut self,
        config_file: &Path,
        text: &str,
        keys: &Path,
        identities: &[NewIdentity],
    ) -> Result<(), FileError> {
        let pairs: Vec<_> = identities.iter().map(|i| identity_files(keys, &i.name)).collect();
        if let Some(directory) = keys.parent() {
            create_directories(directory)?;
        }
        create_key_directory(keys)?;
        for (identity, (private, public)) in identities.iter().zip(pairs) {
            write_private(&private, &identity.secret)?;
            self.0.push(private);
            create_new(&public, identity.secret.public().to_pem().as_bytes(), 0o644)?;
            self.0.push(public);
        }
        create_new(config_file, text.as_bytes(), 0o644)?;
        self.0.push(config_file.to_owned());
        self.0.first().map_or(Ok(()), |key| sync_directory_of(key))?;
        sync_directory_of(config_file)
    }

    fn remove(self) {
        for path in self.0 {
            // The error that matters is the one that led here.
            let _ = fs::remove_file(path);
        }
    }
}

/// The text of the cluster file, with every optional section shown as a comment.
fn render(
    o: &InitOptions,
    ensemble: Ensemble,
    nonce: &[u8; 32],
    identities: &[NewIdentity],
) -> String {
    let mut out = String::new();
    let (n, t) = (ensemble.n(), ensemble.t());
    let timing = crate::types::Timing::from_delta(o.delta);
    let mut put = |text: String| out.push_str(&text);
    put(include_str!("template/cluster.toml")
        .replace("@N@", &n.to_string())
        .replace("@T@", &t.to_string())
        .replace("@FAULT_MODEL@", o.fault_model.name())
        .replace("@LEASE@", &show_duration(default_lease(&timing)))
        .replace("@MASTER@", &master(o, ensemble))
        .replace("@MARGIN@", &show_duration(timing.delta))
        .replace("@LENGTH@", &length(o, ensemble).to_string())
        .replace("@NONCE@", &Digest(*nonce).to_hex())
        .replace("@SERVICE@", &o.service)
        .replace("@INITIAL@", &initial(o))
        .replace("@DELTA@", &show_duration(o.delta))
        .replace("@PATIENCE@", &show_duration(timing.patience))
        .replace("@JOIN_DELAY@", &show_duration(timing.join_delay))
        .replace("@GATHER@", &show_duration(timing.gather))
        .replace("@HEARTBEAT@", &show_duration(timing.heartbeat))
        .replace("@PING_EVERY@", &show_duration(timing.ping_every)));
    if o.allow_liars {
        put("\n[testing]\n# Replicas may be started as liars: for demonstrations only.\n\
             allow_liars = true\n"
            .to_owned());
    }
    let (replicas, clients) = identities.split_at(roster(o, ensemble));
    for (number, identity) in (1u8..).zip(replicas) {
        put(render_replica(o, number, identity));
    }
    for identity in clients {
        let NewIdentity { name, secret } = identity;
        let key = secret.public().to_inline();
        let role = if name == OPERATOR { "admin" } else { "write" };
        put(format!(
            "\n[[client]]\nname = \"{name}\"\npublic_key = \"{key}\"\nrole = \"{role}\"\n"
        ));
    }
    out
}

/// Members of a chain if the file says nothing.
fn length(o: &InitOptions, ensemble: Ensemble) -> usize {
    match o.chain_replicas {
        0 => ensemble.majority(),
        hosts => ensemble.majority().min(usize::from(hosts)),
    }
}

/// The section that says who is the master, if that is a group of its own.
fn master(o: &InitOptions, ensemble: Ensemble) -> String {
    let ids: Vec<String> = (1..=ensemble.n()).map(|i| i.to_string()).collect();
    match o.chain_replicas {
        0 => String::new(),
        _ => format!("[master]\nreplicas = [{}]\n", ids.join(", ")),
    }
}

/// The line for the state that the service begins with.
fn initial(o: &InitOptions) -> String {
    match &o.initial {
        Some(digest) => format!(
            "# The state that it begins with; `quorate snapshot restore` gives it to a replica.\n\
             initial_state = \"{}\"\n",
            digest.to_hex()
        ),
        None => String::new(),
    }
}

fn render_replica(o: &InitOptions, number: u8, identity: &NewIdentity) -> String {
    let (port, admin) = ports(o.base_port, number);
    let address = match o.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        _ => format!("{}:{port}", o.host),
    };
    let key = identity.secret.public().to_inline();
    let mut text = String::new();
    write!(
        text,
        "\n[[replica]]\nid = {number}\naddress = \"{address}\"\nadmin = \"127.0.0.1:{admin}\"\n\
         public_key = \"{key}\"\n"
    )
    .expect("a string takes all that is written");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{load_cluster, read_public_key, read_secret_key};
    use std::os::unix::fs::PermissionsExt;

    fn options(directory: &Path) -> InitOptions {
        InitOptions::new(directory.join("cluster"))
    }

    #[test]
    fn replicas_for_chains_alone_stand_behind_those_that_vote() {
        let dir = tempfile::tempdir().unwrap();
        let fault_model = FaultModel::FailStop;
        let asked = InitOptions { fault_model, chain_replicas: 4, ..options(dir.path()) };
        let made = write_cluster(&asked).unwrap();
        let c = &made.cluster;
        assert_eq!((c.voters().len(), c.hosts().len(), made.replica_keys.len()), (3, 4, 7));
        assert_eq!(made.client_keys.len(), 2);
        assert_eq!(load_cluster(&made.config_file).unwrap(), *c);
        let key = read_secret_key(&made.replica_keys[6]).unwrap().public();
        assert_eq!(key, c.hosts()[3].public_key);
        for (bad, why) in [
            (InitOptions { chain_replicas: 29, ..asked.clone() }, "is above 28"),
            (InitOptions { fault_model: FaultModel::Byzantine, ..asked }, "fail-stop"),
        ] {
            let refused = write_cluster(&bad).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn what_init_writes_loads_as_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let asked = InitOptions {
            t: 2,
            base_port: 9000,
            clients: 3,
            delta: Duration::from_millis(250),
            allow_liars: true,
            service: "ledger".to_owned(),
            ..options(dir.path())
        };
        let new = write_cluster(&asked).unwrap();
        assert_eq!(load_cluster(&new.config_file).unwrap(), new.cluster);
        let c = &new.cluster;
        assert_eq!((c.ensemble.n(), c.clients.len(), c.timing.delta), (5, 4, asked.delta));
        let operator = &c.clients[3];
        assert_eq!((&*operator.name, operator.role), ("operator", crate::types::Role::Admin));
        assert!(c.clients[..3].iter().all(|c| c.role == crate::types::Role::Write));
        assert!(c.testing.allow_liars);
        assert_eq!(c.service.name, "ledger");
        assert_eq!(c.replicas[4].address, "127.0.0.1:9005");
        assert_eq!(c.replicas[4].admin.to_string(), "127.0.0.1:9105");
        let keys = new.replica_keys.iter().zip(c.replicas.iter().map(|r| r.public_key));
        let files = new.client_keys.iter().chain([&new.operator_key]);
        let clients = files.zip(c.clients.iter().map(|c| c.public_key));
        for (file, key) in keys.chain(clients) {
            assert_eq!(read_secret_key(file).unwrap().public(), key);
            assert_eq!(read_public_key(&file.with_extension("pub.pem")).unwrap(), key);
        }
        assert!(new.client_keys[2].ends_with("keys/client-3.pem"));
        let mode = fs::metadata(dir.path().join("cluster/keys")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    /// The values that the file shows as comments are the defaults.
    #[test]
    fn the_comments_tell_the_truth() {
        let dir = tempfile::tempdir().unwrap();
        let new = write_cluster(&options(dir.path())).unwrap();
        let text = fs::read_to_string(&new.config_file).unwrap();
        let is_code = |l: &str| l.starts_with("# [") || l.contains(" = ") && !l.contains("n = 2t");
        let uncomment = |l: &str| match l.strip_prefix("# ") {
            Some(rest) if is_code(l) => rest.to_owned(),
            _ => l.to_owned(),
        };
        let lines: Vec<String> = text.lines().map(uncomment).collect();
        assert!(lines.iter().any(|l| l == "[quotas]") && lines.iter().any(|l| l == "[timers]"));
        let mut none = |_: &str| Err(String::new());
        assert_eq!(Cluster::parse(&lines.join("\n"), "f", &mut none).unwrap(), new.cluster);
    }

    #[test]
    fn two_clusters_differ_in_everything_secret() {
        let dir = tempfile::tempdir().unwrap();
        let one = write_cluster(&options(&dir.path().join("1"))).unwrap().cluster;
        let two = write_cluster(&options(&dir.path().join("2"))).unwrap().cluster;
        assert_ne!(one.nonce, two.nonce);
        assert_ne!(one.replicas[0].public_key, two.replicas[0].public_key);
        assert_ne!(one.id(), two.id());
    }

    #[test]
    fn anything_in_the_way_is_kept_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let asked = options(dir.path());
        for name in ["quorate.toml", "keys/replica-2.pem", "keys/client-2.pub.pem"] {
            let path = asked.directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "mine").unwrap();
            let e = write_cluster(&asked).unwrap_err();
            assert!(matches!(&e, FileError::Exists(p) if *p == path), "{e}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
            fs::remove_file(&path).unwrap();
            let left = fs::read_dir(asked.directory.join("keys")).map_or(0, |d| d.count());
            assert!(left == 0 && !asked.directory.join("quorate.toml").exists());
        }
        write_cluster(&asked).unwrap();
        assert!(matches!(write_cluster(&asked), Err(FileError::Exists(_))));
    }

    #[test]
    fn hosts_may_be_names_and_ipv6() {
        let dir = tempfile::tempdir().unwrap();
        for (host, address) in [("::1", "[::1]:7101"), ("localhost", "localhost:7101")] {
            let asked = InitOptions { host: host.to_owned(), ..options(&dir.path().join(address)) };
            assert_eq!(write_cluster(&asked).unwrap().cluster.replicas[0].address, address);
        }
    }

    #[test]
    fn options_that_cannot_be_met_are_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let good = options(dir.path());
        let with = |change: &dyn Fn(&mut InitOptions)| {
            let mut options = good.clone();
            change(&mut options);
            options
        };
        let host = |h: &str| with(&|o| o.host = h.to_owned());
        let rows = [
            (with(&|o| o.t = 0), "1 to 15"),
            (with(&|o| o.t = 16), "1 to 15"),
            (with(&|o| o.base_port = 0), "--base-port 0"),
            (with(&|o| o.base_port = 65_433), "write 1 to 65432"),
            (with(&|o| o.base_port = 65_535), "write 1 to 65432"),
            (with(&|o| o.clients = 1001), "--clients"),
            (with(&|o| o.delta = Duration::ZERO), "outside of 100us"),
            (with(&|o| o.delta = Duration::from_micros(500)), "at least 1ms"),
            (with(&|o| o.delta = Duration::from_secs(61)), "outside of 100us to 1m"),
            (host("0.0.0.0"), "for all interfaces"),
            (host("a b"), "neither a host name"),
            (host(""), "neither a host name"),
            (host("x\"\nt = 3"), "--host"),
            (with(&|o| o.service = "a\"b".to_owned()), "--service"),
            (with(&|o| o.service = "x".repeat(1000)), "a service's name is"),
        ];
        for (options, part) in rows {
            let e = write_cluster(&options).unwrap_err().to_string();
            assert!(e.contains(part), "{e}");
        }
        assert!(!good.directory.exists());
        let highest = with(&|o| o.base_port = 65_432);
        assert_eq!(write_cluster(&highest).unwrap().cluster.replicas[2].admin.port(), 65_535);
    }
}
