// SPDX-License-Identifier: GPL-2.0

//! Decodes ioctls of `/dev/kaio`: checks number, size and flags, looks up the context, and calls
//! the engine.
//!
//! The counterpart of the system calls at the end of fs/aio.c. `include/uapi/linux/kaio.h`
//! documents each ioctl. Invariant: a reserved field or flag that is not zero gives `EINVAL`, so
//! that later versions can use it.

use kernel::{
    error::code::ERESTARTNOHAND,
    ioctl::_IOC_SIZE,
    prelude::*,
    sync::ArcBorrow,
    uaccess::UserPtr, //
};

use crate::{
    ctx::{
        kioctx::Kioctx,
        quota,
        table::Table, //
    },
    engine::{
        cancel::cancel,
        getevents::{
            get_events,
            Wanted, //
        },
        submit::submit, //
    },
    ops,
    pure::args,
    sys::{
        errno,
        lease::LeaseBatch,
        sigmask::Mask,
        sysctl,
        task,
        uapi::{
            self,
            Cancel,
            Destroy,
            GetEvents,
            Iocb,
            Query,
            Setup,
            Submit,
            SubmitWait,
            Timespec, //
        },
        user, //
    },
};

/// An ioctl: the open file through which it came, and the address of its struct.
struct Call<'a> {
    table: ArcBorrow<'a, Table>,
    arg: UserPtr,
    /// The size of the struct that the caller has, in bytes.
    size: usize,
    /// The caller is a 32-bit program.
    compat: bool,
}

/// Returns `EINVAL` unless all of `fields`, which must be zero, are.
fn must_be_zero(fields: &[u64]) -> Result {
    match fields.iter().fold(0, |all, field| all | field) {
        0 => Ok(()),
        _ => Err(EINVAL),
    }
}

/// Returns the type, number and direction of an ioctl.
const fn without_size(cmd: u32) -> u32 {
    cmd & !(uapi::IOC_SIZE_MASK << uapi::IOC_SIZE_SHIFT)
}

macro_rules! ioctl_table {
    ($($number:path, $size_ver0:path => $handler:ident;)*) => {
        /// Runs an ioctl. The caller's struct may be longer than the kernel's, or shorter, down to
        /// the size of the first version (`EINVAL`). Type, number and direction must match
        /// (`ENOTTY`). What else an ioctl may return is documented in `include/uapi/linux/kaio.h`.
        pub(crate) fn ioctl(
            table: ArcBorrow<'_, Table>,
            cmd: u32,
            arg: usize,
            compat: bool,
        ) -> Result<isize> {
            let size = _IOC_SIZE(cmd);
            let call = Call { table, arg: UserPtr::from_addr(arg), size, compat };
            match without_size(cmd) {
                $(number if number == const { without_size($number) } => {
                    if size < $size_ver0 {
                        return Err(EINVAL);
                    }
                    $handler(call)
                })*
                _ => Err(ENOTTY),
            }
        }
    };
}

ioctl_table! {
    // The most frequent ioctls come first.
    uapi::SUBMIT, uapi::SUBMIT_SIZE_VER0 => io_submit;
    uapi::GETEVENTS, uapi::GETEVENTS_SIZE_VER0 => io_getevents;
    uapi::SUBMIT_WAIT, uapi::SUBMIT_WAIT_SIZE_VER0 => io_submit_wait;
    uapi::QUERY, uapi::QUERY_SIZE_VER0 => io_query;
    uapi::SETUP, uapi::SETUP_SIZE_VER0 => io_setup;
    uapi::DESTROY, uapi::DESTROY_SIZE_VER0 => io_destroy;
    uapi::CANCEL, uapi::CANCEL_SIZE_VER0 => io_cancel;
}

/// Runs the ioctl that an fadvise64(2) stands for: one of those of which a program makes many.
/// `None` if it is only a piece of advice. The setting up of a context stays behind ioctl(2), at
/// which security modules look.
pub(crate) fn quick_call(
    table: ArcBorrow<'_, Table>,
    offset: i64,
    len: i64,
    advice: i32,
) -> Option<Result<isize>> {
    let cmd = advice as u32;
    let is_frequent = [uapi::SUBMIT, uapi::GETEVENTS, uapi::SUBMIT_WAIT]
        .into_iter()
        .any(|number| without_size(number) == without_size(cmd));
    is_frequent.then(|| match len == 0 && task::is_in_own_call() {
        true => ioctl(table, cmd, offset as usize, false),
        false => Err(EINVAL),
    })
}

