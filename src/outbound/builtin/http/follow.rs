//! What comes after the first answer, where a step asks for it: redirects, and operations that are accepted now and done later.
//!
//! Each request that follows passes the address guard and takes a turn of its own under the connection's limits. Credentials
//! stay with the connection's own host, and what is asked about an operation goes to the host that accepted it, never to
//! another that its answer names.
//!
//! Once a request that changes something was accepted, what follows only asks what became of it: a question that fails is
//! asked again within the step's time, and if there is no answer then, the call may have happened.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::Url;

use super::reads;
use crate::connector::{Answer, Class, Failure, HttpRequest, Selection, redirected, retry_after, shorten};
use crate::outbound::auth::Attached;
use crate::outbound::limits::{Patience, Slot};
use crate::outbound::{Call, Inner};

/// How often an operation is asked about, where neither it nor the step says.
const EVERY: Duration = Duration::from_secs(2);
/// Shortest time between two questions.
const SHORTEST: Duration = Duration::from_millis(100);
/// Headers that go along to another host: none that could hold a credential.
const HARMLESS: [&str; 5] = ["accept", "accept-language", "content-type", "idempotency-key", "user-agent"];
const DONE: [&str; 4] = ["succeeded", "success", "completed", "done"];
const FAILED: [&str; 5] = ["failed", "failure", "canceled", "cancelled", "error"];

/// One call and all requests that it leads to.
pub(super) struct Exchange<'e> {
    pub inner: &'e Inner,
    pub call: &'e Call<'e>,
    pub attached: Option<&'e Attached>,
    /// What is waited for the limits is not counted.
    pub deadline: Instant,
    /// Longest answer, bytes.
    pub limit: usize,
    /// The first request's turn.
    pub slot: Option<Slot>,
    /// True once a request that changes something was accepted.
    pub accepted: bool,
}

