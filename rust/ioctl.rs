// SPDX-License-Identifier: GPL-2.0

//! Decodes ioctls: number, size, flags; looks the context up; calls. What each does is documented
//! in `include/uapi/linux/kaio.h`.

use kernel::{
    error::code::ERESTARTNOHAND,
    ioctl::_IOC_SIZE,
    prelude::*,
    sync::ArcBorrow,
    uaccess::UserPtr, //
};

use crate::{
    getevents::{
        get_events,
        Wanted, //
    },
    obj::{
        kioctx::Kioctx,
        table::Table, //
    },
    ops,
    pure::args,
    quota,
    submit::submit,
    sys::{
        errno,
        lease::Bundle,
        sigmask::Mask,
        sysctl,
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
        user,
    },
};

/// A call: who made it, and where its struct is.
struct Call<'a> {
    table: ArcBorrow<'a, Table>,
    arg: UserPtr,
    /// Bytes of the struct that the caller has.
    size: usize,
    /// A 32-bit caller.
    compat: bool,
}

/// `EINVAL` unless all of `fields`, which must be zero, are.
fn must_be_zero(fields: &[u64]) -> Result {
    match fields.iter().fold(0, |all, field| all | field) {
        0 => Ok(()),
        _ => Err(EINVAL),
    }
}

/// Type, number and direction.
const fn without_size(cmd: u32) -> u32 {
    cmd & !(uapi::IOC_SIZE_MASK << uapi::IOC_SIZE_SHIFT)
}

macro_rules! ioctl_table {
    ($($number:path, $size_ver0:path => $handler:ident;)*) => {
        /// Runs an ioctl. Structs may be longer than ours, or shorter, down to the first
        /// version's; type, number and direction must match (`ENOTTY`).
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
    // The most frequent ones come first.
    uapi::SUBMIT, uapi::SUBMIT_SIZE_VER0 => io_submit;
    uapi::GETEVENTS, uapi::GETEVENTS_SIZE_VER0 => io_getevents;
    uapi::SUBMIT_WAIT, uapi::SUBMIT_WAIT_SIZE_VER0 => io_submit_wait;
    uapi::QUERY, uapi::QUERY_SIZE_VER0 => io_query;
    uapi::SETUP, uapi::SETUP_SIZE_VER0 => io_setup;
    uapi::DESTROY, uapi::DESTROY_SIZE_VER0 => io_destroy;
    uapi::CANCEL, uapi::CANCEL_SIZE_VER0 => io_cancel;
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
    // As natively: a place for the answer comes before everything.
    user::write_sized(call.arg, call.size, &setup)?;
    if setup.nr_events == 0 {
        return Err(EINVAL);
    }
    // Contexts that ended otherwise than by io_destroy(2) give their memory back.
    call.table.prune();
    let ctx = Kioctx::new(call.table.into(), setup.nr_events)?;
    setup.ctx_id = ctx.user_id() as u64;
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

/// Starts requests; if not all of them, says at `error` why.
fn submit_some(
    ctx: &Bundle<Kioctx>,
    iocbpp: UserPtr,
    nr: i64,
    compat: bool,
    error: UserPtr,
) -> Result<u64> {
    let (started, stopped) = submit(ctx, iocbpp, nr, compat);
    if let Err(e) = stopped {
        // Requests are under way: what cannot be written is not worth hiding that.
        let _ = user::write(error, &(e.to_errno() as u32));
        if started == 0 {
            return Err(e);
        }
    }
    Ok(started)
}

fn io_getevents(call: Call<'_>) -> Result<isize> {
    let args: GetEvents = user::read_sized(call.arg, call.size)?;
    // As natively, a timeout that cannot be read comes before everything.
    let timeout = read_timeout(args.timeout, call.compat)?;
    must_be_zero(&[args.__reserved.into()])?;
    let mask = set_mask(args.sigmask, args.sigsetsize)?;
    let wanted = wanted(args.min_nr, args.nr, args.events, timeout, args.flags)?;
    let ctx = call.table.look_up(args.ctx_id)?;
    match get_events(&ctx, &wanted) {
        // As natively: no handler, no interruption.
        Err(e) if e == EINTR && (mask.is_some() || args.sigsetsize != 0) => Err(ERESTARTNOHAND),
        result => result,
    }
}

/// A timeout in nanoseconds, from the address of one, or 0.
fn read_timeout(at: u64, compat: bool) -> Result<i64> {
    if at == 0 {
        return Ok(args::FOREVER);
    }
    let time: Timespec = user::read(UserPtr::from_addr(at as usize))?;
    // As get_timespec64(): in a 32-bit caller's struct the upper half is padding.
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
        // A relative time would begin anew too.
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
    // A place for the answer comes before everything.
    let ended = call
        .arg
        .wrapping_byte_add(core::mem::offset_of!(Cancel, ended));
    user::write(ended, &args.ended)?;
    let iocb = UserPtr::from_addr(args.iocb as usize);
    // As natively, before the context.
    let key = iocb.wrapping_byte_add(core::mem::offset_of!(Iocb, aio_key));
    let key = user::read_u32(key.as_const_ptr() as usize)?;
    if key != uapi::KIOCB_KEY {
        return Err(EINVAL);
    }
    let ctx = call.table.look_up(args.ctx_id)?;
    let has_ended = ctx.index().cancel(args.iocb).ok_or(EINVAL)?;
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
    // A place for the answer comes before everything.
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
    // It would submit again.
    wanted.may_restart = false;
    let ctx = call.table.look_up(args.ctx_id)?;
    let iocbpp = UserPtr::from_addr(args.iocbpp as usize);
    let error = call
        .arg
        .wrapping_byte_add(core::mem::offset_of!(SubmitWait, error));
    // Who waits for the context to be empty does not wait for this call's wait.
    let leased = Bundle::new(&ctx).ok_or(EINVAL)?;
    let started = submit_some(&leased, iocbpp, args.nr, call.compat, error)?;
    drop(leased);
    user::write(submitted, &started)?;
    if started < args.nr as u64 {
        wanted.min = 0;
    }
    get_events(&ctx, &wanted)
}
