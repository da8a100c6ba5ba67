//! A replica's condition as metrics, in the OpenMetrics text format.

use crate::replica::{Standing, Status};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Renders a status. Every counter becomes `quorate_NAME_total`, everything else a gauge.
pub fn render(status: &Status) -> String {
    let mut registry = Registry::with_prefix("quorate");
    let gauges: [(&str, &str, u64); 11] = [
        ("replica", "The replica's number", status.replica.into()),
        ("member", "1 if it takes part", (status.standing == Standing::Member).into()),
        ("halted", "1 if it has stopped itself", status.halted.is_some().into()),
        (
            "quarantined",
            "1 if it has no state since its own was wrong",
            status.quarantined.is_some().into(),
        ),
        ("round", "Last round in which it sent a proposal", status.round),
        ("committed_round", "Last committed round", status.committed),
        ("executed_round", "Last executed round", status.executed_round),
        ("stable_round", "Last checkpoint that t + 1 attest", status.stable),
        ("outstanding", "Requests seen and not executed", status.outstanding),
        ("client_links", "Client links that are up", status.client_links),
        ("waiting", "1 if a round waits for missing members", status.waiting.is_some().into()),
    ];
    for (name, help, value) in gauges {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        registry.register(name, help, ConstGauge::new(value));
    }
    registry.register("executed", "Requests executed", ConstCounter::new(status.executed));
    for (name, value) in &status.counters {
        registry.register(name, "See the documentation of the status", ConstCounter::new(*value));
    }
    for link in &status.links {
        let name = format!("link_{}_up", link.replica);
        registry.register(
            name,
            "1 if the link to that replica is up",
            ConstGauge::new(i64::from(link.up)),
        );
        if let Some(rtt) = link.rtt_us {
            let name = format!("link_{}_rtt_microseconds", link.replica);
            let rtt = i64::try_from(rtt).unwrap_or(i64::MAX);
            registry.register(name, "Round trip with handling", ConstGauge::new(rtt));
        }
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_and_the_standing_appear_once() {
        let counters = [("busy".to_owned(), 7)].into_iter().collect();
        let status = Status { counters, executed: 3, replica: 2, ..Status::default() };
        let text = render(&status);
        for line in ["quorate_busy_total 7", "quorate_executed_total 3", "quorate_member 1"] {
            assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
