//! Counters since the start, and gauges, as Prometheus text (its page "Exposition formats").

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Engine, lock};
use crate::run::Status;

#[derive(Default)]
pub(super) struct Metrics {
    pub accepted: AtomicU64,
    pub repeats: AtomicU64,
    pub refused: AtomicU64,
    /// Refused since their flow had too many in line.
    pub limited: AtomicU64,
    pub rejected: AtomicU64,
    pub unproven: AtomicU64,
    pub appends: AtomicU64,
    pub calls: AtomicU64,
    pub failed_calls: AtomicU64,
    ended: [AtomicU64; Status::ALL.len()],
}

impl Metrics {
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn ended(&self, status: Status) {
        if let Some(index) = Status::ALL.iter().position(|one| *one == status) {
            Metrics::count(&self.ended[index]);
        }
    }
}

impl Engine {
    /// Counters and gauges for `/metrics`.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let m = &self.metrics;
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        one("millstream_requests_accepted_total", "counter", "Requests made durable as runs.", get(&m.accepted));
        one(
            "millstream_requests_repeated_total",
            "counter",
            "Requests that an earlier run stands for.",
            get(&m.repeats),
        );
        one(
            "millstream_requests_unproven_total",
            "counter",
            "Requests that failed a trigger's `auth`.",
            get(&m.unproven),
        );
        one("millstream_requests_refused_total", "counter", "Requests answered 503.", get(&m.refused));
        one("millstream_requests_limited_total", "counter", "Requests answered 429.", get(&m.limited));
        one("millstream_requests_rejected_total", "counter", "Malformed requests kept.", get(&m.rejected));
        one("millstream_journal_appends_total", "counter", "Durable appends of runs.", get(&m.appends));
        one("millstream_calls_total", "counter", "Attempts of actions.", get(&m.calls));
        one("millstream_calls_failed_total", "counter", "Attempts that failed.", get(&m.failed_calls));
        one("millstream_runs_working", "gauge", "Runs at work.", lock(&self.working).len() as u64);
        one("millstream_runs_queued", "gauge", "Runs waiting for a slot.", self.queue.len() as u64);
        let (slots, free) = self.queue.slots();
        one("millstream_slots", "gauge", "Slots for runs at work.", slots.into());
        one("millstream_slots_free", "gauge", "Slots that no run has taken.", free.into());
        one("millstream_timers", "gauge", "Timers set.", self.timers.len() as u64);
        one("millstream_flows", "gauge", "Live flows.", self.catalog.current().flows.len() as u64);
        let (alerts, together) = (get(&self.alerting.begun), get(&self.alerting.together));
        one("millstream_alerts_total", "counter", "Runs of the flow that `alerts` names.", alerts);
        one("millstream_alerts_together_total", "counter", "Runs told of in the alert for another.", together);
        one("millstream_runs_removed_total", "counter", "Runs removed by `retention`.", get(&self.kept.removed));
        let name = "millstream_breakers_opened_total";
        let opened = self.outbound.breakers_opened();
        let _ =
            writeln!(text, "# HELP {name} Targets that were found to be down.\n# TYPE {name} counter\n{name} {opened}");
        let name = "millstream_breaker_open";
        let _ = writeln!(text, "# HELP {name} Connections that are not called for now.\n# TYPE {name} gauge");
        for breaker in self.breakers() {
            let _ = writeln!(text, "{name}{{connection=\"{}\"}} 1", breaker.connection);
        }
        let name = "millstream_runs_kept";
        let _ = writeln!(text, "# HELP {name} Runs kept that `retention` counts.\n# TYPE {name} gauge");
        for status in [Status::Succeeded, Status::Cancelled] {
            let _ = writeln!(text, "{name}{{status=\"{status}\"}} {}", self.kept.count(status));
        }
        let name = "millstream_runs_ended_total";
        let _ = writeln!(text, "# HELP {name} Runs ended, by status.\n# TYPE {name} counter");
        for (index, status) in Status::ALL.iter().enumerate().filter(|(_, status)| status.is_ended()) {
            let _ = writeln!(text, "{name}{{status=\"{status}\"}} {}", get(&m.ended[index]));
        }
        text
    }
}
