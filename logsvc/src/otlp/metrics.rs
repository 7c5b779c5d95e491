//! Metrics of OTLP: counted, not kept.

use crate::wire::{Malformed, repeated};

/// The kinds of data of a `Metric`: gauge, sum, histogram, exponential histogram and summary. Each has its points in
/// its field 1.
const KINDS: [u64; 5] = [5, 7, 9, 10, 11];

/// How many data points an `ExportMetricsServiceRequest` has, as far as it is one.
pub fn data_points(request: &[u8]) -> u64 {
    let groups = each(request, 1).flat_map(|group| each(group, 2));
    let metrics = groups.flat_map(|group| each(group, 2));
    let kinds = metrics.flat_map(|metric| KINDS.into_iter().flat_map(move |kind| each(metric, kind)));
    kinds.map(|data| each(data, 1).count() as u64).sum()
}

fn each(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    repeated(message, number).filter_map(|item: Result<_, Malformed>| item.ok())
}
