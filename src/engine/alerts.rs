//! Telling a flow of runs that did not go well: `alerts` of `millstream.yaml`.
//!
//! Before the end, or the hold, of a run is durable, a setting of the journal says that it is to be told of; once the
//! alert's run is durable, the setting goes. The id of that run follows from what it tells of, so a start finds what was
//! not told yet, and what was is not told twice but where the process went down in between. What comes faster than it
//! may be told is told together.

use std::collections::VecDeque;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::accept::Entry;
use super::*;
use crate::config::Alerts;
use crate::flow::TriggerKind;
use crate::run::{Body, Event, Request, Run, State, Summary};

/// Where the settings are: `alert/{run}/{status}`.
const PREFIX: &str = "alert/";
/// Runs that wait to be told of; further ones are only counted.
const MOST: usize = 1_000;
/// Runs that one alert names beside the first.
const NAMED: usize = 50;
const MINUTE: Duration = Duration::from_secs(60);
/// When an alert that could not be begun is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What is to be told, and by whom.
#[derive(Default)]
pub(super) struct Alerting {
    rules: OnceLock<Alerts>,
    pending: Mutex<Pending>,
    news: Notify,
    pub begun: std::sync::atomic::AtomicU64,
    pub together: std::sync::atomic::AtomicU64,
}

#[derive(Default)]
struct Pending {
    news: VecDeque<News>,
    /// Those that found no room.
    more: u64,
}

/// A run that did not go well.
#[derive(Debug, Clone, PartialEq, Eq)]
struct News {
    run: RunId,
    status: Status,
    /// When it came to that, ms since 1970.
    at: i64,
}

/// What the journal keeps of one.
#[derive(Serialize, Deserialize)]
struct Kept {
    at: i64,
}

impl News {
    fn setting(&self) -> String {
        format!("{PREFIX}{}/{}", self.run, self.status)
    }

    fn kept(name: &str, value: &[u8]) -> Option<News> {
        let (run, status) = name.strip_prefix(PREFIX)?.split_once('/')?;
        let Kept { at } = serde_json::from_slice(value).ok()?;
        Some(News { run: run.parse().ok()?, status: status.parse().ok()?, at })
    }

