// SPDX-License-Identifier: GPL-2.0

//! The protocol of the cancel table (replica of `request/cancel_table.rs`, `request/park.rs` and
//! `request/membership.rs`), with kick, completion and the end of the context.
//!
//! Invariants: a request that parks when its context ends is not left parked; a canceller that says that
//! a request has ended has ended it; a request leaves the table before its event is posted; a provider
//! that refuses a canceller is asked again by the end of the context.

use super::{
    check, check_three,
    promise::{Gives, Held},
    request::{Ended, Request},
    with,
};
use crate::pure::state::{Cancel, CancelScope};
use kernel::sync::Arc;
use loom::{sync::Mutex, thread};
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Default)]
struct Inner {
    listed: bool,
    closed: bool,
}

/// A context with one request.
struct Table {
    inner: Mutex<Inner>,
    request: Arc<Request>,
    /// The event is in the ring.
    posted: AtomicBool,
}

impl Table {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner::default()),
            request: Request::started(false),
            posted: AtomicBool::new(false),
        })
    }

    /// `Active::list`, with `CancelTable::add`.
    fn list(&self) -> bool {
        let mut inner = self.inner.lock().unwrap();
        if !inner.listed && !inner.closed {
            inner.listed = true;
            return true;
        }
        !inner.closed
    }

    /// `engine::complete::complete`
    fn complete(&self, how: Ended) {
        self.inner.lock().unwrap().listed = false;
        self.posted.store(true, Ordering::SeqCst);
        self.request.end(how);
    }

    /// `Active::park` and what the engine does if it refuses. The caller has the token.
    fn park(&self) {
        if !self.list() && !self.request.state.must_run() {
            self.request.state.cancel(CancelScope::User);
        }
        if !self.request.park() {
            self.handle_kicks();
        }
    }

    /// Runs what is on the run list: a request that was kicked is done.
    fn handle_kicks(&self) {
        self.request
            .handle_kicks_by(&|request| match request.state.is_cancelled() {
                true => self.complete(Ended::Cancelled),
                false => self.complete(Ended::Done),
            });
    }

    fn kick(&self) {
        if self.request.kick() {
            self.handle_kicks();
        }
    }

    /// `RequestInner::finish_cancel`
    fn finish_cancel(&self, cancel: Cancel) -> bool {
        let taken = self.request.take_cancelled(cancel);
        if taken {
            self.complete(Ended::Cancelled);
        }
        taken
    }

    /// `CancelTable::cancel`. Returns whether the request has ended, or `None` if it is not found.
    fn cancel(&self) -> Option<bool> {
        let inner = self.inner.lock().unwrap();
        if !inner.listed {
            return None;
        }
        // A request in the table has not posted its event.
        assert!(!self.posted.load(Ordering::SeqCst));
        let cancel = self.request.state.cancel(CancelScope::User);
        drop(inner);
        if cancel == Cancel::Nothing {
            return None;
        }
        Some(self.finish_cancel(cancel))
    }

    /// `CancelTable::close`
    fn close(&self) {
        self.inner.lock().unwrap().closed = true;
        if std::mem::take(&mut self.inner.lock().unwrap().listed) {
            self.finish_cancel(self.request.state.cancel(CancelScope::Exit));
        }
    }
}

#[test]
fn a_request_that_parks_when_its_context_ends_is_cancelled() {
    check(|| {
        let table = Table::new();
        let end = with(&table, Table::close);
        table.park();
        end.join().unwrap();
        assert_eq!(table.request.outcome(), Ended::Cancelled);
    });
}

#[test]
fn park_kick_and_the_end_of_the_context() {
    check_three(|| {
        let table = Table::new();
        let end = with(&table, Table::close);
        let kicker = with(&table, Table::kick);
        table.park();
        end.join().unwrap();
        kicker.join().unwrap();
        table.request.outcome();
    });
}

#[test]
fn a_canceller_says_what_it_did() {
    check(|| {
        let table = Table::new();
        table.park();
        let canceller = with(&table, Table::cancel);
        table.kick();
        let cancelled = canceller.join().unwrap();
        let ended = table.request.outcome();
        assert!(cancelled.is_some() || ended == Ended::Done);
        // A canceller that did not end the request may have marked it just before it was done.
        assert!(cancelled != Some(true) || ended == Ended::Cancelled);
    });
}

#[test]
fn canceller_kick_and_the_end_of_the_context() {
    check_three(|| {
        let table = Table::new();
        table.park();
        let canceller = with(&table, Table::cancel);
        let end = with(&table, Table::close);
        table.kick();
        let cancelled = canceller.join().unwrap();
        end.join().unwrap();
        let ended = table.request.outcome();
        assert!(cancelled != Some(true) || ended == Ended::Cancelled);
    });
}

/// The context ends while a canceller asks the provider, which refuses the first time. The end leaves
/// the request to the canceller, which asks again (`RequestInner::was_refused`).
#[test]
fn a_provider_that_refuses_is_asked_again_when_the_context_ends() {
    check(|| {
        let held = Held::new(Gives::SecondTime);
        held.attempt_queued();
        let inner = Arc::new(Mutex::new(Inner {
            listed: true,
            closed: false,
        }));
        let end = {
            let (held, inner) = (held.clone(), inner.clone());
            thread::spawn(move || {
                inner.lock().unwrap().closed = true;
                if std::mem::take(&mut inner.lock().unwrap().listed) {
                    let _ = held.finish_cancel(held.request.state.cancel(CancelScope::Exit));
                }
            })
        };
        let found = {
            let inner = inner.lock().unwrap();
            inner
                .listed
                .then(|| held.request.state.cancel(CancelScope::User))
        };
        if let Some(cancel) = found.filter(|cancel| *cancel != Cancel::Nothing) {
            if held.finish_cancel(cancel).is_none() && inner.lock().unwrap().closed {
                held.finish_cancel(held.request.state.cancel(CancelScope::Exit));
            }
        }
        end.join().unwrap();
        // If only the end asked, it was refused, and the request goes on until its provider completes
        // it.
        if found.is_some() {
            assert_eq!(held.request.outcome(), Ended::Cancelled);
        }
    });
}
