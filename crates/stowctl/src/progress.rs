//! Progress of pull, push, import and export: drawn on a terminal, summed up everywhere.
//!
//! Items are drawn as ctr draws them, a tree with a bar where a size is known, and below it a line
//! with the time, the bytes and their rate. Elsewhere than on a terminal nothing is drawn while it
//! goes on; the last line is printed in any case.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use stowd_core::Descriptor;
use stowd_core::progress::{Progress, Sink};

use crate::printer::{Format, Printer};
use crate::units;

/// How wide an item's name is set.
const NAME: usize = 40;

/// A job under way. It is told of progress, and asked for a [`Summary`] at the end.
pub(crate) struct Job {
    started: Instant,
    drawing: Option<MultiProgress>,
    state: Mutex<State>,
}

/// What a job came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// What the daemon said last about the job as a whole.
    pub(crate) status: String,
    /// What was moved, where the daemon told.
    pub(crate) targets: Vec<Target>,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Bytes moved.
    pub(crate) bytes: u64,
}

/// A thing that was moved.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    name: String,
    #[serde(flatten)]
    descriptor: Descriptor,
}

#[derive(Default)]
struct State {
    status: String,
    /// In the order of their first report.
    items: Vec<Item>,
    by_name: HashMap<String, usize>,
    total: Option<ProgressBar>,
}

struct Item {
    name: String,
    parent: Option<usize>,
    depth: usize,
    done: u64,
    descriptor: Option<Descriptor>,
    bar: Option<ProgressBar>,
}

struct Styles {
    sized: ProgressStyle,
    plain: ProgressStyle,
    total: ProgressStyle,
}

/// Begins a job; it is drawn where somebody watches.
pub(crate) fn start(printer: &Printer) -> Arc<Job> {
    let drawing = printer.is_watched().then(MultiProgress::new);
    let mut state = State::default();
    if let Some(all) = &drawing {
        let total = all.add(ProgressBar::new_spinner().with_style(STYLES.total.clone()));
        // Time goes on while nothing is reported.
        total.enable_steady_tick(Duration::from_millis(100));
        state.total = Some(total);
    }
    Arc::new(Job { started: Instant::now(), drawing, state: Mutex::new(state) })
}

