//! Dead letters: runs that did not go well, until a person has dealt with them. They are resubmitted, as a new run in
//! their place, or handled, which is a mark alone.
//!
//! A new run and the mark on its origin are two appends. Before both stands a setting of the journal that names the new
//! run, and the last step removes it: whoever repeats the order, or the next start, finds out how far it came. So each
//! origin is resubmitted once, however often the order is given, unless somebody asks for it again.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::accept::Entry;
use super::ask::{refused, unfit};
use super::split::Repeat;
use super::*;
use crate::flow::BODYLESS;
use crate::journal::Append;
use crate::mapping::parse_json;
use crate::run::{Around, BeginAt, Body, Event, Handled, Origin, Record, Request, Run, Started, Summary, Takeover};

/// Where the settings are: `resubmit/{run}`, whose value is the new run's id.
const PREFIX: &str = "resubmit/";
/// A note is a line in a list, characters.
const NOTE: usize = 500;

/// How a run is to be resubmitted.
#[derive(Debug, Clone, Default)]
pub struct Resubmission {
    /// Instead of the body that came in.
    pub body: Option<Value>,
    /// Targets that honour idempotency keys see new calls, not repeats.
    pub new_keys: bool,
    /// Where it begins; with the flow's first step unless set.
    pub from: Option<BeginAt>,
    /// With the flow's version that the origin began with, not with the present one.
    pub old_version: bool,
    /// Also if it was resubmitted before.
    pub again: bool,
    /// A held run is cancelled, and the new one takes its place.
    pub cancel_held: bool,
    /// Nothing is begun: only whether it could be is found out.
    pub dry_run: bool,
}

/// What became of an order to resubmit.
#[derive(Debug)]
pub enum Resubmitted {
    Begun(Begun),
    /// It was a dry run: the steps it would begin with, if not the first.
    Would {
        from_step: Option<String>,
    },
}

/// What the new run begins with.
struct Letter {
    live: Arc<LiveFlow>,
    request: Request,
    keys: Option<Uuid>,
    taken: Option<Event>,
    from_step: Option<String>,
    /// The list of which each item becomes a run.
    items: Option<Vec<Value>>,
}

impl Engine {
    /// Starts a new run with the request of `run`, which it names as its origin; the origin is handled then. A person wants
    /// it, so neither the trigger's conditions nor its `dedupe` are asked. A request that was not split yet is split if
    /// the flow does so now.
    pub async fn resubmit(self: &Arc<Self>, run: RunId, how: Resubmission) -> Result<Resubmitted, Denied> {
        let _turn = self.take_letter(run)?;
        let summary = self.journal.summary(run).map_err(unavailable)?.ok_or(Denied::NoRun(run))?;
        if summary.status == Status::Held && !how.cancel_held {
            let what = "its steps can still go on: resume it, or order it to be cancelled as well";
            return Err(Denied::Conflict(format!("run {run} is held, and {what} (`--cancel-held`)")));
        }
        if let Some(by) = summary.handled.as_ref().and_then(|handled| handled.resubmitted_as).filter(|_| !how.again) {
            return Err(Denied::Resubmitted { run, by });
        }
        if let Some(first) = self.intended(run)? {
            // An order that was cut short had come this far.
            self.dispose(run, &summary, first).await?;
            return Err(Denied::Resubmitted { run, by: first });
        }
        let letter = self.letter(run, &summary, &how)?;
        if how.dry_run {
            return Ok(Resubmitted::Would { from_step: letter.from_step });
        }
        self.must_be_ready().map_err(refused)?;
        let first = super::ids::next();
        let name = format!("{PREFIX}{run}");
        self.journal.set(&name, Some(first.to_string().into_bytes())).await.map_err(unavailable)?;
        let begun = self.begin_letter(run, first, letter).await;
        match begun {
            Ok(begun) => {
                self.dispose(run, &summary, first).await?;
                Ok(Resubmitted::Begun(begun))
            }
            Err(refusal) => {
                // Left behind, it names a run that never was, and means nothing.
                let _ = self.journal.set(&name, None).await;
                Err(refused(refusal))
            }
        }
    }

    /// Marks a run that has ended as dealt with. A held one is cancelled for it if `cancel_held`.
    ///
    /// # Errors
    /// If there is nothing to deal with: the run goes on.
    pub async fn handle(self: &Arc<Self>, run: RunId, note: Option<String>, cancel_held: bool) -> Result<(), Denied> {
        let _turn = self.take_letter(run)?;
        let summary = self.journal.summary(run).map_err(unavailable)?.ok_or(Denied::NoRun(run))?;
        match summary.status {
            Status::Held if !cancel_held => {
                let what = "is held, and can still go on: resume it, or order it to be cancelled as well";
                return Err(Denied::Conflict(format!("run {run} {what} (`--cancel-held`)")));
            }
            Status::Held => self.cancel(run).await?,
            status if !status.is_ended() => {
                return Err(Denied::Conflict(format!("run {run} is {status}; there is nothing to handle yet")));
            }
            _ => {}
        }
        let note = note.map(|note| note.trim().chars().take(NOTE).collect::<String>()).filter(|note| !note.is_empty());
        self.mark(run, Handled { at: super::now(), resubmitted_as: None, note }).await
    }

