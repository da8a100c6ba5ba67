//! A replica's condition as metrics, in the OpenMetrics text format.

use crate::replica::{DeltaStatus, Standing, Status};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

/// Renders a status. Every counter becomes `quorate_NAME_total`, everything else a gauge.
pub fn render(status: &Status) -> String {
    let mut registry = Registry::with_prefix("quorate");
    let takes_part = matches!(status.standing, Standing::Member | Standing::Host);
    let gauges: [(&str, &str, u64); 11] = [
        ("replica", "The replica's number", status.replica.into()),
        ("member", "1 if it takes part", takes_part.into()),
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
    // Who has no vote measures nothing.
    if status.standing != Standing::Host {
        delays(&mut registry, &status.delta);
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

/// What was measured of Δ. Labels have one value for each other replica, and `loop` and `disk`.
fn delays(registry: &mut Registry, delta: &DeltaStatus) {
    let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let held = "1 if it saw delta hold before its last proposal";
    registry.register("delta_microseconds", "The configured delta", gauge(delta.delta_us));
    registry.register("delta_held", held, gauge(delta.held.into()));
    if let Some(us) = delta.would_do_us {
        let help = "A delta that leaves room above all that was measured";
        registry.register("delta_would_do_microseconds", help, gauge(us));
    }
    type Labels = Vec<(&'static str, String)>;
    let (took, count) = (Family::<Labels, Gauge>::default(), Family::<Labels, Gauge>::default());
    for row in &delta.rows {
        let of = |more: Option<(&'static str, String)>| -> Labels {
            [("of", row.of.clone())].into_iter().chain(more).collect()
        };
        let quantiles =
            [("0.5", row.p50_us), ("0.99", row.p99_us), ("0.999", row.p999_us), ("1", row.max_us)];
        for (quantile, us) in quantiles.into_iter().filter(|_| row.count > 0) {
            let labels = of(Some(("quantile", quantile.to_owned())));
            took.get_or_create(&labels).set(i64::try_from(us).unwrap_or(i64::MAX));
        }
        count.get_or_create(&of(None)).set(i64::try_from(row.count).unwrap_or(i64::MAX));
    }
    let help = "Delay with handling in the last 10 to 20 minutes, by what";
    registry.register("delay_microseconds", help, took);
    registry.register("delay_measurements", "Measurements in that time", count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::DelayRow;

    #[test]
    fn delays_have_labels_for_whom_and_how_many() {
        let row = |of: &str, count, p999_us| DelayRow {
            of: of.to_owned(),
            count,
            p999_us,
            max_us: 9,
            ..DelayRow::default()
        };
        let rows = vec![row("R2", 10, 7), row("disk", 0, 0)];
        let delta = DeltaStatus { delta_us: 100_000, rows, ..DeltaStatus::default() };
        let text = render(&Status { delta, ..Status::default() });
        for line in [
            "quorate_delta_microseconds 100000",
            "quorate_delta_held 0",
            "quorate_delay_microseconds{of=\"R2\",quantile=\"0.999\"} 7",
            "quorate_delay_microseconds{of=\"R2\",quantile=\"1\"} 9",
            "quorate_delay_measurements{of=\"R2\"} 10",
            "quorate_delay_measurements{of=\"disk\"} 0",
        ] {
            assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line} in\n{text}");
        }
        assert!(!text.contains("would_do") && !text.contains("microseconds{of=\"disk\""));
    }

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
