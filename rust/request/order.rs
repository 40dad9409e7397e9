// SPDX-License-Identifier: GPL-2.0

//! Queues in which requests that concern the same file wait for their turn.
//!
//! Requests with the same key run one after another, in the order in which they joined. fs/aio.c
//! has no counterpart, as it runs each request in io_submit(2).
//!
//! Programs choose how long a queue is and how many queues there are, and the lock disables
//! interrupts. So the first request of each queue is in a tree, and knows the requests behind it:
//! each operation takes as many steps as the tree is high. Nothing is allocated, since the links
//! are in the requests. All functions may be called in any context.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::Opaque, //
};

use super::{
    poll::Polled,
    Request,
    RequestInner, //
};
use crate::sys::{
    count::Count,
    ffi,
    lock::{
        new_irq_lock,
        IrqLock, //
    },
};

/// The links of a request in a queue.
pub(super) type OrderLinks = Opaque<ffi::kaio_in_line>;

/// The queues, by key.
///
/// # Invariants
///
/// Each entry of the tree and of its lists is the [`OrderLinks`] of a `RequestInner<R>`, to which
/// the queues own a reference.
struct Queues<R: Request> {
    root: bindings::rb_root,
    _requests: PhantomData<Arc<RequestInner<R>>>,
}

// SAFETY: by the type's invariant, the queues own references to requests, which are `Send` and
// `Sync`. The pointers in the tree belong to no thread.
unsafe impl<R: Request> Send for Queues<R> {}

/// Requests that wait for their turn. The first request of each queue has its turn until it leaves.
#[pin_data]
pub(crate) struct OrderQueues<R: Request> {
    #[pin]
    queues: IrqLock<Queues<R>>,
    /// The number of requests in all queues. It changes only under the lock.
    len: Count,
}

impl<R: Request> OrderQueues<R> {
    /// Makes an object without queues.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: there are no entries.
        let queues = Queues {
            root: bindings::rb_root {
                rb_node: core::ptr::null_mut(),
            },
            _requests: PhantomData,
        };
        pin_init!(Self {
            queues <- new_irq_lock!(queues, "kaio_order"),
            len: Count::new(),
        })
    }

    /// Returns whether a request is in the queue of `key`.
    pub(crate) fn is_busy(&self, key: usize) -> bool {
        if self.len.get() == 0 {
            return false;
        }
        let queues = self.queues.lock();
        // SAFETY: this function holds the lock, so the tree does not change. By the invariant of
        // `Queues`, its entries are in requests that the queues keep in memory.
        unsafe { ffi::kaio_line_exists(&queues.root, key) }
    }

    /// Adds `request` to the queue of `key`. Returns whether the request has its turn. If not,
    /// [`Self::leave`] of the request before it kicks the request later.
    ///
    /// # Safety
    ///
    /// The caller ensures that the request is in no queue, and that its owner calls [`Self::leave`]
    /// before the request ends.
    pub(super) unsafe fn join(&self, request: &Arc<RequestInner<R>>, key: usize) -> bool {
        // The queues own this reference; `leave` drops it.
        let raw = Arc::into_raw(request.clone());
        let mut queues = self.queues.lock();
        self.len.increment();
        // INVARIANT: the entry is that of a request, and the queues own `raw`, a reference to it.
        // SAFETY: this function holds the lock, so no other thread changes the tree or an entry.
        // The reference in `raw` keeps the request in memory until `leave`, and the caller ensures
        // that the entry is in no queue.
        unsafe { ffi::kaio_line_join(&mut queues.root, (*raw).order_links.get(), key) }
    }

    /// Returns whether `request` has its turn.
    ///
    /// # Safety
    ///
    /// The caller ensures that the request has joined a queue of this object and has not left it.
    pub(super) unsafe fn is_first(&self, request: &RequestInner<R>) -> bool {
        let _queues = self.queues.lock();
        // SAFETY: this function holds the lock, so no other thread changes the entry. The caller
        // ensures that `join` has filled the entry in.
        unsafe { ffi::kaio_line_is_first(request.order_links.get()) }
    }

    /// Takes `request` out of its queue, and kicks the next request if this was the first.
    ///
    /// # Safety
    ///
    /// The caller ensures that the request has joined a queue of this object and has not left it,
    /// and holds a reference to the request.
    pub(super) unsafe fn leave(&self, request: &RequestInner<R>) {
        let mut queues = self.queues.lock();
        // SAFETY: this function holds the lock, so no other thread changes the tree or an entry.
        // The caller ensures that the entry is in one of these queues.
        let next = unsafe { ffi::kaio_line_leave(&mut queues.root, request.order_links.get()) };
        let next = NonNull::new(next).map(|next| {
            // SAFETY: by the invariant of `Queues`, this is the `order_links` of a request to which
            // the queues own a reference that `Arc::into_raw` made. This function still holds the
            // lock, which `leave` of that request needs before it drops the reference.
            Arc::from(unsafe {
                let next = Opaque::cast_from(next.as_ptr());
                ArcBorrow::from_raw(kernel::container_of!(next, RequestInner<R>, order_links))
            })
        });
        self.len.decrement();
        drop(queues);
        // SAFETY: `join` gave this reference, which `Arc::into_raw` made, to the queues. The entry
        // has just left them under the lock, so no other call takes the reference.
        drop(unsafe { Arc::from_raw(request) });
        if let Some(next) = next {
            next.kick();
        }
    }
}
