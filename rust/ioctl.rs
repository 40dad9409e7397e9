// SPDX-License-Identifier: GPL-2.0

//! Decodes ioctls: number, size, flags; looks the context up; calls. What each does is documented
//! in `include/uapi/linux/kaio.h`.

use kernel::{
    ioctl::{
        _IOC_DIR,
        _IOC_NR,
        _IOC_SIZE,
        _IOC_TYPE, //
    },
    prelude::*,
    sync::ArcBorrow,
    uaccess::UserPtr,
};

use crate::{
    getevents::get_events,
    obj::{
        kioctx::Kioctx,
        table::Table, //
    },
    ops,
    pure::args,
    quota,
    submit::submit,
    sys::{
        uapi::{
            self,
            Destroy,
            GetEvents,
            Query,
            Setup,
            Submit,
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
    if fields.iter().any(|field| *field != 0) {
        return Err(EINVAL);
    }
    Ok(())
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
            let name = (_IOC_TYPE(cmd), _IOC_NR(cmd), _IOC_DIR(cmd));
            let size = _IOC_SIZE(cmd);
            $(if name == (_IOC_TYPE($number), _IOC_NR($number), _IOC_DIR($number)) {
                if size < $size_ver0 {
                    return Err(EINVAL);
                }
                let arg = UserPtr::from_addr(arg);
                return $handler(Call { table, arg, size, compat });
            })*
            Err(ENOTTY)
        }
    };
}

ioctl_table! {
    uapi::QUERY, uapi::QUERY_SIZE_VER0 => io_query;
    uapi::SETUP, uapi::SETUP_SIZE_VER0 => io_setup;
    uapi::DESTROY, uapi::DESTROY_SIZE_VER0 => io_destroy;
    uapi::SUBMIT, uapi::SUBMIT_SIZE_VER0 => io_submit;
    uapi::GETEVENTS, uapi::GETEVENTS_SIZE_VER0 => io_getevents;
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
    ctx.drain();
    Ok(0)
}

fn io_submit(call: Call<'_>) -> Result<isize> {
    let args: Submit = user::read_sized(call.arg, call.size)?;
    must_be_zero(&[args.flags.into(), args.__reserved.into()])?;
    if args.nr < 0 {
        return Err(EINVAL);
    }
    let ctx = call.table.look_up(args.ctx_id)?;
    let iocbpp = UserPtr::from_addr(args.iocbpp as usize);
    submit(&ctx, iocbpp, args.nr, call.compat)
}

fn io_getevents(call: Call<'_>) -> Result<isize> {
    let args: GetEvents = user::read_sized(call.arg, call.size)?;
    // As natively, a timeout that cannot be read comes before everything.
    let timeout = match args.timeout {
        0 => args::FOREVER,
        at => {
            let time: Timespec = user::read(UserPtr::from_addr(at as usize))?;
            // As get_timespec64(): in a 32-bit caller's struct the upper half is padding.
            let nsec = match call.compat {
                true => time.tv_nsec & 0xffff_ffff,
                false => time.tv_nsec,
            };
            args::timeout_ns(time.tv_sec, nsec)
        }
    };
    must_be_zero(&[args.sigmask, args.flags.into(), args.__reserved.into()])?;
    let (min, nr) = args::events_wanted(args.min_nr, args.nr).ok_or(EINVAL)?;
    let ctx = call.table.look_up(args.ctx_id)?;
    let events = UserPtr::from_addr(args.events as usize);
    get_events(&ctx, min, nr, events, timeout)
}
