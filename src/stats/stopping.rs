//! Has a share of requests been met, and is that sure enough to stop?

use serde::{Deserialize, Serialize};

use super::beta::beta_cdf;

/// What a count of violations says about a share that has to be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// The share is met, with the confidence asked for.
    Pass,
    /// The share is missed, with the confidence asked for.
    Fail,
    /// Neither is sure yet: more requests are needed.
    Undecided,
}

/// The early stopping of MLPerf's load generator: of `n` independent requests, `violations`
/// missed a limit that a `share` p of all has to meet. Passes iff I_p(n − t, t + 1) ≤ 1 − c: were
/// the share only p, as few violations would come up with a probability of 1 − `confidence` at
/// most. Fails the other way round, iff I_{1−p}(t, n − t + 1) ≤ 1 − c, as many violations being
/// as unlikely. `share` and `confidence` lie strictly between 0 and 1.
///
/// Requests that depend on each other say less than they count: scale `n` and `violations` by
/// n_eff/n ([`super::effective_share_n`]) before.
#[must_use]
pub fn early_stopping(n: u64, violations: u64, share: f64, confidence: f64) -> Stopping {
    let t = violations.min(n) as f64;
    let n = n as f64;
    let doubt = 1.0 - confidence;
    if n > 0.0 && beta_cdf(share, n - t, t + 1.0) <= doubt {
        Stopping::Pass
    } else if n > 0.0 && beta_cdf(1.0 - share, t, n - t + 1.0) <= doubt {
        Stopping::Fail
    } else {
        Stopping::Undecided
    }
}

/// Requests by whether they keep a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The share of requests that have to keep the limit, 0 to 1: 0.95 for a p95.
    pub asked: f64,
    pub requests: u64,
    /// Those that did not keep it, or got no good answer.
    pub violations: u64,
    /// The number of independent requests that they are worth, at most `requests`.
    pub effective: f64,
}

impl Share {
    /// Several counts of the same limit together; `None` of none.
    #[must_use]
    pub fn sum(shares: impl IntoIterator<Item = Self>) -> Option<Self> {
        shares.into_iter().reduce(|a, b| Self {
            asked: a.asked,
            requests: a.requests + b.requests,
            violations: a.violations + b.violations,
            effective: a.effective + b.effective,
        })
    }

    /// [`early_stopping`] of as many requests as they are worth. What is no whole number of
    /// requests is rounded against the verdict, whichever it is.
    #[must_use]
    pub fn stopping(&self, confidence: f64) -> Stopping {
        let worth = (self.effective / (self.requests as f64).max(1.0)).clamp(0.0, 1.0);
        let n = (self.requests as f64 * worth).floor() as u64;
        let violations = self.violations as f64 * worth;
        let stopped = |t: f64| early_stopping(n, t as u64, self.asked, confidence);
        if stopped(violations.ceil()) == Stopping::Pass {
            Stopping::Pass
        } else if stopped(violations.floor()) == Stopping::Fail {
            Stopping::Fail
        } else {
            Stopping::Undecided
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least n at which `t` violations pass, by counting up.
    fn least(t: u64, share: f64) -> u64 {
        (t + 1..).find(|&n| early_stopping(n, t, share, 0.99) == Stopping::Pass).unwrap()
    }

    #[test]
    fn passes_where_scipys_beta_does() {
        // The least n with stats.beta.cdf(p, n − t, t + 1) ≤ .01, of SciPy 1.17.1. The 459 is also
        // ln .01 / ln .99, rounded up.
        for (t, want) in [(0, 459), (1, 662), (2, 838), (5, 1_307), (10, 2_010)] {
            assert_eq!(least(t, 0.99), want, "{t} violations of 1 %");
        }
        for (t, want) in [(0, 90), (1, 130), (2, 165), (5, 259), (10, 398)] {
            assert_eq!(least(t, 0.95), want, "{t} violations of 5 %");
        }
    }

    #[test]
    fn fails_where_scipys_binomial_does() {
        // The least t with stats.binom.sf(t − 1, n, 1 − p) ≤ 1 − c, of SciPy 1.17.1.
        let of = [(100, 0.99, 0.99, 5), (1_000, 0.99, 0.99, 19), (5_000, 0.99, 0.99, 68)];
        let of = of.into_iter().chain([(100, 0.95, 0.95, 10), (1_000, 0.95, 0.95, 63)]);
        for (n, share, confidence, t) in of {
            assert_eq!(early_stopping(n, t, share, confidence), Stopping::Fail, "{t} of {n}");
            assert_ne!(early_stopping(n, t - 1, share, confidence), Stopping::Fail, "{t} of {n}");
        }
    }

    #[test]
    fn without_requests_nothing_is_decided() {
        assert_eq!(early_stopping(0, 0, 0.99, 0.99), Stopping::Undecided);
        assert_eq!(early_stopping(1, 0, 0.99, 0.99), Stopping::Undecided);
        assert_eq!(early_stopping(10, 10, 0.99, 0.99), Stopping::Fail);
        assert_eq!(early_stopping(10, 99, 0.99, 0.99), Stopping::Fail);
        assert_eq!(early_stopping(10_000_000, 0, 0.999, 0.99), Stopping::Pass);
    }
}
