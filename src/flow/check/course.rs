//! Which steps of a list have certainly succeeded when another one runs, or when the list has ended well.

use super::*;

/// Positions of steps that have succeeded for certain.
type Sure = BTreeSet<u32>;

/// What is known of the steps of one list so far.
#[derive(Default)]
pub(super) struct Course {
    steps: Vec<Fact>,
}

struct Fact {
    /// It ran and did not fail, wherever what it follows ended as it asks.
    certain: bool,
    /// What has succeeded when it runs.
    sure: Sure,
    /// What has succeeded when it was left out since what it follows ended in another way, though well; `None` if that
    /// cannot be.
    left_out: Option<Sure>,
}

impl Course {
    /// What has succeeded when a step runs that follows these.
    pub fn before(&self, after: &[After]) -> Sure {
        let mut sure = Sure::new();
        for After { position, on } in after {
            let Some(fact) = self.steps.get(*position as usize) else { continue };
            if on.has(Ends::UNMET) {
                continue;
            }
            sure.extend(&fact.sure);
            let only_success = *on == Ends::SUCCEEDED;
            if only_success || (fact.certain && !on.has(Ends::FAILED.or(Ends::TIMED_OUT))) {
                sure.insert(*position);
            }
        }
        sure
    }

    /// Notes the next step; `certain` unless it may be skipped, or fail and be passed over.
    pub fn add(&mut self, after: &[After], certain: bool) {
        let (sure, left_out) = (self.before(after), self.left_out(after));
        self.steps.push(Fact { certain, sure, left_out });
    }

    /// What has succeeded when the list has ended well, given the steps that no other follows.
    pub fn at_end(&self, ends: &[u32]) -> Sure {
        ends.iter().flat_map(|end| self.ended_well(*end)).collect()
    }

    /// What has succeeded when this step is not to blame for anything: it ran, or was rightly left out.
    fn ended_well(&self, position: u32) -> Sure {
        let Some(fact) = self.steps.get(position as usize) else { return Sure::new() };
        let mut ran = fact.sure.clone();
        if fact.certain {
            ran.insert(position);
        }
        match &fact.left_out {
            Some(left_out) => ran.intersection(left_out).copied().collect(),
            None => ran,
        }
    }

    /// See [`Fact::left_out`].
    fn left_out(&self, after: &[After]) -> Option<Sure> {
        let mut common: Option<Sure> = None;
        for After { position, on } in after {
            let Some(before) = self.steps.get(*position as usize) else { continue };
            let mut ways = Vec::new();
            if !on.has(Ends::SUCCEEDED) {
                let mut sure = before.sure.clone();
                sure.insert(*position);
                ways.push(sure);
            }
            // It was skipped, or failed and was passed over.
            if !before.certain && *on != Ends::DEFAULT {
                ways.push(before.sure.clone());
            }
            if !on.has(Ends::UNMET) {
                ways.extend(before.left_out.clone());
            }
            for way in ways {
                common = Some(match common {
                    None => way,
                    Some(common) => common.intersection(&way).copied().collect(),
                });
            }
        }
        common
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(steps: &[(bool, &[(u32, Ends)])]) -> Course {
        let mut course = Course::default();
        for (certain, after) in steps {
            let after: Vec<After> = after.iter().map(|(position, on)| After { position: *position, on: *on }).collect();
            course.add(&after, *certain);
        }
        course
    }

    fn sorted(sure: Sure) -> Vec<u32> {
        sure.into_iter().collect()
    }

    #[test]
    fn in_a_row_all_above_have_succeeded_but_what_may_be_skipped() {
        let course = course(&[(true, &[]), (false, &[(0, Ends::DEFAULT)]), (true, &[(1, Ends::DEFAULT)])]);
        assert_eq!(sorted(course.before(&[After { position: 2, on: Ends::DEFAULT }])), [0, 2]);
        assert_eq!(sorted(course.before(&[After { position: 1, on: Ends::SUCCEEDED }])), [0, 1]);
        assert_eq!(sorted(course.at_end(&[2])), [0, 2]);
    }

    #[test]
    fn after_a_failure_nothing_is_known_of_the_step_that_failed() {
        let on_failure = Ends::FAILED.or(Ends::TIMED_OUT);
        let course = course(&[(true, &[]), (true, &[(0, Ends::DEFAULT)]), (true, &[(1, on_failure)])]);
        assert_eq!(sorted(course.before(&[After { position: 1, on: on_failure }])), [0]);
        // Either 1 succeeded and 2 was left out, or 1 failed and 2 succeeded.
        assert_eq!(sorted(course.at_end(&[2])), [0]);
    }

    #[test]
    fn what_is_left_out_with_what_it_follows_ends_well_only_where_that_did() {
        let skipped = Ends::SKIPPED.or(Ends::UNMET);
        let course = course(&[(false, &[]), (true, &[(0, Ends::SUCCEEDED)]), (true, &[(1, Ends::DEFAULT)])]);
        assert_eq!(sorted(course.at_end(&[2])), [0_u32; 0], "0 may have been skipped, and 1 and 2 left out with it");
        assert_eq!(sorted(course.before(&[After { position: 2, on: Ends::DEFAULT }])), [0, 1, 2]);
        assert_eq!(sorted(course.before(&[After { position: 1, on: skipped }])), [0_u32; 0]);
    }
}
