//! An action whose answer comes in pages: each is a request of its own, with the limits and the credentials of one.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::limits::Patience;
use super::{Call, Exchange, Inner};
use crate::connector::{self, Action, Answer, Context, Declared, Failure, HttpRequest, Pager, Pages};

/// Gathers the pages of one call, `request` asking for the first. The call's timeout is for all of them, but what is
/// waited for the limits is not counted.
///
/// # Errors
/// As any call; what was gathered before is dropped, and a repeat begins with the first page.
pub(super) async fn run(
    inner: &Inner,
    (declared, action, pages): (&Declared, &Action, &Pages),
    call: &Call<'_>,
    context: &Context,
    request: HttpRequest,
) -> Result<Value, Failure> {
    let mut pager = Pager::new(pages, call.name(), request, call.output_limit);
    let mut left = call.timeout();
    let mut patience = Patience::Usual;
    loop {
        let _slot = inner.limits.enter_with(call, Some((declared, action, context)), patience).await?;
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
        let body = exchange
            .run(inner, context, pager.request().clone(), |answer| {
                let heads = Answer { status: answer.status, headers: answer.headers.clone(), ..Answer::default() };
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = heads;
                connector::judge_page(call.connector, action, call.context(action), answer, Timestamp::now())
            })
            .await?;
        let answer = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !pager.take(&answer, &body)? {
            return Ok(pager.output());
        }
        left = left.saturating_sub(began.elapsed());
        // Put aside now, it would begin with the first page again, and never come to an end.
        patience = Patience::AsLongAsItTakes;
    }
}
