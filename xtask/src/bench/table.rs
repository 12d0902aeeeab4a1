//! Rounds and what they show.

use std::time::{Duration, Instant};

/// Times `work`.
pub fn timed<R>(work: impl FnOnce() -> anyhow::Result<R>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

/// One comparison: our time and the reference's, a pair a round.
pub struct Comparison {
    pub what: String,
    /// What our times are divided by.
    pub reference: String,
    /// The ratio that is aimed at, at most.
    pub bound: f64,
    pub pairs: Vec<(Duration, Duration)>,
}

impl Comparison {
    pub fn new(what: &str, reference: &str, bound: f64) -> Self {
        Self { what: what.into(), reference: reference.into(), bound, pairs: Vec::new() }
    }

    /// Prints the line.
    pub fn print(&self) {
        let mut ratios: Vec<f64> =
            self.pairs.iter().map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        let mark = if median <= self.bound { "ok" } else { "OVER" };
        println!(
            "  {:<24} {:>6.2} s   {:<22} {:>6.2} s   ratio {median:>5.2} ({:.2}..{:.2}), at most {:.2}  {mark}",
            self.what,
            middle(self.pairs.iter().map(|pair| pair.0)),
            self.reference,
            middle(self.pairs.iter().map(|pair| pair.1)),
            ratios[0],
            ratios[ratios.len() - 1],
            self.bound,
        );
    }
}

fn middle(times: impl Iterator<Item = Duration>) -> f64 {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