impl Job {
    /// Ends the drawing and sums up.
    pub(crate) fn finish(&self) -> Summary {
        let mut state = self.state();
        state.end_drawing();
        let roots = 0..state.items.len();
        let roots = roots.filter(|&at| state.items[at].parent.is_none());
        let target = |at: usize| {
            let descriptor = state.main_descriptor(at)?;
            Some(Target { name: state.items[at].name.clone(), descriptor })
        };
        let targets = roots.filter_map(target).collect();
        Summary {
            status: state.status.clone(),
            targets,
            seconds: self.started.elapsed().as_secs_f64(),
            bytes: state.done(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // After a failure: the error is printed below what was drawn.
        self.state().end_drawing();
    }
}

impl Sink for Job {
    fn report(&self, progress: Progress) {
        let mut state = self.state();
        if progress.name.is_empty() {
            state.status = progress.event;
        } else {
            state.take(progress, self.drawing.as_ref());
        }
        if let Some(total) = &state.total {
            let (done, since) = (state.done(), self.started.elapsed());
            total.set_message(format!(
                "{} total: {} ({}/s)",
                state.status,
                units::bytes(done),
                units::bytes(rate(done, since.as_secs_f64()))
            ));
        }
    }
}

impl State {
    fn take(&mut self, progress: Progress, drawing: Option<&MultiProgress>) {
        let at = match self.by_name.get(&progress.name) {
            Some(&at) => at,
            None => self.add(&progress, drawing),
        };
        let item = &mut self.items[at];
        item.done = progress.progress;
        if progress.descriptor.is_some() {
            item.descriptor = progress.descriptor;
        }
        let Some(bar) = &item.bar else { return };
        let moving = matches!(progress.event.as_str(), "downloading" | "uploading" | "extracting");
        let was_sized = bar.length().is_some_and(|length| length > 0);
        let sized = moving && progress.total > 0;
        if sized != was_sized {
            bar.set_style(if sized { STYLES.sized.clone() } else { STYLES.plain.clone() });
        }
        bar.set_length(if sized { progress.total } else { 0 });
        bar.set_position(progress.progress);
        bar.set_message(progress.event);
    }

    fn add(&mut self, progress: &Progress, drawing: Option<&MultiProgress>) -> usize {
        let mut parents = progress.parents.iter().filter_map(|parent| self.by_name.get(parent));
        let parent = parents.next().copied();
        let depth = parent.map_or(0, |parent| self.items[parent].depth + 1);
        let at = self.items.len();
        let bar = drawing.map(|all| {
            let before =
                (0..at).rev().find(|&other| Some(other) == parent || self.is_below(other, parent));
            let bar = ProgressBar::new(0).with_style(STYLES.plain.clone());
            let bar = match before.and_then(|before| self.items[before].bar.as_ref()) {
                Some(before) => all.insert_after(before, bar),
                None => all.insert_from_back(1, bar),
            };
            bar.with_prefix(format!("{}{}", "  ".repeat(depth), short(&progress.name)))
        });
        let name = progress.name.clone();
        self.items.push(Item { name, parent, depth, done: 0, descriptor: None, bar });
        self.by_name.insert(progress.name.clone(), at);
        at
    }

    fn is_below(&self, item: usize, above: Option<usize>) -> bool {
        let mut next = self.items[item].parent;
        while let Some(parent) = next {
            if above == Some(parent) {
                return true;
            }
            next = self.items[parent].parent;
        }
        false
    }

    /// The first blob at or below an item.
    fn main_descriptor(&self, at: usize) -> Option<Descriptor> {
        let mut below =
            (at..self.items.len()).filter(|&other| other == at || self.is_below(other, Some(at)));
        below.find_map(|other| self.items[other].descriptor.clone())
    }

    fn done(&self) -> u64 {
        self.items.iter().map(|item| item.done).fold(0, u64::saturating_add)
    }

    fn end_drawing(&mut self) {
        for item in &mut self.items {
            if let Some(bar) = item.bar.take() {
                bar.abandon();
            }
        }
        // The last line is printed as data.
        if let Some(total) = self.total.take() {
            total.finish_and_clear();
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Target { descriptor: target, .. } in &self.targets {
            writeln!(f, "{} {}", target.media_type, target.digest)?;
        }
        write!(
            f,
            "{}\telapsed: {:<4.1}s\ttotal: {:>7}\t({}/s)\t",
            self.status,
            self.seconds,
            units::bytes(self.bytes),
            units::bytes(rate(self.bytes, self.seconds))
        )
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a display with one decimal"
)]
fn rate(bytes: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (bytes as f64 / seconds) as u64 } else { 0 }
}

/// Shortens the digest in an item's name: `layer-sha256:0123…` is `layer (0123456789ab)`.
fn short(name: &str) -> String {
    let digest = |part: &str| match part.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 => format!("({})", hex.get(..12).unwrap_or(hex)),
        _ => part.to_owned(),
    };
    let words: Vec<String> = name.split('-').map(digest).collect();
    // Only names of blobs are made of parts; in a reference a dash is its own.
    if name.contains("sha256:") { words.join(" ") } else { name.to_owned() }
}

static STYLES: LazyLock<Styles> = LazyLock::new(|| {
    let name = format!("{{prefix:<{NAME}!}}");
    Styles {
        sized: style(&format!("{name} {{msg:<12}} {{bar:30}} {{bytes:>10}}/{{total_bytes}}")),
        plain: style(&format!("{name} {{msg}}")),
        total: style("elapsed: {elapsed} {msg}"),
    }
});

fn style(template: &str) -> ProgressStyle {
    // The templates above are constants; a wrong one would only look plain.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Where a job's last lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// To standard output, as ctr does.
    Output,
    /// To standard error, as standard output is taken by an archive.
    Error,
}

impl Printer {
    /// Prints what a job came to as a command's data.
    pub(crate) fn outcome(&self, summary: &Summary) -> stowd_core::Result<()> {
        match self.format() {
            Format::Json => self.json(summary),
            Format::Text => self.summary(summary, To::Output),
        }
    }

    /// Prints what a job came to.
    pub(crate) fn summary(&self, summary: &Summary, to: To) -> stowd_core::Result<()> {
        match to {
            To::Output => self.line(summary),
            To::Error => {
                self.note(summary);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job { started: Instant::now(), drawing: None, state: Mutex::default() }
    }

    #[test]
    fn sums_up_what_it_was_told() {
        let job = job();
        let descriptor = Descriptor::new("a/b", stowd_core::Digest::of(b"x"), 1);
        let report = |name: &str, parents: &[&str], done, descriptor| {
            job.report(Progress {
                event: "downloading".into(),
                name: name.into(),
                parents: parents.iter().map(|&parent| parent.to_owned()).collect(),
                progress: done,
                total: 10,
                descriptor,
            });
        };
        report("host/name:tag", &[], 0, None);
        report("manifest", &["host/name:tag"], 3, Some(descriptor.clone()));
        report("layer", &["manifest"], 4, None);
        report("layer", &["manifest"], 7, None);
        job.report(Progress { event: "Completed".into(), ..Progress::default() });
        let summary = job.finish();
        assert_eq!((summary.bytes, summary.targets.len()), (10, 1));
        assert_eq!(summary.targets[0].descriptor, descriptor);
        assert_eq!(summary.status, "Completed");
    }

    #[test]
    fn names_are_shortened() {
        let digest = stowd_core::Digest::of(b"");
        assert_eq!(short(&format!("layer-{digest}")), "layer (e3b0c44298fc)");
        assert_eq!(short("host/a-b:1"), "host/a-b:1");
    }
}
