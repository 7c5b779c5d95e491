//! The two text formats, which differ in their comments alone: [`OpenMetrics`] names a family, [`Prometheus`] its samples.
//!
//! [`OpenMetrics`]: Format::OpenMetrics
//! [`Prometheus`]: Format::Prometheus

use http::HeaderMap;
use prometheus_client::{encoding::text, registry::Registry};

/// How values are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format, version 0.0.4: what everything reads.
    Prometheus,
    /// OpenMetrics 1.0.0, for those who ask for it.
    OpenMetrics,
}

impl Format {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What a request asks for. Whoever can read OpenMetrics says so; preferences among formats are not weighed.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(http::header::ACCEPT).into_iter();
        let mut accepts = accepts.filter_map(|value| value.to_str().ok());
        if accepts.any(|value| value.contains("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

pub(super) fn encode(registry: &Registry, format: Format) -> String {
    let mut open_metrics = String::new();
    text::encode(&mut open_metrics, registry).expect("a string takes everything");
    match format {
        Format::OpenMetrics => open_metrics,
        Format::Prometheus => prometheus(&open_metrics),
    }
}

fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.split_inclusive('\n') {
        let Some(comment) = line.strip_prefix("# ") else {
            text.push_str(line);
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), _, Some(words)) => help = words,
            (Some("TYPE"), Some(family), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter\n" => ("_total", kind),
                    "info\n" => ("_info", "gauge\n"),
                    "unknown\n" => ("", "untyped\n"),
                    _ => ("", kind),
                };
                for part in [
                    "# HELP ", family, suffix, " ", help, "# TYPE ", family, suffix, " ", kind,
                ] {
                    text.push_str(part);
                }
            }
            // Units and the end have no place there.
            _ => {}
        }
    }
    text
}
