//! What the journal must do, whatever store its index is in.

use std::path::Path;
use std::sync::Arc;

use super::super::{Append, Appended, Filter, Journal};
use super::{claimed, defined, first, new_run, next, open, open_sled, run_at};
use crate::run::{RunId, Status};

type Open = fn(&Path) -> Journal;

macro_rules! conformance {
    ([$($case:ident),* $(,)?]) => {
        conformance!(redb, super::open, [$($case),*]);
        conformance!(sled, super::open_sled, [$($case),*]);
    };
    ($store:ident, $open:expr, [$($case:ident),*]) => {
        mod $store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::$case(dir.path(), $open).await;
            })*
        }
    };
}

conformance!([
    records_are_read_back_in_order_after_a_reopen,
    open_runs_are_those_that_have_not_ended_oldest_first,
    runs_are_listed_newest_first_by_flow_status_and_time,
    pages_join_without_gap_or_repeat,
    a_live_claim_refuses_the_second_run_and_writes_nothing,
    a_claim_of_a_failed_or_expired_run_can_be_taken,
    of_many_appends_with_one_claim_exactly_one_is_durable,
    runs_appended_together_are_all_there_but_for_those_that_are_repeats,
    a_group_larger_than_one_batch_is_there_as_a_whole,
    removed_runs_leave_nothing_but_their_claims,
    the_claim_of_a_failed_run_goes_with_it,
    rejected_runs_are_known_oldest_first_until_they_are_removed,
    settings_are_set_replaced_listed_and_removed,
    values_of_any_length_come_back_whole,
    what_many_tasks_appended_at_once_is_all_there_after_a_reopen,
    a_closed_journal_answers_with_errors,
]);

fn names(journal: &Journal, filter: &Filter) -> Vec<RunId> {
    let found = journal.summaries(filter, None, 100).unwrap();
    found.iter().map(|summary| summary.run_id).collect()
}

async fn records_are_read_back_in_order_after_a_reopen(dir: &Path, open: Open) {
    let journal = open(dir);
    let start = first(new_run(), "leads", Status::Running, 1_000);
    for append in [next(1, Status::Running, &start), next(2, Status::Succeeded, &start)] {
        if append.seq == 1 {
            let start = first(start.run, "leads", Status::Running, 1_000);
            assert_eq!(journal.append(start).await.unwrap(), Appended::Durable);
        }
        assert_eq!(journal.append(append).await.unwrap(), Appended::Durable);
    }
    journal.close().await;

    let journal = open(dir);
    let expected = [format!("first of {}", start.run), "record 1".into(), "record 2".into()];
    assert_eq!(journal.records(start.run).unwrap(), expected.map(String::into_bytes));
    assert_eq!(journal.summary(start.run).unwrap().unwrap().status, Status::Succeeded);
    assert_eq!(journal.records(new_run()).unwrap(), Vec::<Vec<u8>>::new());
    assert!(journal.summary(new_run()).unwrap().is_none());
    journal.close().await;
}

async fn open_runs_are_those_that_have_not_ended_oldest_first(dir: &Path, open: Open) {
    let journal = open(dir);
    let mut open_ones = Vec::new();
    for status in Status::ALL {
        let start = first(new_run(), "leads", Status::Queued, 1_000);
        let end = next(1, status, &start);
        if !status.is_ended() {
            open_ones.push(start.run);
        }
        journal.append(start).await.unwrap();
        journal.append(end).await.unwrap();
    }
    // Ended with its first record: it is never open.
    journal.append(first(new_run(), "leads", Status::Succeeded, 1_000)).await.unwrap();
    assert_eq!(journal.open_runs().unwrap(), open_ones);
    journal.close().await;

    let journal = open(dir);
    assert_eq!(journal.open_runs().unwrap(), open_ones);
    journal.close().await;
}

