//! What is measured: each row on servers of its own, the peers taking turns.

mod kept;
mod rates;
mod recovery;
mod single;

use anyhow::{Context, Result};

use super::{Plan, Programs};
use crate::table::Line;

/// A row of the table, or those that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// Batches that are synced to disk, by `Write`
    Store,
    /// Batches that are synced to disk, by a stream of `Ingest`
    Ingest,
    /// Batches of OpenTelemetry's `Export` that are synced to disk
    Export,
    /// One entry at a time, synced to disk
    Single,
    /// Five million entries: what they take, and how soon some of them are found
    Kept,
    /// A Log that is killed and started again
    Recovery,
}

/// Measures a row.
///
/// # Errors
/// When a server does not start, or does not answer as it should: a figure is worth nothing then.
pub async fn measure(row: Row, plan: &Plan, programs: &Programs) -> Result<Vec<Line>> {
    let bench = Bench { plan, programs };
    let lines = match row {
        Row::Store => rates::store(bench).await,
        Row::Ingest => rates::ingest(bench).await,
        Row::Export => rates::export(bench).await,
        Row::Single => single::write(bench).await,
        Row::Kept => kept::found(bench).await,
        Row::Recovery => recovery::answers(bench).await,
    };
    lines.with_context(|| format!("{row:?}"))
}

/// What every row is given.
#[derive(Debug, Clone, Copy)]
struct Bench<'b> {
    plan: &'b Plan,
    programs: &'b Programs,
}

/// The value in the middle; `None` when there is none.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(Vec::new()), None);
    }
}
