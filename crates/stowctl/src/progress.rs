//! Progress of pull, push, import and export, drawn on a terminal and silent elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use stowd_core::progress::{Progress, Silent, Sink};

use crate::printer::Printer;

/// Returns what draws the progress of a job; nothing is drawn where nobody watches.
pub(crate) fn sink(printer: &Printer) -> Arc<dyn Sink> {
    if printer.is_watched() { Arc::new(Bars::default()) } else { Arc::new(Silent) }
}

/// A line for each item, with a bar where its size is known.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    items: Mutex<HashMap<String, ProgressBar>>,
}

impl Sink for Bars {
    fn report(&self, progress: Progress) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = items.entry(progress.name.clone()).or_insert_with(|| {
            self.all.add(ProgressBar::new(progress.total).with_prefix(progress.name.clone()))
        });
        bar.set_message(progress.event.clone());
        if progress.total > 0 && bar.length() != Some(progress.total) {
            bar.set_length(progress.total);
        }
        bar.set_style(if progress.total > 0 { sized() } else { unsized_() });
        bar.set_position(progress.progress);
    }
}

fn sized() -> ProgressStyle {
    style("{prefix:<45!} {msg:<12} {wide_bar} {bytes:>10}/{total_bytes:<10}")
}

fn unsized_() -> ProgressStyle {
    style("{prefix:<45!} {msg}")
}

fn style(template: &str) -> ProgressStyle {
    // The templates above are constants; a wrong one would only look plain.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
