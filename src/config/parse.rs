//! From the text of a cluster file to a [`Cluster`], refusing what is not sound.

use super::cluster::{Cluster, FaultModel, ServiceChoice, Testing};
use super::error::{ConfigError, Source};
use super::field::Section;
use super::raw::RawTesting;
use super::raw::{
    Placed, RawCluster, RawDisk, RawFile, RawNetwork, RawOrder, RawService, RawSettings, RawVoter,
};
use super::roster::Roster;
use super::{bounds, chains, shares, timers};
use crate::crypto::pem::from_hex;
use crate::types::{Assurance, ClockKind, Digest, Durability, Ensemble, MAX_T, MTU, Quotas};

/// How a key file is read: the path as the cluster file names it, relative to that file; gives the
/// file's text or says why not.
pub type ReadKey<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

/// Snapshots on a disk at most.
const MAX_SNAPSHOTS: u32 = 64;

/// Characters of a service's or client's name at most.
pub(super) const MAX_NAME: usize = 64;

impl Cluster {
    /// Reads a cluster file. `file` is its name for messages; `read_key` reads the public keys
    /// that the text names by their path.
    ///
    /// # Errors
    /// The first thing that is wrong: where, what, and what to write instead.
    pub fn parse(
        text: &str,
        file: &str,
        read_key: &mut ReadKey<'_>,
    ) -> Result<Cluster, ConfigError> {
        let source = Source { file, text };
        let raw: RawFile = toml::from_str(text).map_err(|e| source.toml_error(&e))?;
        let head = parse_head(source, &raw.cluster)?;
        let clock = parse_clock(source, &raw.order)?;
        let (durability, snapshots) = parse_disk(source, &raw.disk)?;
        let assurance = parse_voter(source, &raw.voter)?;
        let mtu = parse_network(source, &raw.network)?;
        let timing =
            timers::parse(source, &raw.timers, (head.delta, head.ensemble), &head.delta_span)?;
        let given = raw.replica.len();
        let model = (head.fault_model, head.ensemble);
        let hosts = chains::parse_master(source, &raw.master, model, given)?;
        let at_head = (head.ensemble, hosts.len(), &head.delta_span);
        let chains = chains::parse(source, &raw.chains, &timing, at_head)?;
        chains::check_clock(source, (head.fault_model, &head.model_span), clock)?;
        let limits = bounds::parse_limits(source, &raw.limits, clock)?;
        let quotas = bounds::parse_quotas(source, &raw.quotas, &limits, Quotas::default())?;
        let service = parse_service(source, &raw.service)?;
        let testing = parse_testing(source, &raw.testing)?;
        let mut roster = Roster::new(source, read_key);
        let wanted = (head.ensemble, hosts.last().copied(), &head.t_span);
        let replicas = roster.parse_replicas(&raw.replica, wanted)?;
        let clients = roster.parse_clients(&raw.client)?;
        let chain = shares::parse(source, &raw.chain, (&hosts, chains.length))?;
        shares::check_start(source, head.fault_model, (&raw.chain, &raw.service))?;
        Ok(Cluster {
            nonce: head.nonce,
            fault_model: head.fault_model,
            ensemble: head.ensemble,
            timing,
            chains,
            chain,
            clock,
            durability,
            assurance,
            snapshots,
            mtu,
            limits,
            quotas,
            replicas,
            clients,
            service,
            testing,
        })
    }

    /// The same cluster with what a process's own settings file says: a file with a section
    /// `[quotas]` and nothing else. What it does not say stays as the cluster file has it. Hosts of
    /// different sizes may differ in it; the configuration digest does not cover it.
    ///
    /// # Errors
    /// The first thing that is wrong: where, what, and what to write instead.
    pub fn with_settings(self, text: &str, file: &str) -> Result<Cluster, ConfigError> {
        let source = Source { file, text };
        let raw: RawSettings = toml::from_str(text).map_err(|e| source.toml_error(&e))?;
        let quotas = bounds::parse_quotas(source, &raw.quotas, &self.limits, self.quotas)?;
        Ok(Cluster { quotas, ..self })
    }
}

/// What `[cluster]` says.
struct Head {
    nonce: [u8; 32],
    fault_model: FaultModel,
    model_span: std::ops::Range<usize>,
    ensemble: Ensemble,
    delta: std::time::Duration,
    t_span: std::ops::Range<usize>,
    delta_span: std::ops::Range<usize>,
}

