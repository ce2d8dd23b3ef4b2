//! How many requests were at the server, from their records: the mean and the most.
//!
//! The most is exact: the window is cut into parts, and in each part the steps up and down
//! are sorted and added up once no more are to be expected. A request that took long brings
//! its first step when its part is closed already; then the part's own most is known only to
//! within such late steps, and if it could be the greatest of all, another walk over the
//! records takes that part's steps again.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::Window;

/// Parts of a window.
const PARTS: usize = 1 << 14;
/// Steps that are held before the earliest part is closed.
const STEPS: usize = 1 << 17;

/// What is known of one part of the window.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    steps: u32,
    /// Steps up less steps down.
    net: i32,
    /// The most above the number at the part's start, 0 if it never rose, by the steps that
    /// came in time.
    most: i32,
    late_ups: u32,
    late_downs: u32,
}

/// Requests at the server over a window.
#[derive(Debug)]
pub(super) struct InFlight {
    window: Window,
    /// Request-microseconds within the window.
    area: u128,
    parts: Vec<Part>,
    /// Steps by part: twice the time, and one more for a step up, so that who leaves at the
    /// moment that another comes makes room first.
    steps: BTreeMap<usize, Vec<u64>>,
    held: usize,
    most_held: usize,
    /// Parts before this one are closed.
    open_from: usize,
    /// Parts whose steps this walk takes again; `None`: the first walk, which takes all.
    again: Option<BTreeSet<usize>>,
}