impl Exchange<'_> {
    /// The answer that the step is about, the last of a row of them.
    pub async fn run(&mut self, request: HttpRequest) -> Result<Answer, Failure> {
        let (request, answer) = self.redirects(request).await?;
        let answer = match self.call.input.get("poll") {
            None | Some(Value::Null | Value::Bool(false)) => answer,
            Some(_) if answer.status != 202 => answer,
            Some(poll) => {
                self.accepted |= !reads(&request);
                self.polled(&request, answer, poll).await?
            }
        };
        self.inner.show(&answer);
        Ok(answer)
    }

    /// A failure after the request was accepted must not send it again as if it had not been.
    pub fn doubted(&self, mut failure: Failure) -> Failure {
        if self.accepted && matches!(failure.class, Class::Retry | Class::Throttled) {
            failure.class = Class::Unknown;
            failure.message.push_str("; the request itself was accepted before");
        }
        failure
    }

    async fn send(&mut self, request: &HttpRequest) -> Result<Answer, Failure> {
        let began = Instant::now();
        let _slot = match self.slot.take() {
            Some(slot) => slot,
            // Put aside now, it would begin with the first request again.
            None => self.inner.limits.enter_with(self.call, None, Patience::AsLongAsItTakes).await?,
        };
        self.deadline += began.elapsed();
        let own = self.attached.filter(|attached| attached.is_for(&request.url));
        self.inner.client.send(request, own, self.deadline, self.limit).await
    }

    /// Sends what follows from an answer; after a request that was accepted it is asked again until there is an answer.
    async fn follow(&mut self, request: &HttpRequest) -> Result<Answer, Failure> {
        let mut usual = SHORTEST;
        loop {
            let answer = self.send(request).await;
            let wait = match &answer {
                Ok(answer) if matches!(answer.status, 408 | 429 | 500..) => retry_after(answer, Timestamp::now()),
                Err(failure) if is_lost(failure) => failure.wait_ms,
                Ok(_) | Err(_) => return answer,
            };
            let pause = wait.map_or(usual, Duration::from_millis).max(SHORTEST);
            if !self.accepted || !reads(request) || Instant::now() + pause >= self.deadline {
                return answer;
            }
            sleep(pause).await;
            usual = (usual * 2).min(EVERY);
        }
    }

    async fn redirects(&mut self, mut request: HttpRequest) -> Result<(HttpRequest, Answer), Failure> {
        let mut left = self.call.input.get("redirects").and_then(Value::as_u64).unwrap_or(0);
        loop {
            let answer = self.follow(&request).await?;
            if left == 0 {
                return Ok((request, answer));
            }
            match next(&self.call.name(), &request, &answer)? {
                Some(next) => {
                    // Where a POST leads to a GET, it was taken.
                    self.accepted |= !reads(&request) && reads(&next);
                    request = next;
                }
                None => return Ok((request, answer)),
            }
            left -= 1;
        }
    }

    /// Asks until the operation has ended, or the step's time has.
    async fn polled(&mut self, request: &HttpRequest, accepted: Answer, poll: &Value) -> Result<Answer, Failure> {
        let operation = ["operation-location", "azure-asyncoperation"].iter().find_map(|name| accepted.header(name));
        let result = accepted.header("location").map(|place| self.beside(request, place)).transpose()?;
        let asked = operation.map(|place| self.beside(request, place)).transpose()?;
        // Without an operation of its own, the place of the result says 202 until it is there.
        let Some(url) = asked.as_ref().or(result.as_ref()) else { return Ok(accepted) };
        let plan = Plan::of(poll)?;
        let question = get(request, url.clone());
        let mut wait = retry_after(&accepted, Timestamp::now());
        loop {
            let pause = wait.map_or(plan.every, Duration::from_millis).max(SHORTEST);
            if Instant::now() + pause >= self.deadline {
                let name = self.call.name();
                let what = format!(
                    "{name}: the operation was accepted and had not ended in time; give the step a longer `timeout`"
                );
                return Err(Failure::new(Class::Unknown, "http.not_done", what).with_status(202));
            }
            sleep(pause).await;
            let answer = match self.send(&question).await {
                Ok(answer) => answer,
                // A question that was lost is asked again.
                Err(failure) if is_lost(&failure) => {
                    wait = failure.wait_ms;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            wait = retry_after(&answer, Timestamp::now());
            match answer.status {
                202 | 408 | 429 | 500.. => continue,
                302 | 303 if asked.is_none() => {
                    let place = answer.header("location").unwrap_or_default();
                    let result = get(request, self.beside(request, place)?);
                    return self.follow(&result).await;
                }
                200..=299 if asked.is_some() || plan.explicit => match plan.state(&self.call.name(), &answer)? {
                    State::Runs => continue,
                    State::Ended => {}
                },
                _ => return Ok(answer),
            }
            return match (&asked, result) {
                (Some(_), Some(result)) => self.follow(&get(request, result)).await,
                _ => Ok(answer),
            };
        }
    }

    /// A place that the answer names, on the host that answered.
    fn beside(&self, request: &HttpRequest, place: &str) -> Result<Url, Failure> {
        let url = request.url.join(place).map_err(|_| {
            let what = format!("{} was told to look at `{}`, which is no URL", self.call.name(), shorten(place));
            Failure::new(Class::Permanent, "http.unexpected_answer", what)
        })?;
        if url.origin() == request.url.origin() {
            return Ok(url);
        }
        let (name, there) = (self.call.name(), url.origin().ascii_serialization());
        let what = format!("{name} was told to look at {there}, another host than it called; it is not asked");
        Err(Failure::new(Class::Permanent, "outbound.other_host", what))
    }
}

/// True of a question that can be asked again.
fn is_lost(failure: &Failure) -> bool {
    matches!(failure.class, Class::Retry | Class::Unknown | Class::Throttled)
}

/// A question to the same host, with the headers of the first request that do not describe its body.
fn get(request: &HttpRequest, url: Url) -> HttpRequest {
    let mut next = HttpRequest { method: "GET".into(), url, headers: request.headers.clone(), body: None };
    next.headers.retain(|(name, _)| !of_body(name));
    next
}

fn of_body(name: &str) -> bool {
    name.to_ascii_lowercase().starts_with("content-") || name.eq_ignore_ascii_case("idempotency-key")
}

/// The request that a redirect leads to; `None` if the answer is none.
fn next(name: &str, request: &HttpRequest, answer: &Answer) -> Result<Option<HttpRequest>, Failure> {
    let Some(place) = answer.header("location").filter(|_| matches!(answer.status, 301 | 302 | 303 | 307 | 308)) else {
        return Ok(None);
    };
    let refused = |_| redirected(name, answer);
    let url = request.url.join(place).map_err(refused)?;
    let open = request.url.scheme() == "https" && url.scheme() != "https";
    if !matches!(url.scheme(), "http" | "https") || open || !url.username().is_empty() || url.password().is_some() {
        return Err(redirected(name, answer));
    }
    let mut next =
        if answer.status == 303 && !reads(request) || matches!(answer.status, 301 | 302) && request.method == "POST" {
            get(request, url)
        } else {
            HttpRequest {
                method: request.method.clone(),
                url,
                headers: request.headers.clone(),
                body: request.body.clone(),
            }
        };
    if next.url.origin() != request.url.origin() {
        next.headers.retain(|(name, _)| HARMLESS.iter().any(|harmless| harmless.eq_ignore_ascii_case(name)));
    }
    Ok(Some(next))
}

enum State {
    Runs,
    Ended,
}

/// How the step wants an operation asked about.
struct Plan {
    every: Duration,
    /// Where in the body the state is, and its words.
    status: Selection,
    done: Vec<String>,
    failed: Vec<String>,
    /// Whether the step names them, so that an answer without an operation's header has a state too.
    explicit: bool,
}

impl Plan {
    fn of(poll: &Value) -> Result<Plan, Failure> {
        let every = match poll.get("every").and_then(Value::as_str) {
            None => EVERY,
            Some(text) => crate::flow::duration(text).map_err(|_| {
                let what = format!("`poll.every` is a length of time such as 5s, not `{}`", shorten(text));
                Failure::new(Class::Permanent, "http.input", what)
            })?,
        };
        let words = |key: &str, usual: &[&str]| match poll.get(key).and_then(Value::as_array) {
            None => usual.iter().map(|word| (*word).to_owned()).collect(),
            Some(words) => words.iter().filter_map(Value::as_str).map(str::to_lowercase).collect::<Vec<String>>(),
        };
        let explicit = ["status", "done", "failed"].iter().any(|key| poll.get(key).is_some());
        let status = poll.get("status").and_then(Value::as_str).unwrap_or("$.status");
        let status = Selection::parse(status)
            .map_err(|why| Failure::new(Class::Permanent, "http.input", format!("`poll.status`: {why}")))?;
        Ok(Plan { every, status, done: words("done", &DONE), failed: words("failed", &FAILED), explicit })
    }

    fn state(&self, name: &str, answer: &Answer) -> Result<State, Failure> {
        let body = answer.json().unwrap_or_default();
        // An answer without a state is the result itself.
        let Some(Value::String(state)) = self.status.find(&body) else { return Ok(State::Ended) };
        let state = state.to_lowercase();
        if self.failed.contains(&state) {
            let said = body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
            let said = if said.is_empty() { answer.snippet() } else { shorten(said) };
            let what = format!("{name}: the operation was accepted and then ended as `{state}`: {said}");
            return Err(Failure::new(Class::Permanent, "http.operation_failed", what).with_status(answer.status));
        }
        Ok(if self.done.contains(&state) { State::Ended } else { State::Runs })
    }
}
