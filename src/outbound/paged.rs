//! An action whose answer comes in pages: each is a request of its own, with the limits and the credentials of one.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::limits::Patience;
use super::{Call, Exchange, Inner};
use crate::connector::{self, Action, Answer, Class, Context, Declared, Failure, HttpRequest, Pager, Pages};

/// Gathers the pages of one call; `first` is the request for the first, where it is known before the credentials. The call's
/// timeout is for all of them, but what is waited for the limits is not counted.
///
/// # Errors
/// As any call; what was gathered before is dropped, and a repeat begins with the first page. So once a page was given to a
/// request that may change something, a failure that would be certain of one page is in doubt for the call.
pub(super) async fn run(
    inner: &Inner,
    (declared, action, pages): (&Declared, &Action, &Pages),
    call: &Call<'_>,
    context: &Context,
    first: Option<HttpRequest>,
) -> Result<Value, Failure> {
    let begin = |first| Pager::new(pages, call.name(), first, call.output_limit);
    // Made with the first request: where that goes may be known by the token only.
    let mut pager = first.map(begin);
    let mut left = call.timeout();
    let mut patience = Patience::Usual;
    loop {
        let changed = pager.as_ref().is_some_and(|pager| pager.changed());
        let slot = inner.limits.enter_with(call, Some((declared, action, context)), patience).await;
        let _slot = slot.map_err(|failure| doubted(changed, failure))?;
        let began = Instant::now();
        let exchange = Exchange {
            declared,
            connector: call.connector,
            connection: call.connection.map(AsRef::as_ref),
            deadline: began + left,
            limit: call.output_limit,
        };
        // The headers of the answer may say where the next page is.
        let kept = Mutex::new(Answer::default());
        let asking = Mutex::new(pager.take());
        let prepare = |context: &Context| {
            let mut asking = asking.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(pager) = asking.as_ref() {
                return Ok(Cow::Owned(pager.request().clone()));
            }
            let first = connector::prepare(call.connector, action, call.connection.map(AsRef::as_ref), context)?;
            Ok(Cow::Owned(asking.insert(begin(first)).request().clone()))
        };
        let judge = |context: Context, answer: &Answer| {
            let heads = Answer { status: answer.status, headers: answer.headers.clone(), ..Answer::default() };
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = heads;
            connector::judge_page(call.connector, action, context, answer, Timestamp::now())
        };
        let body = exchange.run(inner, context.clone(), prepare, judge).await;
        let body = body.map_err(|failure| doubted(changed, failure))?;
        let answer = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(mut gathered) = asking.into_inner().unwrap_or_else(PoisonError::into_inner) else {
            return Err(Failure::new(Class::Permanent, "outbound.request", "a page was answered and never asked for"));
        };
        if !gathered.take(&answer, &body)? {
            return Ok(gathered.output());
        }
        pager = Some(gathered);
        left = left.saturating_sub(began.elapsed());
        // Put aside now, it would begin with the first page again, and never come to an end.
        patience = Patience::AsLongAsItTakes;
    }
}

/// A page that certainly was not given does not undo those before it.
fn doubted(changed: bool, mut failure: Failure) -> Failure {
    if changed {
        if matches!(failure.class, Class::Retry | Class::Throttled) {
            failure.class = Class::Unknown;
        }
        failure.message.push_str("; pages before it were given");
    }
    failure
}