async fn runs_are_listed_newest_first_by_flow_status_and_time(dir: &Path, open: Open) {
    let journal = open(dir);
    let hour = 3_600_000;
    let rows = [
        ("a", Status::Succeeded, hour),
        ("ab", Status::Failed, 2 * hour),
        ("a", Status::Running, 3 * hour),
        ("a", Status::Failed, 4 * hour),
    ];
    let mut runs = Vec::new();
    for (flow, status, at) in rows {
        let append = first(run_at(at), flow, status, at);
        runs.push(append.run);
        journal.append(append).await.unwrap();
    }
    let [one, two, three, four] = runs[..] else { unreachable!("four rows") };

    let flow = |name: &str| Filter { flow: Some(name.into()), ..Filter::default() };
    assert_eq!(names(&journal, &Filter::default()), [four, three, two, one]);
    assert_eq!(names(&journal, &flow("a")), [four, three, one]);
    assert_eq!(names(&journal, &flow("ab")), [two]);
    assert_eq!(names(&journal, &flow("b")), []);
    let failed = Filter { status: Some(Status::Failed), ..Filter::default() };
    assert_eq!(names(&journal, &failed), [four, two]);
    let middle = Filter { since_ms: Some(2 * hour), until_ms: Some(4 * hour), ..Filter::default() };
    assert_eq!(names(&journal, &middle), [three, two]);
    let of_flow = Filter { flow: Some("a".into()), ..middle };
    assert_eq!(names(&journal, &of_flow), [three]);
    journal.close().await;
}

async fn pages_join_without_gap_or_repeat(dir: &Path, open: Open) {
    let journal = open(dir);
    let mut runs = Vec::new();
    for number in 0..25 {
        let flow = if number % 2 == 0 { "even" } else { "odd" };
        let append = first(run_at(1_000_000 + number / 3), flow, Status::Running, 1_000_000);
        runs.push((append.run, flow));
        journal.append(append).await.unwrap();
    }
    runs.reverse();
    for flow in [None, Some("even"), Some("odd")] {
        let filter = Filter { flow: flow.map(str::to_string), ..Filter::default() };
        let mut paged = Vec::new();
        let mut cursor = None;
        loop {
            let page = journal.summaries(&filter, cursor, 4).unwrap();
            assert!(page.len() <= 4);
            let Some(last) = page.last() else { break };
            cursor = Some(last.run_id);
            paged.extend(page.iter().map(|summary| summary.run_id));
        }
        let expected = runs.iter().filter(|(_, of)| flow.is_none_or(|flow| flow == *of));
        assert_eq!(paged, expected.map(|(run, _)| *run).collect::<Vec<_>>());
    }
    assert!(journal.summaries(&Filter::default(), None, 0).unwrap().is_empty());
    journal.close().await;
}

async fn a_live_claim_refuses_the_second_run_and_writes_nothing(dir: &Path, open: Open) {
    let journal = open(dir);
    let holder = claimed(first(new_run(), "leads", Status::Running, 1_000), 7, 5_000);
    let held_by = holder.run;
    let end = next(1, Status::Succeeded, &holder);
    journal.append(holder).await.unwrap();

    for seq in 1..3 {
        let second = claimed(first(new_run(), "leads", Status::Running, 2_000), 7, 6_000);
        let run = second.run;
        assert_eq!(journal.append(second).await.unwrap(), Appended::Duplicate(held_by));
        assert!(journal.records(run).unwrap().is_empty());
        assert!(journal.summary(run).unwrap().is_none());
        // The same once the holder has ended well.
        journal.append(next(seq, Status::Succeeded, &end)).await.unwrap();
    }
    assert_eq!(names(&journal, &Filter::default()), [held_by]);

    // Another key, and another flow, are other claims.
    for (flow, key) in [("leads", 8), ("orders", 7)] {
        let other = claimed(first(new_run(), flow, Status::Running, 2_000), key, 6_000);
        assert_eq!(journal.append(other).await.unwrap(), Appended::Durable);
    }
    journal.close().await;

    let journal = open(dir);
    let late = claimed(first(new_run(), "leads", Status::Running, 4_999), 7, 9_000);
    assert_eq!(journal.append(late).await.unwrap(), Appended::Duplicate(held_by));
    journal.close().await;
}