    /// Bars others from disposing of a run until what is returned is dropped.
    pub(super) fn take_letter(self: &Arc<Self>, run: RunId) -> Result<Turn, Denied> {
        if lock(&self.letters).insert(run) {
            return Ok(Turn { engine: self.clone(), run });
        }
        Err(Denied::Conflict(format!("somebody else is disposing of run {run} just now; look at it again")))
    }

    /// Ends what orders that the last process did not finish had begun.
    pub(super) async fn settle_letters(self: Arc<Self>) {
        let settings = match self.journal.settings(PREFIX) {
            Ok(settings) => settings,
            Err(error) => return tracing::warn!(%error, "which runs were being resubmitted cannot be read"),
        };
        for (name, _) in settings {
            let Some(run) = name.strip_prefix(PREFIX).and_then(|run| run.parse::<RunId>().ok()) else { continue };
            // Somebody repeats the order, which settles it.
            let Ok(_turn) = self.take_letter(run) else { continue };
            let settled = match (self.intended(run), self.journal.summary(run)) {
                (Ok(Some(first)), Ok(Some(summary))) => self.dispose(run, &summary, first).await,
                (Ok(_), Ok(_)) => self.journal.set(&name, None).await.map_err(unavailable),
                (Err(denied), _) => Err(denied),
                (_, Err(error)) => Err(unavailable(error)),
            };
            if let Err(error) = settled {
                tracing::warn!(%run, %error, "a run that was resubmitted could not be marked; repeat the order");
            }
        }
    }

    /// The run that an unfinished order began in place of this one.
    fn intended(&self, run: RunId) -> Result<Option<RunId>, Denied> {
        let setting = self.journal.setting(&format!("{PREFIX}{run}")).map_err(unavailable)?;
        let first = setting.and_then(|text| String::from_utf8(text).ok()?.parse::<RunId>().ok());
        let Some(first) = first else { return Ok(None) };
        Ok(self.journal.summary(first).map_err(unavailable)?.map(|_| first))
    }

    /// The new run is durable: its origin is cancelled if it is held, and marked; then the order is done.
    async fn dispose(self: &Arc<Self>, run: RunId, origin: &Summary, first: RunId) -> Result<(), Denied> {
        if origin.status == Status::Held {
            match self.cancel(run).await {
                // It was cancelled before, by the order that was cut short or by somebody else.
                Ok(()) | Err(Denied::Conflict(_)) => {}
                Err(denied) => return Err(denied),
            }
        }
        let handled = Handled { at: super::now(), resubmitted_as: Some(first), note: None };
        if origin.status == Status::Held || origin.status.is_ended() {
            match self.mark(run, handled).await {
                Ok(()) | Err(Denied::NoRun(_)) => {}
                Err(denied) => return Err(denied),
            }
        }
        self.journal.set(&format!("{PREFIX}{run}"), None).await.map_err(unavailable)
    }

    /// Adds to a run's records that it was handled.
    async fn mark(self: &Arc<Self>, run: RunId, handled: Handled) -> Result<(), Denied> {
        // Nobody removes it meanwhile, and nobody else adds a record at the same place.
        let _ended = self.ended.lock().await;
        let summary = self.journal.summary(run).map_err(unavailable)?.ok_or(Denied::NoRun(run))?;
        if !summary.status.is_ended() {
            return Err(Denied::Conflict(format!("run {run} is {}, and has not ended", summary.status)));
        }
        let event = Event::Handled(handled.clone());
        let seq = match summary.status {
            // It has no state that could refuse.
            Status::Rejected => self.journal.each_record(run, |_| Ok(())).map_err(unavailable)?,
            _ => {
                let (mut folded, seq) = self.read(run).map_err(Denied::Unavailable)?.ok_or(Denied::NoRun(run))?;
                folded.apply(handled.at, &event).map_err(unavailable)?;
                seq
            }
        };
        let record = Record::encode(handled.at, &[event]);
        let summary = Summary { bytes: summary.bytes + record.len() as u64, handled: Some(handled), ..summary };
        let append = Append { run, seq, record, summary: Some(summary), claim: None, definition: None };
        self.journal.append(append).await.map_err(unavailable)?;
        Ok(())
    }

