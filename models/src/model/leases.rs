// SPDX-License-Identifier: GPL-2.0

//! Leases (`sys/lease.rs`), and how a context ends with the last of them.
//!
//! Invariants: a lease is taken only while there is one; the last one releases the ring's file, once,
//! and after all that holders of leases did; a task that sees the context drained finds its charge
//! given back. (Replica: `Kioctx::drained`, `Kioctx::is_drained`.)

use super::{check, check_three, wait_queue::WaitQueue, Watched};
use crate::sys::lease::{Lease, LeaseBatch, Leased, Leases};
use kernel::{
    bindings::file,
    sync::{
        atomic::{Acquire, Atomic, AtomicFlag, Relaxed, Release},
        Arc,
    },
};
use loom::thread;
use std::{
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

/// What all threads of a model look at. The release of the file touches `content`, as the destructor of
/// the context would.
struct Shared {
    content: Watched<bool>,
    releases: AtomicU32,
}

struct Context {
    leases: Leases,
    shared: Arc<Shared>,
    charge: Watched<Option<u32>>,
    drained: AtomicFlag,
    wait: WaitQueue,
    has_waiter: bool,
}

// SAFETY: `leases` is a field.
unsafe impl Leased for Context {
    fn leases(&self) -> &Leases {
        &self.leases
    }

    fn drained(&self) {
        let charge = self.charge.write(Option::take);
        assert_eq!(charge, Some(1), "the charge was given back twice");
        self.drained.store(true, Release);
        // The barrier of a wake-up would hide that one is missing in the leases.
        if self.has_waiter {
            self.wait.wake();
        }
    }
}

impl Context {
    /// Makes a context with its first lease, and its file.
    fn new() -> (Arc<Self>, Lease<Self>, Box<file>) {
        Self::with_waiter(false)
    }

    fn with_waiter(has_waiter: bool) -> (Arc<Self>, Lease<Self>, Box<file>) {
        let (this, file) = Self::without_leases(has_waiter);
        let lease = open(&this, &file);
        (this, lease, file)
    }

    /// Makes a context of which no lease can be taken yet, and its file.
    fn without_leases(has_waiter: bool) -> (Arc<Self>, Box<file>) {
        let shared = Arc::new(Shared {
            content: Watched::new(true),
            releases: AtomicU32::new(0),
        });
        let this = Arc::new(Self {
            leases: Leases::new(),
            shared: shared.clone(),
            charge: Watched::new(Some(1)),
            drained: Atomic::new(false),
            wait: WaitQueue::new(),
            has_waiter,
        });
        this.drained.load(Relaxed);
        let file = Box::new(file {
            release: Box::new(move || {
                shared.content.write(|content| *content = false);
                let before = shared.releases.fetch_add(1, Ordering::SeqCst);
                assert_eq!(before, 0, "the file was released twice");
            }),
        });
        assert!(LeaseBatch::new(&this).is_none());
        assert!(this.leases.file().is_null());
        (this, file)
    }

    /// Does what a holder of a lease may.
    fn use_content(&self) {
        assert!(
            self.shared.content.read(|there| *there),
            "the context has gone"
        );
    }

    fn is_drained(&self) -> bool {
        self.drained.load(Acquire)
    }

    fn check_end(self: &Arc<Self>) {
        assert!(LeaseBatch::new(self).is_none());
        assert_eq!(self.shared.releases.load(Ordering::SeqCst), 1);
        assert!(self.is_drained());
    }
}

/// Opens the leases, and returns the first one.
fn open(context: &Arc<Context>, file: &file) -> Lease<Context> {
    // SAFETY: the file stays until the model has ended, and there is no lease yet.
    unsafe { Lease::open(context, NonNull::from(file)) }
}

/// Makes a lease for each of two requests of a submit call, and ends the requests.
fn submit(context: &Arc<Context>) -> bool {
    let Some(batch) = LeaseBatch::new(context) else {
        return false;
    };
    batch.use_content();
    let lease = batch.take(2);
    drop(batch);
    lease.use_content();
    drop(lease);
    true
}

#[test]
fn the_last_lease_releases_the_file_once() {
    check(|| {
        let (context, lease, _file) = Context::new();
        let submitter = {
            let context = context.clone();
            thread::spawn(move || submit(&context))
        };
        lease.use_content();
        drop(lease);
        submitter.join().unwrap();
        context.check_end();
    });
}

#[test]
fn two_submitters_and_the_end() {
    check_three(|| {
        let (context, lease, _file) = Context::new();
        let submitters = [0, 1].map(|_| {
            let context = context.clone();
            thread::spawn(move || submit(&context))
        });
        drop(lease);
        submitters.map(|submitter| submitter.join().unwrap());
        context.check_end();
    });
}

/// A submitter may look for a lease while the context is made. With a lease it finds the file.
#[test]
fn a_lease_leads_to_the_file() {
    check(|| {
        let (context, file) = Context::without_leases(false);
        let submitter = {
            let context = context.clone();
            thread::spawn(move || {
                if let Some(batch) = LeaseBatch::new(&context) {
                    assert!(!batch.leases().file().is_null(), "no file");
                }
            })
        };
        drop(open(&context, &file));
        submitter.join().unwrap();
        context.check_end();
    });
}

#[test]
fn a_clone_keeps_the_context() {
    check(|| {
        let (context, lease, _file) = Context::new();
        let other = lease.clone();
        let user = thread::spawn(move || {
            let more = other.clone();
            drop(other);
            more.use_content();
            more.object().use_content();
        });
        drop(lease);
        user.join().unwrap();
        context.check_end();
    });
}

#[test]
fn leases_that_were_not_used_are_given_back() {
    check(|| {
        let (context, lease, _file) = Context::new();
        let batch = LeaseBatch::new(&context).unwrap();
        let taken = [batch.take(3), batch.take(2)];
        let ending = thread::spawn(move || drop(taken));
        drop(lease);
        drop(batch);
        ending.join().unwrap();
        context.check_end();
    });
}

#[test]
fn a_drained_context_has_given_its_charge_back() {
    check(|| {
        let (context, lease, _file) = Context::with_waiter(true);
        let last = thread::spawn(move || drop(lease));
        // `Kioctx::drain`
        context.wait.wait(|| context.is_drained());
        context.charge.read(|charge| assert_eq!(*charge, None));
        last.join().unwrap();
        context.check_end();
    });
}