fn parse_head(source: Source<'_>, raw: &Placed<RawCluster>) -> Result<Head, ConfigError> {
    let Some(raw) = raw else {
        return Err(source.error(
            0..0,
            "there is no section [cluster]",
            "let `quorate init` write the file, or start from configs/three-loopback.toml",
        ));
    };
    let section = Section::new(source, "[cluster]", raw.span());
    let raw = raw.get_ref();
    let model = section.key("fault_model", &raw.fault_model, "\"byzantine\"");
    let fault_model = model.choice()?;
    let nonce_key = section.key("nonce", &raw.nonce, "\"<64 hexadecimal digits>\"");
    let nonce = from_hex(nonce_key.text()?).filter(|n| *n != [0; 32]).ok_or_else(|| {
        nonce_key.error(
            "this must be a random number of 64 hexadecimal digits",
            "write what `openssl rand -hex 32` prints",
        )
    })?;
    let t = section.key("t", &raw.t, "1");
    let faults = u8::try_from(t.whole(1..=u64::from(MAX_T))?).expect("in range by the line above");
    let delta = section.key("delta", &raw.delta, "\"100ms\"");
    Ok(Head {
        nonce,
        fault_model,
        model_span: model.span(),
        ensemble: Ensemble::new(faults).expect("1 to MAX_T by the lines above"),
        delta: delta.duration()?,
        t_span: t.span(),
        delta_span: delta.span(),
    })
}

fn parse_clock(source: Source<'_>, raw: &Placed<RawOrder>) -> Result<ClockKind, ConfigError> {
    let Some(raw) = raw else { return Ok(ClockKind::Hybrid) };
    let section = Section::new(source, "[order]", raw.span());
    section.key("clock", &raw.get_ref().clock, "\"hybrid\"").choice_or(ClockKind::Hybrid)
}

fn parse_disk(source: Source<'_>, raw: &Placed<RawDisk>) -> Result<(Durability, u32), ConfigError> {
    let Some(raw) = raw else { return Ok((Durability::default(), Cluster::SNAPSHOTS)) };
    let section = Section::new(source, "[disk]", raw.span());
    let raw = raw.get_ref();
    let durability = section.key("durability", &raw.durability, "\"reply\"");
    let snapshots = section.key("snapshots", &raw.snapshots, "2");
    Ok((
        durability.choice_or(Durability::default())?,
        snapshots.whole_or(Cluster::SNAPSHOTS, 1..=MAX_SNAPSHOTS)?,
    ))
}

fn parse_voter(source: Source<'_>, raw: &Placed<RawVoter>) -> Result<Assurance, ConfigError> {
    let Some(raw) = raw else { return Ok(Assurance::default()) };
    let section = Section::new(source, "[voter]", raw.span());
    let key = section.key("assurance", &raw.get_ref().assurance, "\"majority\"");
    key.choice_or(Assurance::default())
}

fn parse_network(source: Source<'_>, raw: &Placed<RawNetwork>) -> Result<Option<u16>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    let section = Section::new(source, "[network]", raw.span());
    let key = section.key("mtu", &raw.get_ref().mtu, "1472");
    let bounds = u64::from(*MTU.start())..=u64::from(*MTU.end());
    let mtu = key.is_given().then(|| key.whole(bounds)).transpose()?;
    Ok(mtu.map(|bytes| u16::try_from(bytes).expect("in range by the line above")))
}

fn parse_service(
    source: Source<'_>,
    raw: &Placed<RawService>,
) -> Result<ServiceChoice, ConfigError> {
    let Some(raw) = raw else { return Ok(ServiceChoice { name: "kv".to_owned(), initial: None }) };
    let section = Section::new(source, "[service]", raw.span());
    let key = section.key("name", &raw.get_ref().name, "\"kv\"");
    let name = key.text()?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(key.refuse(format!(
            "a service's name is 1 to {MAX_NAME} of the characters a-z, 0-9, - and _"
        )));
    }
    let key = section.key("initial_state", &raw.get_ref().initial_state, "\"<64 digits>\"");
    let initial = match key.is_given() {
        false => None,
        true => Some(from_hex(key.text()?).map(Digest).ok_or_else(|| {
            key.error(
                "this must be the digest of a state, 64 hexadecimal digits",
                "write what `quorate snapshot inspect` prints",
            )
        })?),
    };
    Ok(ServiceChoice { name: name.to_owned(), initial })
}

fn parse_testing(source: Source<'_>, raw: &Placed<RawTesting>) -> Result<Testing, ConfigError> {
    let Some(raw) = raw else { return Ok(Testing::default()) };
    let section = Section::new(source, "[testing]", raw.span());
    let allow_liars = section.key("allow_liars", &raw.get_ref().allow_liars, "false").flag()?;
    Ok(Testing { allow_liars })
}
