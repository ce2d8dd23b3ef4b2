//! A cell's figures for each of its tasks, endpoints and stages apart: the same sums as for the
//! whole, over the records of one of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::stages::{RecoveryVerdict, recovery};
use super::totals::{Scope, Totals};
use super::{Counts, Distribution, SloStatus, SloVerdict, TokenCounts, value_of};
use crate::experiment::{Recovery, Settings, SloRule, Stage};
use crate::record::{CellRun, RequestRecord, Window};

/// What the requests of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupKind {
    Task,
    Endpoint,
    Stage,
}

impl GroupKind {
    /// The word for it in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Endpoint => "endpoint",
            Self::Stage => "stage",
        }
    }
}

/// What the requests of one task, endpoint or stage came to. Figures are defined as the cell's
/// are; `chunk_gap` alone, which is pooled over the cell, is not among them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupSummary {
    pub kind: GroupKind,
    pub name: String,
    pub counts: Counts,
    /// By metric name; absent where there is no sample.
    pub distributions: BTreeMap<String, Distribution>,
    /// By metric name; absent where not applicable.
    pub scalars: BTreeMap<String, f64>,
    pub tokens: TokenCounts,
    /// A stage's own rules, which are the cell's as well; of a task or an endpoint those of the
    /// cell's that it has figures for, which decide nothing about the cell.
    #[serde(default)]
    pub slo: Vec<SloVerdict>,
    /// When a stage was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Whether a stage that is to recover an earlier one's latency did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryVerdict>,
}

impl GroupSummary {
    /// The value of a column: `("ttft", "p95")`, or `("output_tps", "")`.
    #[must_use]
    pub fn value(&self, metric: &str, stat: &str) -> Option<f64> {
        value_of(&self.scalars, &self.distributions, metric, stat)
    }

    /// How all stands that was asked of a stage: each of its rules, and its recovery. Nothing
    /// for a task or an endpoint.
    pub fn statuses(&self) -> impl Iterator<Item = SloStatus> {
        let of_stage = self.kind == GroupKind::Stage;
        let rules = self.slo.iter().map(|verdict| verdict.status);
        rules.chain(self.recovery.iter().map(RecoveryVerdict::status)).filter(move |_| of_stage)
    }
}

/// The sums of every group of a cell.
pub(super) struct Groups<'a>(Vec<Group<'a>>);

struct Group<'a> {
    kind: GroupKind,
    name: &'a str,
    rules: &'a [SloRule],
    /// Of a stage: when it was, and whether it is to recover.
    window: Option<Window>,
    recovers: Option<&'a Recovery>,
    totals: Totals<'a>,
}

impl Group<'_> {
    /// A stage takes every record in: what goes on in its time need not have been due in it.
    fn concerns(&self, r: &RequestRecord) -> bool {
        match self.kind {
            GroupKind::Task => r.task.as_deref() == Some(self.name),
            GroupKind::Endpoint => r.endpoint.as_deref() == Some(self.name),
            GroupKind::Stage => true,
        }
    }
}

impl<'a> Groups<'a> {
    pub(super) fn of(settings: &'a Settings, run: &CellRun) -> Self {
        let window = run.window;
        let mut groups: Vec<Group<'a>> = Vec::new();
        for part in &settings.parts {
            let names = [(GroupKind::Task, &part.task), (GroupKind::Endpoint, &part.endpoint)];
            for (kind, name) in names.into_iter().filter_map(|(kind, name)| Some((kind, name.as_deref()?))) {
                if groups.iter().any(|g| (g.kind, g.name) == (kind, name)) {
                    continue;
                }
                let totals = Totals::new(settings, Scope::group(settings, kind, name), window);
                let rules = &settings.slo.rules;
                groups.push(Group { kind, name, rules, window: None, recovers: None, totals });
            }
        }
        // Tasks first, then endpoints, each in the order of the file.
        groups.sort_by_key(|g| g.kind);
        for (stage, window) in settings.stages.iter().zip(stage_windows(&settings.stages, run)) {
            let totals = Totals::new(settings, Scope::stage(settings, stage), window);
            let rules = &stage.slo.rules;
            let (kind, window, recovers) = (GroupKind::Stage, Some(window), stage.recovers.as_ref());
            groups.push(Group { kind, name: &stage.name, rules, window, recovers, totals });
        }
        Self(groups)
    }

    /// Take in a record on the first walk.
    pub(super) fn take(&mut self, r: &RequestRecord) {
        self.0.iter_mut().filter(|g| g.concerns(r)).for_each(|g| g.totals.take(r));
    }

    /// Take in a record on any further walk.
    pub(super) fn take_again(&mut self, r: &RequestRecord) {
        self.0.iter_mut().filter(|g| g.concerns(r)).for_each(|g| g.totals.take_again(r));
    }

    /// End a walk. Whether another is needed.
    pub(super) fn end_walk(&mut self) -> bool {
        let more: Vec<bool> = self.0.iter_mut().map(|g| g.totals.end_walk()).collect();
        more.contains(&true)
    }

    /// What they come to, once no further walk is needed.
    pub(super) fn finish(self) -> Vec<GroupSummary> {
        let mut done: Vec<GroupSummary> = Vec::with_capacity(self.0.len());
        for group in self.0 {
            let recovers = group.recovers;
            let mut summary = finish(group);
            summary.recovery = recovers.and_then(|rule| {
                let earlier = done.iter().find(|g| g.kind == GroupKind::Stage && g.name == rule.of)?;
                Some(recovery(&summary.name, rule, &summary.distributions, &earlier.distributions))
            });
            done.push(summary);
        }
        done
    }
}

fn finish(group: Group<'_>) -> GroupSummary {
    let Group { kind, name, rules, window, mut totals, .. } = group;
    // A schedule is that of the whole cell: what was dealt to a group is what was due.
    totals.counts.planned = totals.counts.attempted;
    let scalars = totals.scalars();
    let distributions = totals.samples.distributions();
    let judged = rules.iter().filter_map(|rule| {
        let value = value_of(&scalars, &distributions, &rule.metric, &rule.stat);
        (kind == GroupKind::Stage || value.is_some()).then(|| SloVerdict::judge(rule, value))
    });
    let slo = judged.collect();
    let (counts, tokens) = (totals.counts, totals.tokens);
    let name = name.to_owned();
    GroupSummary { kind, name, counts, distributions, scalars, tokens, slo, window, recovery: None }
}

/// The time of each stage, as the engine says; else, of a run that doesn't, one after the other
/// from the window's start, and what the window, should it have ended early, has of them.
fn stage_windows(stages: &[Stage], run: &CellRun) -> Vec<Window> {
    let whole = run.window;
    let window = |start_us, end_us| Window { start_us, end_us, ended_by: whole.ended_by };
    if run.stages.len() == stages.len() {
        return run.stages.iter().map(|stage| window(stage.start_us, stage.end_us)).collect();
    }
    let mut start = whole.start_us;
    let mut next = |stage: &Stage| {
        let length = u64::try_from(stage.duration.as_micros()).unwrap_or(u64::MAX);
        let end = start.saturating_add(length).min(whole.end_us);
        window(std::mem::replace(&mut start, end), end)
    };
    stages.iter().map(&mut next).collect()
}
