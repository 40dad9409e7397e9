// SPDX-License-Identifier: GPL-2.0

//! Workqueues, which run requests outside the submit call (`aio_wq` of the retry-based AIO of
//! fs/aio.c).
//!
//! Only a kworker may take on the memory and the rights of a submitter. The functions that do so
//! ask for a [`Kworker`]. Only [`Job::begin`] makes one, and only a workqueue calls a method with a
//! [`Job`]. The locks are those of the workqueue, which nest inside all others.

use kernel::{
    bindings,
    prelude::*,
    sync::Arc,
    types::NotThreadSafe,
    workqueue::{
        HasWork,
        Queue,
        RawWorkItem,
        Work,
        WorkItem,
        WorkItemPointer, //
    },
};

use super::ffi;

/// A workqueue of kaio's own.
///
/// It is unbound, so that many requests run side by side. It is not for memory reclaim, which does
/// not depend on it and whose queues may not wait for others. It is not freezable, as a run that
/// waits for a user would keep the machine from suspending.
///
/// It must not be dropped by one of its own workers.
///
/// # Invariants
///
/// The pointer is that of a workqueue which only this value destroys.
pub(crate) struct Owned(*mut bindings::workqueue_struct);

// SAFETY: any task may use and destroy a workqueue.
unsafe impl Send for Owned {}
// SAFETY: any number of tasks may use a workqueue at a time, as it has a lock of its own.
unsafe impl Sync for Owned {}

impl Owned {
    /// Makes a workqueue that runs up to `max_active` work items at a time (0: the kernel's
    /// default). `number` is part of the name. Returns `ENOMEM` if there is no memory.
    pub(crate) fn new(name: &'static CStr, number: u32, max_active: i32) -> Result<Self> {
        // SAFETY: the function copies `name`, which ends with a zero.
        let wq = unsafe { ffi::kaio_workqueue_alloc(name.as_char_ptr(), number, max_active) };
        if wq.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: the workqueue was made just now.
        Ok(Self(wq))
    }

    /// Returns the queue to which work items are queued.
    pub(crate) fn queue(&self) -> &Queue {
        // SAFETY: by the type's invariant the workqueue exists as long as `self`, which is
        // borrowed.
        unsafe { Queue::from_raw(self.0) }
    }

    /// Waits until all work items that are queued now have run.
    pub(crate) fn flush(&self) {
        // SAFETY: by the type's invariant the workqueue exists as long as `self`, which is
        // borrowed.
        unsafe { bindings::__flush_workqueue(self.0) };
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant only this value destroys the workqueue. Each `&Queue`
        // borrows `self`, so no task can queue to it any more. The function waits for what still
        // runs.
        unsafe { bindings::destroy_workqueue(self.0) };
    }
}

/// A counted `T` whose work item a kworker runs: the `Pointer` of its [`WorkItem`].
///
/// # Invariants
///
/// The value exists only in [`WorkItem::run`], which a kworker has called, and does not leave that
/// task.
pub(crate) struct Job<T>(Arc<T>, NotThreadSafe);

/// A counted `T` that is queued, and becomes a [`Job`].
struct Queueable<T>(Arc<T>);

/// The right to do once what only a kworker may do.
///
/// A value of this type exists in a kworker that runs a [`Job`], until the kworker takes on the
/// memory of a submitter.
pub(crate) struct Kworker {
    deputy: Deputy,
}

/// The right of a kworker to take on the rights of a submitter. A kworker has one such value, so it
/// acts for one submitter at a time.
pub(crate) struct Deputy(NotThreadSafe);

impl<T> Job<T> {
    /// Returns the object whose work item runs, and the proof that the current task is a kworker.
    pub(crate) fn begin(self) -> (Arc<T>, Kworker) {
        // By the invariant of `Job`, the current task is a kworker that has just begun to run this
        // job.
        let kworker = Kworker {
            deputy: Deputy(NotThreadSafe),
        };
        (self.0, kworker)
    }
}

impl Kworker {
    /// Returns the right to take on a submitter's rights, in a kworker that takes on no memory.
    pub(crate) fn deputy(&mut self) -> &mut Deputy {
        &mut self.deputy
    }
}

