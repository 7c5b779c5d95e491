//! What is measured: each row on servers of its own, the peers taking turns.

mod calls;
mod fanout;
mod kill;
mod memory;
mod probed;
mod restart;

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, Result};
use homeroom::process::complain;

use crate::{Plan, Programs, peer::Peer, table::Line};

/// A row of the table, or two that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// Registrations that are synced to disk
    Registrations,
    /// Registrations that are not kept
    Ephemeral,
    /// Lookups of a service of 100 instances
    Lookups,
    /// Changes told to many watchers
    Fanout,
    /// One change told to many watchers
    Change,
    /// One change told to some watchers
    ChangeFew,
    /// One change told to some watchers beside many that never read
    Deaf,
    /// Memory of watchers
    Watchers,
    /// Memory of instances
    Instances,
    /// An instance that is killed
    Kill,
    /// A registry that is killed and started again
    Restart,
    /// Instances that are probed
    Probed,
}

/// Measures a row.
///
/// # Errors
/// When a server does not start, or does not answer as it should: a figure is worth nothing then.
pub async fn measure(row: Row, plan: &Plan, programs: &Programs) -> Result<Vec<Line>> {
    let bench = Bench { plan, programs };
    let lines = match row {
        Row::Registrations => calls::registrations(bench).await,
        Row::Ephemeral => calls::ephemeral(bench).await,
        Row::Lookups => calls::lookups(bench).await,
        Row::Fanout => fanout::events(bench).await,
        Row::Change => fanout::change(bench, plan.watchers).await,
        Row::ChangeFew => fanout::change(bench, plan.watchers_few).await,
        Row::Deaf => fanout::deaf(bench).await,
        Row::Watchers => memory::watchers(bench).await,
        Row::Instances => memory::instances(bench).await,
        Row::Kill => kill::told(bench).await,
        Row::Restart => restart::answers(bench).await,
        Row::Probed => probed::idle(bench).await,
    };
    lines.with_context(|| format!("{row:?}"))
}

/// What every row is given.
#[derive(Debug, Clone, Copy)]
struct Bench<'b> {
    plan: &'b Plan,
    programs: &'b Programs,
}

impl Bench<'_> {
    /// Measures each peer in turn, as often as planned. etcd is left out when there is none.
    async fn in_turns<T>(self, peers: &[Peer], measure: impl AsyncFn(Peer) -> Result<T>) -> Result<Figures<T>> {
        let mut figures = BTreeMap::<Peer, Vec<T>>::new();
        for _ in 0..self.plan.repetitions {
            for peer in peers {
                if *peer == Peer::Etcd && self.programs.etcd.is_none() {
                    continue;
                }
                let started = Instant::now();
                let figure = measure(*peer).await.with_context(|| format!("{peer:?}"))?;
                complain(&format!(
                    "        {peer:?}: measured in {:.1} s",
                    started.elapsed().as_secs_f64()
                ));
                figures.entry(*peer).or_default().push(figure);
            }
        }
        Ok(Figures(figures))
    }
}

/// What was measured of each peer.
struct Figures<T>(BTreeMap<Peer, Vec<T>>);

impl<T> Figures<T> {
    /// All of a peer.
    fn of(&self, peer: Peer) -> impl Iterator<Item = &T> {
        self.0.get(&peer).into_iter().flatten()
    }

    /// The median of a figure; `None` for a peer that was left out.
    fn median(&self, peer: Peer, figure: impl Fn(&T) -> f64) -> Option<f64> {
        let mut figures: Vec<_> = self.of(peer).map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }

    /// The median of a figure of a peer that is never left out.
    fn homeroom(&self, peer: Peer, figure: impl Fn(&T) -> f64) -> Result<f64> {
        self.median(peer, figure).context("nothing was measured")
    }
}

/// The value that this share of the values does not exceed.
pub(crate) fn percentile(values: &mut [u32], percent: usize) -> f64 {
    values.sort_unstable();
    let at = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(at).copied().map_or(0.0, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let mut values: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut values, 99), 99.0);
        assert_eq!(percentile(&mut values, 50), 50.0);
        assert_eq!(percentile(&mut [7], 50), 7.0);
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let figures = Figures(BTreeMap::from([(Peer::Homeroom, vec![9.0, 1.0, 5.0])]));
        assert_eq!(figures.median(Peer::Homeroom, |figure| *figure), Some(5.0));
        assert_eq!(figures.median(Peer::Etcd, |figure| *figure), None);
    }
}
