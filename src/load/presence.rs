//! When each user of a closed loop is there: from its start on, or, with stages, whenever the
//! level is above its number.

use crate::experiment::{Load, Settings};

/// Times from which on, and until which, a user sends, in microseconds since the epoch.
pub(super) type Stay = (u64, u64);

/// When user `user` of `users` starts, in microseconds. They come evenly over the ramp; with
/// none, over the first half of the warm-up, which leaves the other half to settle: a
/// volley of first requests would stay in step for a long time. With neither, all at once.
fn start_us(user: u32, users: u32, ramp_us: u64, warmup_us: u64) -> u64 {
    let spread = if ramp_us > 0 { ramp_us } else { warmup_us / 2 };
    (u128::from(spread) * u128::from(user) / u128::from(users.max(1))) as u64
}

/// The users of a cell over its time.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    /// Users before the window.
    first: u32,
    ramp_us: u64,
    warmup_us: u64,
    /// How their number goes on from the window's start; empty: it stays.
    pieces: Vec<Piece>,
    /// The most at one time.
    pub(super) most: u32,
}

/// A number of users that goes from one figure to another in a straight line.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start_us: u64,
    length_us: u64,
    from: u32,
    to: u32,
}

impl Piece {
    /// `share` of the piece after its start, as a share of `of`.
    fn after(&self, share: u32, of: u32) -> u64 {
        self.start_us + (u128::from(self.length_us) * u128::from(share) / u128::from(of.max(1))) as u64
    }
}

impl Presence {
    /// Of a closed loop; `None` for an open one.
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        let users = |load: Load| match load {
            Load::Closed { users } => Some(users),
            Load::Open { .. } => None,
        };
        let us = |time: std::time::Duration| time.as_micros() as u64;
        let (ramp_us, warmup_us) = (us(settings.cell.ramp), us(settings.cell.warmup));
        let mut pieces = Vec::new();
        let mut at = ramp_us + warmup_us;
        for (before, stage) in settings.stages_from() {
            let (from, to) = (before as u32, stage.level as u32);
            let ramp = us(stage.ramp.min(stage.duration));
            if ramp > 0 && from != to {
                pieces.push(Piece { start_us: at, length_us: ramp, from, to });
            }
            let start_us = if from == to { at } else { at + ramp };
            pieces.push(Piece { start_us, length_us: 0, from: to, to });
            at += us(stage.duration);
        }
        let (first, most) = (users(settings.first_load())?, users(settings.peak_load())?);
        Some(Self { first, ramp_us, warmup_us, pieces, most })
    }

    /// The stays of `user`, in order, the last without an end where it stays until the window's.
    pub(super) fn stays(&self, user: u32) -> Vec<Stay> {
        let mut since = (user < self.first).then(|| start_us(user, self.first, self.ramp_us, self.warmup_us));
        let mut stays = Vec::new();
        for piece in &self.pieces {
            let stays_on = user < piece.to;
            match (since, stays_on) {
                (None, true) => {
                    // Those that come are numbered from the level that the piece begins with.
                    let place = user.saturating_sub(piece.from);
                    since = Some(piece.after(place, piece.to.saturating_sub(piece.from)));
                }
                (Some(from), false) => {
                    let place = piece.from.saturating_sub(user);
                    stays.push((from, piece.after(place, piece.from.saturating_sub(piece.to))));
                    since = None;
                }
                _ => {}
            }
        }
        stays.extend(since.map(|from| (from, u64::MAX)));
        stays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(first: u32, pieces: &[(u64, u64, u32, u32)]) -> Presence {
        let pieces: Vec<Piece> = pieces
            .iter()
            .map(|&(start_us, length_us, from, to)| Piece { start_us, length_us, from, to })
            .collect();
        let most = pieces.iter().map(|p| p.to).chain([first]).max().unwrap();
        Presence { first, ramp_us: 0, warmup_us: 0, pieces, most }
    }

    #[test]
    fn users_start_spread() {
        let over_the_ramp: Vec<u64> = (0..4).map(|u| start_us(u, 4, 1_000, 500)).collect();
        assert_eq!(over_the_ramp, [0, 250, 500, 750]);
        let over_the_warmup: Vec<u64> = (0..4).map(|u| start_us(u, 4, 0, 1_000)).collect();
        assert_eq!(over_the_warmup, [0, 125, 250, 375]);
        assert_eq!(start_us(3, 4, 0, 0), 0);
        assert_eq!(presence(2, &[]).stays(1), [(0, u64::MAX)]);
    }

    #[test]
    fn a_spike_brings_users_and_sends_them_away() {
        let spike = presence(2, &[(100, 0, 2, 2), (200, 0, 20, 20), (300, 0, 2, 2)]);
        assert_eq!(spike.most, 20);
        assert_eq!(spike.stays(1), [(0, u64::MAX)]);
        for user in [2, 19] {
            assert_eq!(spike.stays(user), [(200, 300)]);
        }
        assert_eq!(spike.stays(20), []);
        // Twice there.
        let twice = presence(1, &[(10, 0, 3, 3), (20, 0, 1, 1), (30, 0, 2, 2)]);
        assert_eq!(twice.stays(1), [(10, 20), (30, u64::MAX)]);
        assert_eq!(twice.stays(2), [(10, 20)]);
    }

    #[test]
    fn ramps_bring_and_take_users_one_after_another() {
        let up = presence(2, &[(0, 0, 2, 2), (1_000, 900, 2, 5), (1_900, 0, 5, 5)]);
        let starts: Vec<u64> = (2..5).map(|user| up.stays(user)[0].0).collect();
        assert_eq!(starts, [1_000, 1_300, 1_600]);
        let down = presence(5, &[(0, 0, 5, 5), (1_000, 900, 5, 2), (1_900, 0, 2, 2)]);
        let ends: Vec<u64> = (2..5).map(|user| down.stays(user)[0].1).collect();
        assert_eq!(ends, [1_900, 1_600, 1_300], "the last one to come goes first");
        assert_eq!(down.stays(1), [(0, u64::MAX)]);
    }
}