/// Queues `this` to `queue`, so that a kworker runs its work item. Returns `this` as an error if
/// the work item is queued already.
#[inline]
pub(crate) fn enqueue<T, const ID: u64>(queue: &Queue, this: Arc<T>) -> Result<(), Arc<T>>
where
    T: WorkItem<ID, Pointer = Job<T>> + HasWork<T, ID> + Send + Sync + 'static,
{
    queue
        .enqueue::<_, ID>(Queueable(this))
        .map_err(|back| back.0)
}

// SAFETY: `__enqueue` of a `Job` leaves it to that of a `Queueable`, which takes the `work_struct`
// from the `Work<T, ID>` of a `T`. `Work::new`, which alone makes a `Work`, sets its function to
// `run` of `T::Pointer`, which is this type.
unsafe impl<T, const ID: u64> WorkItemPointer<ID> for Job<T>
where
    T: WorkItem<ID, Pointer = Self> + HasWork<T, ID>,
{
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: the contract of this function says that `work` comes from `__enqueue`, whose
        // closure returned true. `__enqueue` of `Queueable` took it from the `Work<T, ID>` of the
        // object to which `Arc::into_raw` had returned a pointer, and left that reference to this
        // call.
        let this = unsafe { Arc::from_raw(T::work_container_of(work.cast::<Work<T, ID>>())) };
        // INVARIANT: only a workqueue calls this function, in a kworker. `NotThreadSafe` keeps the
        // value in this task.
        T::run(Self(this, NotThreadSafe));
    }
}

// SAFETY: the reference keeps the `work_struct` in memory while the closure runs. If the closure
// returns true, the reference stays with the work item until `WorkItemPointer::run` takes it, or
// until `RequestInner::dequeue` does after cancel_work() has made sure that `run` is not called.
unsafe impl<T, const ID: u64> RawWorkItem<ID> for Queueable<T>
where
    T: WorkItem<ID, Pointer = Job<T>> + HasWork<T, ID>,
{
    type EnqueueOutput = Result<(), Self>;

    #[inline]
    unsafe fn __enqueue<F>(self, queue_work_on: F) -> Result<(), Self>
    where
        F: FnOnce(*mut bindings::work_struct) -> bool,
    {
        let raw = Arc::into_raw(self.0).cast_mut();
        // SAFETY: `Arc::into_raw` returned `raw`, and this function has the reference, so the
        // object and the `Work` in it are valid.
        let work = unsafe { Work::raw_get(T::raw_get_work(raw)) };
        if queue_work_on(work) {
            return Ok(());
        }
        // SAFETY: the closure returned false, so the workqueue does not take the reference, to
        // which `Arc::into_raw` returned a pointer above. It is taken back once.
        Err(Self(unsafe { Arc::from_raw(raw) }))
    }
}

// SAFETY: `__enqueue` leaves all to that of `Queueable`, which keeps the guarantees.
// (`WorkItemPointer` asks for this implementation. `Queue::enqueue` does not take a `Job`, since a
// `Job` is not `Send`.)
unsafe impl<T, const ID: u64> RawWorkItem<ID> for Job<T>
where
    T: WorkItem<ID, Pointer = Self> + HasWork<T, ID>,
{
    type EnqueueOutput = Result<(), Arc<T>>;

    unsafe fn __enqueue<F>(self, queue_work_on: F) -> Result<(), Arc<T>>
    where
        F: FnOnce(*mut bindings::work_struct) -> bool,
    {
        // SAFETY: the caller ensures that `queue_work_on` returns false only if the work item is
        // queued already. The work item is that of a `T`, which it need not run on this thread if
        // `T` is shared.
        unsafe { Queueable(self.0).__enqueue(queue_work_on) }.map_err(|back| back.0)
    }
}

/// Dropping this waits until no CPU runs code of the module any more that has given up its
/// reference to the module: a completion that gave up the last file may still be about to return.
/// The module drops this after all that makes requests.
pub(crate) struct Grace;

impl Drop for Grace {
    fn drop(&mut self) {
        // SAFETY: the module drops this when it is unloaded, or when its initialisation has failed.
        // Both are in process context, and no lock is held.
        unsafe { ffi::kaio_grace() };
    }
}