impl InFlight {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            area: 0,
            parts: Vec::new(),
            steps: BTreeMap::new(),
            held: 0,
            most_held: STEPS,
            open_from: 0,
            again: None,
        }
    }

    /// Take in a request that was sent and ended so; `None`: it never ended.
    pub(super) fn take(&mut self, sent_us: u64, end_us: Option<u64>) {
        let from = sent_us.max(self.window.start_us);
        let to = end_us.unwrap_or(u64::MAX).min(self.window.end_us);
        if from >= to {
            return;
        }
        if self.again.is_none() {
            self.area += u128::from(to - from);
        }
        self.step(from, true);
        self.step(to, false);
    }

    fn part_of(&self, t: u64) -> usize {
        let width = u128::from(self.window.end_us - self.window.start_us);
        let place = u128::from(t - self.window.start_us) * PARTS as u128 / width;
        (place as usize).min(PARTS - 1)
    }

    fn step(&mut self, t: u64, up: bool) {
        let i = self.part_of(t);
        if let Some(again) = &self.again {
            if again.contains(&i) {
                self.steps.entry(i).or_default().push(t * 2 + u64::from(up));
            }
            return;
        }
        if self.parts.is_empty() {
            self.parts = vec![Part::default(); PARTS];
        }
        let part = &mut self.parts[i];
        part.steps += 1;
        part.net += if up { 1 } else { -1 };
        if i < self.open_from {
            part.late_ups += u32::from(up);
            part.late_downs += u32::from(!up);
            return;
        }
        self.steps.entry(i).or_default().push(t * 2 + u64::from(up));
        self.held += 1;
        while self.held > self.most_held {
            self.close_first();
        }
    }

    fn close_first(&mut self) {
        let Some((i, mut steps)) = self.steps.pop_first() else { return };
        self.held = self.held.saturating_sub(steps.len());
        steps.sort_unstable();
        let (mut now, mut most) = (0, 0);
        for step in steps {
            now += if step % 2 == 1 { 1 } else { -1 };
            most = most.max(now);
        }
        let part = &mut self.parts[i];
        (part.most, part.late_ups, part.late_downs) = (most, 0, 0);
        self.open_from = self.open_from.max(i + 1);
    }

    /// End a walk. Whether another is needed.
    pub(super) fn end_walk(&mut self) -> bool {
        while !self.steps.is_empty() {
            self.close_first();
        }
        self.open_from = PARTS;
        let sure = self.most_by(|part| (part.most - part.late_downs as i32).max(0));
        let mut doubtful: Vec<(i64, usize)> = self
            .parts
            .iter()
            .zip(self.starts())
            .enumerate()
            .filter(|(_, (part, _))| part.late_ups + part.late_downs > 0)
            .map(|(i, (part, start))| (start + i64::from(part.most) + i64::from(part.late_ups), i))
            .filter(|(could, _)| *could > sure)
            .collect();
        // The greatest first, as many as may be held, one at least.
        doubtful.sort_unstable_by(|a, b| b.cmp(a));
        let mut room = self.most_held.max(1);
        let fits = doubtful.iter().take_while(|(_, i)| {
            let had = room;
            room = room.saturating_sub(self.parts[*i].steps as usize);
            had > 0
        });
        let again: BTreeSet<usize> = fits.map(|(_, i)| *i).collect();
        let more = !again.is_empty();
        self.again = Some(again);
        more
    }

    /// The number in flight at the start of each part.
    fn starts(&self) -> impl Iterator<Item = i64> {
        self.parts.iter().scan(0, |now, part| {
            let start = *now;
            *now += i64::from(part.net);
            Some(start)
        })
    }

    fn most_by(&self, rise: impl Fn(&Part) -> i32) -> i64 {
        self.parts
            .iter()
            .zip(self.starts())
            .map(|(part, start)| start + i64::from(rise(part)))
            .max()
            .unwrap_or(0)
    }

    /// The most at one time. Exact once no further walk is needed.
    pub(super) fn most(&self) -> u64 {
        self.most_by(|part| (part.most - part.late_downs as i32).max(0)).unsigned_abs()
    }

    /// Request-seconds spent at the server within the window, per second: X·R with both over
    /// the same requests and the same time, free of what sticks out at the window's ends.
    pub(super) fn mean(&self) -> f64 {
        self.area as f64 / self.window.end_us.saturating_sub(self.window.start_us).max(1) as f64
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.parts.capacity() * size_of::<Part>()
            + self.steps.values().map(|s| s.capacity() * 8).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::EndedBy;

    const WINDOW: Window = Window { start_us: 1000, end_us: 61_000, ended_by: EndedBy::Duration };

    /// All steps sorted at once.
    fn plain(stays: &[(u64, Option<u64>)]) -> u64 {
        let clipped = stays
            .iter()
            .map(|&(from, to)| (from.max(WINDOW.start_us), to.unwrap_or(u64::MAX).min(WINDOW.end_us)));
        let mut steps: Vec<(u64, i8)> =
            clipped.filter(|(from, to)| from < to).flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
        steps.sort_unstable();
        let (mut now, mut most) = (0i64, 0i64);
        for (_, step) in steps {
            now += i64::from(step);
            most = most.max(now);
        }
        most.unsigned_abs()
    }

    /// The most, and the walks that it took.
    fn walked(stays: &[(u64, Option<u64>)], most_held: usize) -> (u64, usize) {
        let mut in_flight = InFlight { most_held, ..InFlight::new(WINDOW) };
        let mut walks = 0;
        loop {
            for &(sent, end) in stays {
                in_flight.take(sent, end);
            }
            walks += 1;
            if !in_flight.end_walk() {
                return (in_flight.most(), walks);
            }
            assert!(walks <= stays.len() * 2, "each walk settles a part");
        }
    }

    proptest! {
        #[test]
        fn the_most_is_that_of_all_steps_sorted(
            stays in proptest::collection::vec(
                (0u64..62_000, prop_oneof![Just(None), (0u64..2000).prop_map(Some), (0u64..60_000).prop_map(Some)]),
                0..150
            ),
            by_end in any::<bool>(),
            most_held in prop_oneof![0usize..20, Just(STEPS)],
        ) {
            let mut stays: Vec<_> = stays.into_iter().map(|(from, len)| (from, len.map(|len| from + len))).collect();
            if by_end {
                stays.sort_by_key(|(_, end)| end.unwrap_or(u64::MAX));
            }
            let (most, walks) = walked(&stays, most_held);
            prop_assert_eq!(most, plain(&stays));
            prop_assert!(most_held < STEPS || walks == 1);
        }
    }

    #[test]
    fn a_part_in_doubt_is_taken_again_however_little_may_be_held() {
        let stays = [(0, None), (38_259, Some(51_227)), (0, None), (51_226, None)];
        assert_eq!((walked(&stays, 0).0, plain(&stays)), (4, 4));
    }

    #[test]
    fn a_long_run_holds_no_more_and_one_long_answer_costs_one_walk() {
        let window = Window { start_us: 0, end_us: 1_000_000_000, ended_by: EndedBy::Duration };
        let held = |n: u64, every: u64| {
            let mut in_flight = InFlight::new(window);
            let mut most = 0;
            for i in 0..n {
                in_flight.take(i * every, Some(i * every + 3 * every));
                if i % 4096 == 0 {
                    most = most.max(in_flight.held_bytes());
                }
            }
            assert!(!in_flight.end_walk());
            assert_eq!(in_flight.most(), 3);
            most
        };
        let (few, many) = (held(80_000, 10_000), held(400_000, 2_000));
        assert!(many <= few + few / 10, "{few} {many}");
        // As long as the whole run, it comes last, and everywhere it is one more.
        let mut in_flight = InFlight::new(window);
        let mut walks = 0;
        loop {
            for i in 0..200_000 {
                in_flight.take(i * 4_000, Some(i * 4_000 + 12_000));
            }
            in_flight.take(1_000, Some(900_000_000));
            walks += 1;
            if !in_flight.end_walk() {
                break;
            }
        }
        assert!(walks <= 2, "{walks} walks");
        assert_eq!(in_flight.most(), 4);
    }
}