    /// The run that tells of it: its time, and in place of chance what names it.
    fn alert(&self) -> RunId {
        let hash: [u8; 32] = Sha256::digest(format!("alert {} {} {}", self.run, self.status, self.at)).into();
        let mut random = [0; 10];
        random.copy_from_slice(&hash[..10]);
        let millis = u64::try_from(self.at).unwrap_or(0);
        RunId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

/// How a run stands after these events, if that may be worth an alert.
fn came_to(events: &[Event]) -> Option<Status> {
    events.iter().rev().find_map(|event| match event {
        Event::Finished { status, .. } => Some(*status),
        Event::Held { .. } => Some(Status::Held),
        _ => None,
    })
}

impl Engine {
    /// Says which flow is told of runs that do not go well: before any run is driven.
    pub fn alert_by(&self, rules: Alerts) {
        let _ = self.alerting.rules.set(rules);
    }

    /// Notes, durably, that a run is to be told of, before these events of it are durable. Costs nothing where they are no
    /// reason for an alert.
    pub(super) async fn intend_alert(&self, run: &Run, events: &[Event]) {
        let Some(news) = self.news_of(run, events) else { return };
        self.intend(&news).await;
    }

    async fn intend(&self, news: &News) {
        if lock(&self.alerting.pending).news.len() >= MOST {
            return;
        }
        let kept = json!(Kept { at: news.at }).to_string();
        // Without it the alert is only lost if the process goes down before it was begun.
        if let Err(error) = self.journal.set(&news.setting(), Some(kept.into_bytes())).await {
            tracing::warn!(run = %news.run, %error, "that an alert is due could not be noted");
        }
    }

    /// The events are durable: somebody is told, as soon as it may be.
    pub(super) fn alert(&self, run: &Run, events: &[Event]) {
        if let Some(news) = self.news_of(run, events) {
            self.have_told(news);
        }
    }

    /// A request was rejected.
    pub(super) async fn alert_of_rejected(&self, summary: &Summary) {
        if !self.is_told_of(Status::Rejected) || self.is_the_alert(&summary.flow) {
            return;
        }
        let news = News { run: summary.run_id, status: Status::Rejected, at: summary.updated_at.as_millisecond() };
        self.intend(&news).await;
        self.have_told(news);
    }

    fn have_told(&self, news: News) {
        let mut pending = lock(&self.alerting.pending);
        match pending.news.len() < MOST {
            true => pending.news.push_back(news),
            false => pending.more += 1,
        }
        drop(pending);
        self.alerting.news.notify_one();
    }

    fn is_told_of(&self, status: Status) -> bool {
        let rules = self.alerting.rules.get();
        rules.is_some_and(|rules| rules.on.iter().any(|on| on.name() == status.name()))
    }

    fn is_the_alert(&self, flow: &str) -> bool {
        let Some(rules) = self.alerting.rules.get() else { return false };
        rules.flow == flow || self.flow(&rules.flow).is_some_and(|live| live.flow.id == flow)
    }

    fn news_of(&self, run: &Run, events: &[Event]) -> Option<News> {
        self.alerting.rules.get()?;
        let status = came_to(events).filter(|status| self.is_told_of(*status))?;
        // Its caller was told, and answers for it. A held one tells nobody.
        if run.started.parent.is_some() && status != Status::Held || self.is_of_an_alert(run) {
            return None;
        }
        Some(News { run: run.id, status, at: run.updated_at.as_millisecond() })
    }

    /// True for a run of the alert's flow, and for those that it calls: an alert that fails alerts nobody.
    fn is_of_an_alert(&self, run: &Run) -> bool {
        if self.is_the_alert(&run.started.flow) {
            return true;
        }
        let mut above = run.started.parent.clone();
        while let Some(parent) = above {
            match self.first_event(parent.run) {
                Ok(Event::Started(started)) if self.is_the_alert(&started.flow) => return true,
                Ok(Event::Started(started)) => above = started.parent.clone(),
                Ok(_) | Err(_) => return false,
            }
        }
        false
    }

    /// Tells of what is to be told, until the engine stops.
    pub(super) async fn serve_alerts(self: Arc<Self>) {
        let Some(rules) = self.alerting.rules.get().cloned() else { return };
        let mut begun: VecDeque<Instant> = VecDeque::new();
        loop {
            while lock(&self.alerting.pending).news.is_empty() {
                self.alerting.news.notified().await;
            }
            while begun.front().is_some_and(|first| first.elapsed() >= MINUTE) {
                begun.pop_front();
            }
            if begun.len() >= rules.per_minute.max(1) as usize {
                let wait = begun.front().map_or(MINUTE, |first| MINUTE.saturating_sub(first.elapsed()));
                tokio::time::sleep(wait).await;
                continue;
            }
            let (news, more) = {
                let mut pending = lock(&self.alerting.pending);
                (std::mem::take(&mut pending.news), std::mem::take(&mut pending.more))
            };
            let Some(told) = self.tell(&rules, news, more).await else { return };
            if told {
                begun.push_back(Instant::now());
            }
        }
    }

    /// Finds what the last process did not come to tell.
    pub(super) fn find_alerts(&self) {
        if self.alerting.rules.get().is_none() {
            return;
        }
        let settings = match self.journal.settings(PREFIX) {
            Ok(settings) => settings,
            Err(error) => return tracing::warn!(%error, "which alerts are due cannot be read"),
        };
        let mut found: Vec<News> = settings.iter().filter_map(|(name, value)| News::kept(name, value)).collect();
        found.sort_by_key(|news| news.at);
        found.into_iter().for_each(|news| self.have_told(news));
    }

    /// Begins one run that tells of all this; true if it did, `None` if the process stops before that.
    async fn tell(self: &Arc<Self>, rules: &Alerts, mut news: VecDeque<News>, more: u64) -> Option<bool> {
        // What the journal does not show did not come to be; what it shows otherwise is over.
        let mut shown: Vec<(News, Summary)> = Vec::new();
        for one in std::mem::take(&mut news) {
            match self.journal.summary(one.run) {
                Ok(Some(summary)) if summary.status == one.status && !self.is_told(&one) => shown.push((one, summary)),
                Ok(_) => self.forget_alert(&one).await,
                Err(error) => tracing::warn!(run = %one.run, %error, "a run that is to be told of cannot be read"),
            }
        }
        let Some((first, summary)) = shown.first() else { return Some(false) };
        let body = self.alert_body(summary, &shown[1..], more);
        loop {
            let Some(live) = self.flow(&rules.flow).filter(|live| live.flow.enabled) else {
                tracing::error!(flow = %rules.flow, runs = shown.len(), "no alert: the flow is not live; it is tried again");
                self.rest(AGAIN * 5).await?;
                continue;
            };
            let body = fitting(&live, &body);
            if let Err(why) = self.check(&live, &body) {
                tracing::error!(flow = %rules.flow, %why, "no alert: the flow does not take its body");
                break;
            }
            let entry = Entry { id: first.alert(), ..Entry::new(Request::posted(Body::of(body))) };
            match self.admit(&live, entry).await {
                Ok(_) => {
                    self.alerting.begun.fetch_add(1, Ordering::Relaxed);
                    self.alerting.together.fetch_add(shown.len() as u64 - 1 + more, Ordering::Relaxed);
                    break;
                }
                Err(_) => self.rest(AGAIN).await?,
            }
        }
        // The first goes last: as long as it is there, this alert is found to have been begun.
        for (one, _) in shown.iter().rev() {
            self.forget_alert(one).await;
        }
        Some(true)
    }

    /// Sleeps; `None` if the process stops.
    async fn rest(&self, time: Duration) -> Option<()> {
        tokio::time::sleep(time).await;
        (!self.stopping.load(Ordering::Acquire)).then_some(())
    }

    fn is_told(&self, news: &News) -> bool {
        self.journal.summary(news.alert()).is_ok_and(|summary| summary.is_some())
    }

    async fn forget_alert(&self, news: &News) {
        if let Err(error) = self.journal.set(&news.setting(), None).await
            && !self.stopping.load(Ordering::Acquire)
        {
            tracing::warn!(run = %news.run, %error, "a run may be told of twice");
        }
    }

    fn alert_body(&self, first: &Summary, others: &[(News, Summary)], more: u64) -> Value {
        let one = |summary: &Summary| {
            let Summary { run_id, flow, status, reason, .. } = summary;
            json!({"run_id": run_id, "flow": flow, "status": status, "reason": reason.clone().unwrap_or_default()})
        };
        let mut body = one(first);
        let run = first.run_id;
        body["code"] = json!(first.code.clone().unwrap_or_default());
        body["failed_step"] = json!(self.failed_step(first));
        body["at"] = json!(format!("{:.3}", first.updated_at));
        body["more"] = json!(others.len() as u64 + more);
        body["others"] = others.iter().take(NAMED).map(|(_, summary)| one(summary)).collect();
        body["links"] = json!({"run": format!("/api/v1/runs/{run}"), "show": format!("millstream runs show {run}")});
        body
    }

    /// The step at which it failed or is held; empty where there is none.
    fn failed_step(&self, summary: &Summary) -> String {
        let words = summary.reason.as_deref().unwrap_or_default();
        if let Some(step) = words.strip_prefix("step `").and_then(|rest| rest.split('`').next()) {
            return step.to_owned();
        }
        let Ok(Some((run, _))) = self.read(summary.run_id) else { return String::new() };
        let Ok(live) = self.definition(&run.started.definition, &run.started.flow) else { return String::new() };
        let mut found = String::new();
        run.each(&mut |place, node| {
            if node.state == State::Held
                && found.is_empty()
                && let Some(step) = live.flow.step(place)
            {
                found.clone_from(&step.id);
            }
        });
        found
    }
}

/// The body as the flow takes it: of a flow with inputs only these.
fn fitting(live: &LiveFlow, body: &Value) -> Value {
    let TriggerKind::Manual(manual) = &live.flow.trigger.kind else { return body.clone() };
    if manual.inputs.is_empty() {
        return body.clone();
    }
    let given = manual.inputs.iter().filter_map(|input| Some((input.name.clone(), body.get(&input.name)?.clone())));
    live.flow.trigger.fill(Value::Object(given.collect::<Map<_, _>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_an_alert_leads_to_the_same_run_again() {
        let news = News { run: RunId(uuid::Uuid::from_u128(7)), status: Status::TimedOut, at: 1_700_000_000_123 };
        let value = serde_json::to_vec(&Kept { at: news.at }).unwrap();
        let read = News::kept(&news.setting(), &value).unwrap();
        assert_eq!((read.clone(), read.alert()), (news.clone(), news.alert()));
        let held = News { status: Status::Held, ..news.clone() };
        let later = News { at: news.at + 1, ..news.clone() };
        assert!(held.alert() != news.alert() && later.alert() != news.alert());
    }
}