fn io_query(call: Call<'_>) -> Result<isize> {
    let query: Query = user::read_sized(call.arg, call.size)?;
    must_be_zero(&[query.flags.into()])?;
    let answer = Query {
        version: uapi::ABI_VERSION,
        flags: 0,
        features: uapi::FEATURES,
        opcodes: ops::OPCODES,
        rw_flags: uapi::RW_FLAGS,
        max_nr: quota::max(),
        nr: quota::nr(),
        max_user_nr: sysctl::max_user_nr(),
        user_nr: call.table.user().nr(),
    };
    user::write_sized(call.arg, call.size, &answer)?;
    Ok(0)
}

fn io_setup(call: Call<'_>) -> Result<isize> {
    let mut setup: Setup = user::read_sized(call.arg, call.size)?;
    must_be_zero(&[setup.flags.into(), setup.ctx_id])?;
    // As natively: the place for the answer is checked before all else.
    user::write_sized(call.arg, call.size, &setup)?;
    if setup.nr_events == 0 {
        return Err(EINVAL);
    }
    // Drop contexts that ended without io_destroy(2), so that their memory is free.
    call.table.prune();
    let ctx = Kioctx::new(call.table.into(), setup.nr_events)?;
    setup.ctx_id = ctx.ring_address() as u64;
    let done = call
        .table
        .add(&ctx)
        .and_then(|()| user::write_sized(call.arg, call.size, &setup));
    if let Err(e) = done {
        if ctx.kill() {
            ctx.unmap();
        }
        return Err(e);
    }
    Ok(0)
}

fn io_destroy(call: Call<'_>) -> Result<isize> {
    let destroy: Destroy = user::read_sized(call.arg, call.size)?;
    must_be_zero(&[destroy.flags.into(), destroy.__reserved.into()])?;
    let ctx = call.table.look_up(destroy.ctx_id)?;
    if !ctx.kill() {
        return Err(EINVAL);
    }
    ctx.unmap();
    ctx.drain()?;
    drop(ctx);
    call.table.prune();
    Ok(0)
}

fn io_submit(call: Call<'_>) -> Result<isize> {
    let args: Submit = user::read_sized(call.arg, call.size)?;
    must_be_zero(&[args.flags.into(), args.error as u64])?;
    if args.nr < 0 {
        return Err(EINVAL);
    }
    let ctx = call.table.look_up_leased(args.ctx_id)?;
    let iocbpp = UserPtr::from_addr(args.iocbpp as usize);
    let error = call
        .arg
        .wrapping_byte_add(core::mem::offset_of!(Submit, error));
    Ok(submit_some(&ctx, iocbpp, args.nr, call.compat, error)? as isize)
}

/// Starts requests, and returns how many. If an iocb stops the call, its error is written to
/// `error`, and returned if no request was started.
fn submit_some(
    ctx: &LeaseBatch<Kioctx>,
    iocbpp: UserPtr,
    nr: i64,
    compat: bool,
    error: UserPtr,
) -> Result<u64> {
    let (started, stopped) = submit(ctx, iocbpp, nr, compat);
    if let Err(e) = stopped {
        // Do not return an error if this write fails, because that would hide the requests that
        // were started.
        let _ = user::write(error, &(e.to_errno() as u32));
        if started == 0 {
            return Err(e);
        }
    }
    Ok(started)
}

fn io_getevents(call: Call<'_>) -> Result<isize> {
    let args: GetEvents = user::read_sized(call.arg, call.size)?;
    // As natively: a timeout that cannot be read comes before all other errors.
    let timeout = read_timeout(args.timeout, call.compat)?;
    must_be_zero(&[args.__reserved.into()])?;
    let mask = set_mask(args.sigmask, args.sigsetsize)?;
    let wanted = wanted(args.min_nr, args.nr, args.events, timeout, args.flags)?;
    let ctx = call.table.look_up(args.ctx_id)?;
    match get_events(&ctx, &wanted) {
        // As natively: if the signal has no handler, the call restarts.
        Err(e) if e == EINTR && (mask.is_some() || args.sigsetsize != 0) => Err(ERESTARTNOHAND),
        result => result,
    }
}

