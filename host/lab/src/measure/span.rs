//! What is asked of a unit at a time: the samples of a part, cut where somebody looks at the answers in between.

use super::Part;
use boardproof_record::plan::PassPlan;
use std::time::Duration;

/// Samples that one process answers.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    /// The part that they are in.
    pub part: &'a Part,
    /// Place of the first in it.
    pub first: u64,
    /// Number of them.
    pub count: u64,
    /// Wall time after which this is ended.
    pub deadline_ms: u32,
}

/// The spans of a pass over these parts, in order. A pass that may stop is cut after each stage.
pub(super) fn spans<'a>(parts: &'a [Part], plan: &PassPlan) -> Vec<Span<'a>> {
    let deadline_ms = plan.deadline_ms;
    let of_part = |part: &'a Part| {
        let end = part.first + part.asked(plan);
        if !plan.may_stop() {
            return vec![Span { part, first: 0, count: end - part.first, deadline_ms }];
        }
        let mut spans = Vec::new();
        let mut at = part.first;
        while at < end {
            let next = ((at / plan.stage + 1) * plan.stage).min(end);
            spans.push(Span { part, first: at - part.first, count: next - at, deadline_ms });
            at = next;
        }
        spans
    };
    parts.iter().flat_map(of_part).collect()
}

impl Span<'_> {
    /// Name for what is done with it, as the `i`-th of `all`.
    pub fn action(&self, pass: &str, i: usize, all: usize) -> String {
        match all {
            1 => pass.to_owned(),
            _ => format!("{pass}, part {} of {all}", i + 1),
        }
    }

    /// Time that is left for it: a pass that may stop has one deadline for all of its stages.
    pub fn left_ms(&self, plan: &PassPlan, spent: Duration) -> u32 {
        let spent = if plan.may_stop() { u32::try_from(spent.as_millis()).unwrap_or(u32::MAX) } else { 0 };
        plan.deadline_ms.saturating_sub(spent).max(1)
    }

    /// Is there a look after it, when that many samples have been answered? After the last there is nothing left to decide.
    pub fn is_looked_after(&self, plan: &PassPlan, answered: u64) -> bool {
        plan.may_stop() && answered < plan.samples && answered.is_multiple_of(plan.stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ship::Blob;
    use boardproof_record::Digest;
    use boardproof_record::plan::Pass;

    fn part(first: u64, samples: u64) -> Part {
        let blob = Blob { what: "evalset".into(), path: "x".into(), digest: Digest::of(b""), program: false };
        Part { blob, first, samples }
    }

    fn plan(samples: u64, stage: u64) -> PassPlan {
        let (warmup, iterations, enough, deadline_ms) = (0, 0, 0, 1000);
        let (pass, batch, memory_limit_bytes) = (Pass::Accuracy, 1, None);
        let (again, sketch) = (false, None);
        PassPlan {
            pass,
            batch,
            samples,
            warmup,
            iterations,
            enough,
            again,
            stage,
            deadline_ms,
            memory_limit_bytes,
            sketch,
        }
    }

    #[test]
    fn every_sample_is_in_one_span_and_looks_are_after_whole_stages() {
        let cut = |parts: &[Part], samples, stage| {
            let plan = plan(samples, stage);
            let mut answered = 0;
            let spans = spans(parts, &plan).into_iter().map(|span| {
                assert_eq!(span.part.first + span.first, answered, "no sample is left out or asked for twice");
                answered += span.count;
                (span.part.first, span.first, span.count, span.is_looked_after(&plan, answered))
            });
            spans.collect::<Vec<_>>()
        };
        let whole = [part(0, u64::MAX)];
        assert_eq!(cut(&whole, 10, 0), [(0, 0, 10, false)]);
        assert_eq!(cut(&whole, 10, 4), [(0, 0, 4, true), (0, 4, 4, true), (0, 8, 2, false)]);
        assert_eq!(cut(&whole, 8, 4), [(0, 0, 4, true), (0, 4, 4, false)]);
        let parts = [part(0, 5), part(5, 5)];
        assert_eq!(cut(&parts, 10, 0), [(0, 0, 5, false), (5, 0, 5, false)]);
        let staged = [(0, 0, 4, true), (0, 4, 1, false), (5, 0, 3, true), (5, 3, 2, false)];
        assert_eq!(cut(&parts, 10, 4), staged);
    }

    #[test]
    fn all_stages_share_one_deadline() {
        let parts = [part(0, 10)];
        let (staged, usual) = (plan(10, 4), plan(10, 0));
        let span = spans(&parts, &staged)[0];
        let left = |plan: &PassPlan, ms| span.left_ms(plan, Duration::from_millis(ms));
        assert_eq!([left(&staged, 0), left(&staged, 300), left(&staged, 5000)], [1000, 700, 1]);
        assert_eq!(left(&usual, 300), 1000, "parts of an evalset that has no room have a deadline each");
    }
}