async fn a_claim_of_a_failed_or_expired_run_can_be_taken(dir: &Path, open: Open) {
    let journal = open(dir);
    let failing = [Status::Failed, Status::Cancelled, Status::TimedOut, Status::Rejected];
    for (key, status) in (1..).zip(failing) {
        let holder = claimed(first(new_run(), "leads", Status::Running, 1_000), key, 5_000);
        let end = next(1, status, &holder);
        journal.append(holder).await.unwrap();
        journal.append(end).await.unwrap();
        let second = claimed(first(new_run(), "leads", Status::Running, 2_000), key, 6_000);
        let second_run = second.run;
        assert_eq!(journal.append(second).await.unwrap(), Appended::Durable, "{status}");
        let third = claimed(first(new_run(), "leads", Status::Running, 3_000), key, 7_000);
        assert_eq!(journal.append(third).await.unwrap(), Appended::Duplicate(second_run));
    }
    let holder = claimed(first(new_run(), "leads", Status::Succeeded, 1_000), 9, 5_000);
    journal.append(holder).await.unwrap();
    let later = claimed(first(new_run(), "leads", Status::Running, 5_000), 9, 9_000);
    assert_eq!(journal.append(later).await.unwrap(), Appended::Durable);
    journal.close().await;
}

async fn of_many_appends_with_one_claim_exactly_one_is_durable(dir: &Path, open: Open) {
    let journal = open(dir);
    let mut tasks = Vec::new();
    for _ in 0..64 {
        let journal = journal.clone();
        let append = claimed(first(new_run(), "leads", Status::Running, 1_000), 7, 5_000);
        tasks.push(tokio::spawn(async move { (append.run, journal.append(append).await.unwrap()) }));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    let durable: Vec<_> = answers.iter().filter(|(_, answer)| *answer == Appended::Durable).collect();
    assert_eq!(durable.len(), 1);
    let winner = durable[0].0;
    let told = answers.iter().filter(|(_, answer)| *answer == Appended::Duplicate(winner));
    assert_eq!(told.count(), 63);
    journal.close().await;
    assert_eq!(open(dir).open_runs().unwrap(), [winner]);
}

async fn runs_appended_together_are_all_there_but_for_those_that_are_repeats(dir: &Path, open: Open) {
    let journal = open(dir);
    let held = claimed(first(new_run(), "lead", Status::Queued, 1_000), 1, 2_000);
    let holder = held.run;
    journal.append(held).await.unwrap();
    let keys = [1, 2, 3, 2];
    let runs = keys.map(|_| new_run());
    let appends =
        runs.iter().zip(keys).map(|(run, key)| claimed(first(*run, "lead", Status::Queued, 1_000), key, 2_000));

    let became = journal.append_together(appends.collect()).await.unwrap();

    let wanted = [Appended::Duplicate(holder), Appended::Durable, Appended::Durable, Appended::Duplicate(runs[1])];
    assert_eq!(became, wanted);
    assert_eq!(journal.append_together(Vec::new()).await.unwrap(), []);
    journal.close().await;
    let journal = open(dir);
    assert_eq!(journal.open_runs().unwrap(), [holder, runs[1], runs[2]]);
    assert_eq!(journal.records(runs[3]).unwrap(), Vec::<Vec<u8>>::new());
}

async fn a_group_larger_than_one_batch_is_there_as_a_whole(dir: &Path, open: Open) {
    let journal = open(dir);
    let runs: Vec<RunId> = (0..2_500).map(|_| new_run()).collect();
    // Every third is a repeat of the one before it, over the borders of batches too.
    let key = |index: usize| index - usize::from(index % 3 == 2);
    let one = |(index, run): (usize, &RunId)| {
        let append = first(*run, "lead", Status::Queued, 1_000);
        let mut claimed = claimed(append, 0, 2_000);
        if let Some(claim) = &mut claimed.claim {
            claim.key[..8].copy_from_slice(&(key(index) as u64).to_be_bytes());
        }
        claimed
    };

    let became = journal.append_together(runs.iter().enumerate().map(one).collect()).await.unwrap();

    for (index, became) in became.iter().enumerate() {
        let wanted = if index % 3 == 2 { Appended::Duplicate(runs[index - 1]) } else { Appended::Durable };
        assert_eq!(*became, wanted, "{index}");
    }
    journal.close().await;
    let journal = open(dir);
    let wanted: Vec<RunId> = runs.iter().enumerate().filter(|(index, _)| index % 3 != 2).map(|(_, run)| *run).collect();
    assert_eq!(journal.open_runs().unwrap(), wanted);
    assert_eq!(journal.settings("").unwrap(), [], "no note of the group is left");
}

async fn removed_runs_leave_nothing_but_their_claims(dir: &Path, open: Open) {
    let journal = open(dir);
    let running = first(new_run(), "leads", Status::Running, 1_000);
    let ended = claimed(first(new_run(), "leads", Status::Succeeded, 1_000), 7, i64::MAX);
    let (running_run, ended_run) = (running.run, ended.run);
    journal.append(running).await.unwrap();
    journal.append(ended).await.unwrap();

    journal.remove(vec![running_run, ended_run, new_run()]).await.unwrap();

    assert_eq!(names(&journal, &Filter::default()), [running_run]);
    let of_flow = Filter { flow: Some("leads".into()), ..Filter::default() };
    assert_eq!(names(&journal, &of_flow), [running_run]);
    assert!(journal.records(ended_run).unwrap().is_empty());
    assert_eq!(journal.records(running_run).unwrap().len(), 1);
    assert_eq!(journal.open_runs().unwrap(), [running_run]);
    let again = claimed(first(new_run(), "leads", Status::Running, 2_000), 7, i64::MAX);
    assert_eq!(journal.append(again).await.unwrap(), Appended::Duplicate(ended_run));
    journal.close().await;
}

async fn the_claim_of_a_failed_run_goes_with_it(dir: &Path, open: Open) {
    let journal = open(dir);
    let failed = claimed(first(new_run(), "leads", Status::Failed, 1_000), 7, i64::MAX);
    let run = failed.run;
    journal.append(failed).await.unwrap();
    journal.remove(vec![run]).await.unwrap();
    let again = claimed(first(new_run(), "leads", Status::Running, 2_000), 7, i64::MAX);
    assert_eq!(journal.append(again).await.unwrap(), Appended::Durable);
    journal.close().await;
}

async fn rejected_runs_are_known_oldest_first_until_they_are_removed(dir: &Path, open: Open) {
    let journal = open(dir);
    let mut rejected = Vec::new();
    for status in [Status::Rejected, Status::Succeeded, Status::Rejected, Status::Running] {
        let append = first(new_run(), "leads", status, 1_000);
        if status == Status::Rejected {
            rejected.push(append.run);
        }
        journal.append(append).await.unwrap();
    }
    journal.close().await;

    let journal = open(dir);
    assert_eq!(journal.rejected_runs().unwrap(), rejected);
    journal.remove(vec![rejected[0]]).await.unwrap();
    assert_eq!(journal.rejected_runs().unwrap(), rejected[1..]);
    journal.close().await;
}

async fn settings_are_set_replaced_listed_and_removed(dir: &Path, open: Open) {
    let journal = open(dir);
    for name in ["key/a", "key/b", "kez", "ke"] {
        journal.set(name, Some(vec![1; 20_000])).await.unwrap();
        journal.set(name, Some(name.into())).await.unwrap();
    }
    journal.set("key/a", None).await.unwrap();
    // Within one batch, more or less.
    let both = tokio::join!(journal.set("key/c", Some(vec![1; 20_000])), journal.set("key/c", Some(vec![2])));
    both.0.unwrap();
    both.1.unwrap();
    let both = tokio::join!(journal.set("key/d", Some(vec![1; 20_000])), journal.set("key/d", None));
    both.0.unwrap();
    both.1.unwrap();
    journal.close().await;

    let journal = open(dir);
    assert_eq!(journal.setting("ke").unwrap().unwrap(), b"ke");
    assert_eq!(journal.setting("key/a").unwrap(), None);
    assert_eq!(journal.setting("key/").unwrap(), None);
    let listed = journal.settings("key/").unwrap();
    assert_eq!(listed, [("key/b".to_string(), b"key/b".to_vec()), ("key/c".to_string(), vec![2])]);
    journal.close().await;
}

async fn values_of_any_length_come_back_whole(dir: &Path, open: Open) {
    let journal = open(dir);
    let lengths = [0, 1, 5_999, 6_000, 6_001, 12_000, 3_000_001];
    let text = "täxt ".repeat(5_000);
    let run = new_run();
    for (seq, length) in (0..).zip(lengths) {
        let mut append = first(run, "leads", Status::Running, 1_000);
        append.seq = seq;
        append.record = (0..length).map(|at: usize| (at % 251) as u8).collect();
        journal.append(defined(append, [9; 32], &text)).await.unwrap();
    }
    // A part that is there already, and one that is new.
    let parts = [([7; 32], Arc::from("of 9 and 6")), ([9; 32], Arc::from("")), ([6; 32], Arc::from("six"))];
    let append = first(new_run(), "leads", Status::Running, 1_000);
    journal.append(Append { definition: Some(parts.into()), ..append }).await.unwrap();
    journal.close().await;

    let journal = open(dir);
    let read: Vec<usize> = journal.records(run).unwrap().iter().map(Vec::len).collect();
    assert_eq!(read, lengths);
    let last = journal.records(run).unwrap().pop().unwrap();
    assert!(last.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
    assert_eq!(journal.definition(&[9; 32]).unwrap().unwrap(), text);
    let parts = [7, 6, 8].map(|part| journal.definition(&[part; 32]).unwrap());
    assert_eq!(parts.each_ref().map(Option::as_deref), [Some("of 9 and 6"), Some("six"), None]);
    journal.close().await;
}

async fn what_many_tasks_appended_at_once_is_all_there_after_a_reopen(dir: &Path, open: Open) {
    const APPENDS: u32 = 60;
    let journal = open(dir);
    let mut tasks = Vec::new();
    for _ in 0..64 {
        let journal = journal.clone();
        tasks.push(tokio::spawn(async move {
            let start = first(new_run(), "leads", Status::Running, 1_000);
            let run = start.run;
            let rest: Vec<_> = (1..APPENDS).map(|seq| next(seq, Status::Running, &start)).collect();
            journal.append(start).await.unwrap();
            for append in rest {
                journal.append(append).await.unwrap();
            }
            run
        }));
    }
    let mut runs = Vec::new();
    for task in tasks {
        runs.push(task.await.unwrap());
    }
    journal.close().await;

    let journal = open(dir);
    for run in &runs {
        assert_eq!(journal.records(*run).unwrap().len(), APPENDS as usize);
    }
    runs.sort();
    assert_eq!(journal.open_runs().unwrap(), runs);
    journal.close().await;
}

async fn a_closed_journal_answers_with_errors(dir: &Path, open: Open) {
    let journal = open(dir);
    journal.close().await;
    journal.close().await;
    let error = journal.append(first(new_run(), "leads", Status::Running, 1_000)).await.unwrap_err();
    assert_eq!(error.to_string(), "the journal could not be written: the journal is closed");
    let error = journal.open_runs().unwrap_err();
    assert_eq!(error.to_string(), "the store could not be read: the journal is closed");
}