/// Returns a timeout in nanoseconds, read from the address `at`; 0 is the address of no timeout.
/// `EFAULT`.
fn read_timeout(at: u64, compat: bool) -> Result<i64> {
    if at == 0 {
        return Ok(args::FOREVER);
    }
    let time: Timespec = user::read(UserPtr::from_addr(at as usize))?;
    // As get_timespec64(): the upper half is padding in the struct of a 32-bit caller.
    let nsec = match compat {
        true => time.tv_nsec & 0xffff_ffff,
        false => time.tv_nsec,
    };
    Ok(args::timeout_ns(time.tv_sec, nsec))
}

fn wanted(min_nr: i64, nr: i64, events: u64, timeout: i64, flags: u32) -> Result<Wanted> {
    const KNOWN: u32 = uapi::GETEVENTS_PEEK | uapi::GETEVENTS_ABSTIME;
    let peek = flags & uapi::GETEVENTS_PEEK != 0;
    let absolute = flags & uapi::GETEVENTS_ABSTIME != 0;
    must_be_zero(&[(flags & !KNOWN).into(), if peek { events } else { 0 }])?;
    let (min, nr) = args::events_wanted(min_nr, nr).ok_or(EINVAL)?;
    Ok(Wanted {
        min,
        nr,
        events: (!peek).then(|| UserPtr::from_addr(events as usize)),
        timeout,
        absolute,
        // A relative timeout would begin again.
        may_restart: absolute || timeout == args::FOREVER,
    })
}

fn set_mask(mask: u64, size: u64) -> Result<Option<Mask>> {
    match mask {
        0 => Ok(None),
        mask => Mask::set(UserPtr::from_addr(mask as usize), size).map(Some),
    }
}

fn io_cancel(call: Call<'_>) -> Result<isize> {
    let args: Cancel = user::read_sized(call.arg, call.size)?;
    must_be_zero(&[args.flags.into(), args.ended.into()])?;
    // The place for the answer is checked before all else.
    let ended = call
        .arg
        .wrapping_byte_add(core::mem::offset_of!(Cancel, ended));
    user::write(ended, &args.ended)?;
    let iocb = UserPtr::from_addr(args.iocb as usize);
    // As natively: the key is checked before the context.
    let key = iocb.wrapping_byte_add(core::mem::offset_of!(Iocb, aio_key));
    let key = user::read_u32(key.as_const_ptr() as usize)?;
    if key != uapi::KIOCB_KEY {
        return Err(EINVAL);
    }
    let ctx = call.table.look_up(args.ctx_id)?;
    let has_ended = cancel(&ctx, args.iocb)?;
    user::write(ended, &u32::from(has_ended))?;
    Err(errno::in_progress())
}

fn io_submit_wait(call: Call<'_>) -> Result<isize> {
    let args: SubmitWait = user::read_sized(call.arg, call.size)?;
    let submitted = call
        .arg
        .wrapping_byte_add(core::mem::offset_of!(SubmitWait, submitted));
    let timeout = read_timeout(args.timeout, call.compat)?;
    must_be_zero(&[args.error as u64])?;
    // The place for the answer is checked before all else.
    user::write(submitted, &0u64)?;
    if args.nr < 0 {
        return Err(EINVAL);
    }
    let _mask = set_mask(args.sigmask, args.sigsetsize)?;
    let mut wanted = wanted(
        args.min_nr,
        args.nr_events,
        args.events,
        timeout,
        args.flags,
    )?;
    // A restart would submit again.
    wanted.may_restart = false;
    let ctx = call.table.look_up(args.ctx_id)?;
    let iocbpp = UserPtr::from_addr(args.iocbpp as usize);
    let error = call
        .arg
        .wrapping_byte_add(core::mem::offset_of!(SubmitWait, error));
    // Give the leases back before the wait, so that io_destroy(2) in another thread need not wait
    // for it.
    let leased = LeaseBatch::new(&ctx).ok_or(EINVAL)?;
    let started = submit_some(&leased, iocbpp, args.nr, call.compat, error)?;
    drop(leased);
    user::write(submitted, &started)?;
    if started < args.nr as u64 {
        wanted.min = 0;
    }
    get_events(&ctx, &wanted)
}