    /// What the new run begins with, or why there can be none.
    fn letter(self: &Arc<Self>, run: RunId, summary: &Summary, how: &Resubmission) -> Result<Letter, Denied> {
        let first = self.first_event(run)?;
        let (flow, mut request) = match &first {
            Event::Started(started) => (started.flow.clone(), started.request.clone()),
            Event::Rejected(rejected) => {
                let kept = match how.body {
                    Some(_) => Value::Null,
                    None => parse_json(rejected.body.as_bytes()).map_err(|error| {
                        let why = format!("what was kept of the request is not JSON ({error}); give a mended `body`");
                        Denied::Invalid(why)
                    })?,
                };
                let (method, path, params) = (rejected.method.clone(), rejected.path.clone(), rejected.params.clone());
                let query = rejected.query.clone();
                (rejected.flow.clone(), Request { method, path, params, query, ..Request::posted(Body::of(kept)) })
            }
            _ => return Err(Denied::Unavailable("the run's history does not begin with its start".into())),
        };
        let started = match &first {
            Event::Started(started) => Some(started),
            _ if how.old_version => {
                let why = "the request was rejected, so it has no old version of the flow";
                return Err(Denied::Invalid(why.into()));
            }
            _ => None,
        };
        let live = match started.filter(|_| how.old_version) {
            Some(started) => self.definition(&started.definition, &started.flow).map_err(|why| {
                Denied::Conflict(format!("the version that run {run} began with cannot be read: {why}"))
            })?,
            None => self.flow(&flow).ok_or_else(|| Denied::Conflict(format!("flow `{flow}` is not live any more")))?,
        };
        if let Some(body) = &how.body {
            request.body = Body::of(live.flow.trigger.fill(body.clone()));
        }
        let splits = live.flow.trigger.request().is_some_and(|request| request.split_on.is_some());
        let splits = splits && how.from.is_none();
        let without_body = request.body.value().is_null() && BODYLESS.contains(&request.method.as_str());
        // The schema is that of a whole body; of one item it says nothing.
        if !(without_body || splits && request.item.is_some()) {
            self.check(&live, request.body.value())?;
        }
        let items = match splits && request.item.is_none() {
            false => None,
            true => {
                let catalog = self.catalog.current();
                let items = self.items(&live, &request, &Around::new(super::now(), &catalog.env)).map_err(unfit)?;
                Some(items.unwrap_or_default())
            }
        };
        let keys = started.filter(|_| !how.new_keys).map(|started| started.keys);
        let mut letter = Letter { live, request, keys, taken: None, from_step: None, items };
        if let Some(from) = &how.from {
            let started = started.ok_or_else(|| {
                Denied::Invalid("the request was rejected, so no step of it gave anything: resubmit it whole".into())
            })?;
            if !summary.status.is_ended() && summary.status != Status::Held {
                let status = summary.status;
                return Err(Denied::Conflict(format!(
                    "run {run} is {status}; its steps can only be taken over once it ended"
                )));
            }
            let (from_step, taken) = self.take_over(run, started, &letter.live, from)?;
            (letter.from_step, letter.taken) = (Some(from_step), Some(taken));
        }
        Ok(letter)
    }

    /// The steps that a run begins with which goes on in place of another, and what it takes over.
    fn take_over(
        &self,
        run: RunId,
        started: &Started,
        live: &LiveFlow,
        from: &BeginAt,
    ) -> Result<(String, Event), Denied> {
        let old = self.definition(&started.definition, &started.flow).map_err(|why| {
            Denied::Conflict(format!("the version that run {run} began with cannot be read: {why}; resubmit it whole"))
        })?;
        let (origin, _): (Run, u32) = self.read(run).map_err(Denied::Unavailable)?.ok_or(Denied::NoRun(run))?;
        let mut plan = Takeover::plan(&origin, &old.flow, &live.flow, from).map_err(Denied::Conflict)?;
        let seen = self.each_record(run, |record| {
            record.events.iter().for_each(|event| plan.see(event));
            Ok(())
        });
        seen.map_err(Denied::Unavailable)?;
        Ok((plan.begins_with(), plan.event()))
    }

    async fn begin_letter(self: &Arc<Self>, of: RunId, first: RunId, letter: Letter) -> Result<Begun, Refusal> {
        let Letter { live, request, keys, taken, from_step, items } = letter;
        if let Some(items) = items {
            let repeat = Some(Repeat { of, first });
            return self.start_each(&live, request, items, repeat).await.map(Begun::Each);
        }
        let origin = Some(Origin { run: of, from_step });
        let entry = Entry { id: first, origin, keys, taken, ..Entry::new(request) };
        self.admit(&live, entry).await.map(Begun::One)
    }
}

/// The right to dispose of a run.
pub(super) struct Turn {
    engine: Arc<Engine>,
    run: RunId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.engine.letters).remove(&self.run);
    }
}

impl Resubmitted {
    /// As the API tells of it.
    pub fn told(&self, of: RunId) -> Value {
        match self {
            Resubmitted::Begun(begun) => json!(begun),
            Resubmitted::Would { from_step } => json!({"run_id": of, "dry_run": true, "from_step": from_step}),
        }
    }
}
