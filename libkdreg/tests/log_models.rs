// SPDX-License-Identifier: MIT OR Apache-2.0
//! loom models of the log and the guard as the bpf backend reads them: the files
//! under test are compiled here over loom's atomics, once with the memory orders
//! they have and once for each order taken away, whose model must fail.

#![allow(
    clippy::duplicate_mod,
    reason = "with other orders each time: that is what is tried"
)]

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

/// The files, with orders of which one may be another than in the library.
macro_rules! reader {
    ($name:ident $(, $order:ident = $value:ident)?) => {
        #[path = "log_models"]
        mod $name {
            #[path = "../../src/monitor/change_log/abi.rs"]
            #[allow(dead_code, reason = "models use parts of the file")]
            pub mod abi;
            #[path = "../../src/monitor/change_log/changes.rs"]
            #[allow(dead_code, reason = "models use parts of the file")]
            pub mod changes;
            #[path = "../../src/monitor/change_log/marks.rs"]
            #[allow(dead_code, reason = "models use parts of the file")]
            pub mod marks;
            #[path = "."]
            mod orders {
                #[path = "../../src/monitor/change_log/orders.rs"]
                #[allow(dead_code, reason = "one of them is another here")]
                mod sound;
                #[allow(unused_imports, reason = "one of them is another here")]
                pub(super) use sound::*;
                $(pub(super) const $order: crate::sync::Ordering = crate::sync::Ordering::$value;)?
            }
            include!("log_models/models.rs");
        }
    };
}

// What is declared here takes the place of what is imported by `*`.
reader!(sound);
reader!(take, TAKE = Relaxed);
reader!(publish, PUBLISH = Relaxed);
reader!(before, BEFORE = Relaxed);
reader!(behind, BEHIND = Acquire);

/// Every interleaving with at most so many switches away from a thread that
/// could go on.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    // Not one of loom's: it counts over all runs.
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = runs.clone();
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    let runs = runs.load(std::sync::atomic::Ordering::Relaxed);
    assert!(runs > 1, "only one way was tried");
}

/// Whether a model fails.
fn fails(model: impl FnOnce() + std::panic::UnwindSafe) -> bool {
    std::panic::catch_unwind(model).is_err()
}

use sound::Writer;

#[test]
fn a_change_whose_call_has_returned_is_seen() {
    sound::changes(Writer::Right);
}

#[test]
fn a_copy_of_an_entry_is_of_one_change() {
    sound::laps(Writer::Right);
}

#[test]
fn a_straggler_writes_over_nothing_that_is_taken() {
    sound::stragglers(Writer::Right);
}

#[test]
fn a_loss_is_seen() {
    sound::losses(true);
}

/// Each order is there for a reason; `orders` says which two are not shown here.
#[test]
fn without_any_of_the_orders_a_model_fails() {
    let mut passed = Vec::new();
    let mut tried = |name: &'static str, failed: bool| {
        if !failed {
            passed.push(name);
        }
    };
    tried("TAKE", fails(|| take::changes(take::Writer::Right)));
    tried(
        "PUBLISH",
        fails(|| publish::changes(publish::Writer::Right)),
    );
    tried("BEFORE", fails(|| before::changes(before::Writer::Right)));
    tried(
        "BEHIND",
        fails(|| behind::stragglers(behind::Writer::Right)),
    );
    assert!(passed.is_empty(), "not needed by any model: {passed:?}");
}

/// And each step of the other side's.
#[test]
fn without_any_of_the_writer_s_steps_a_model_fails() {
    // The tail is moved when the entry is written.
    assert!(fails(|| sound::changes(Writer::TailLast)));
    // The guard's count goes down before the loss is counted.
    assert!(fails(|| sound::losses(false)));
}
