// SPDX-License-Identifier: LGPL-2.1-or-later

//! `syscall()`, which takes the place of libc's in a program that preloads us: many programs make
//! AIO's system calls without libaio. The six numbers of AIO go where libaio's functions go; all
//! others go to the kernel as they are.
//!
//! As libc's it has no stack frame: the call may be one after which two return. Of vfork(), and of a
//! clone() that shares the stack, the child returns first, and what it calls then may overwrite the
//! return address on the stack; so that is kept in a register, in which libc's does not. (clone3()
//! is as with libc: where its stack is stands in memory that we do not touch.)

use core::arch::global_asm;
use core::ffi::{c_int, c_long};

use kaio_sys::uapi::{__kernel_timespec, io_event, iocb};
use kaio_sys::Result;

use crate::aio::{self, wait_for, Sigset};
use crate::user;

/// The `libc` crate has no name for it on x86-64.
pub(crate) const SYS_IO_PGETEVENTS: c_long = 333;

global_asm!(
    ".pushsection .text.kaio_syscall,\"ax\",@progbits",
    ".globl syscall",
    ".type syscall, @function",
    "syscall:",
    ".cfi_startproc",
    "endbr64",
    // AIO's: 206 to 210, and 333. The arguments are where that function wants them, too.
    "lea rax, [rdi - {first}]",
    "cmp rax, {last} - {first}",
    "jbe {aio}",
    "cmp rdi, {pgetevents}",
    "je {aio}",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "mov r10, r8",
    "mov r8, r9",
    "cmp rax, {vfork}",
    "je 2f",
    "cmp rax, {clone}",
    "je 3f",
    "4:",
    "mov r9, [rsp + 8]",
    "syscall",
    "cmp rax, -4095",
    "jae 5f",
    "ret",
    // clone() with a stack of its own: the child returns there, and finds there what it must.
    "3:",
    "test rsi, rsi",
    "jnz 4b",
    // Neither has a sixth argument.
    "2:",
    "pop r9",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_register rip, r9",
    "syscall",
    "push r9",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_offset rip, -8",
    "cmp rax, -4095",
    "jae 5f",
    "ret",
    "5:",
    "mov edi, eax",
    "neg edi",
    "jmp {fail}",
    ".cfi_endproc",
    ".size syscall, . - syscall",
    ".popsection",
    first = const libc::SYS_io_setup,
    last = const libc::SYS_io_cancel,
    pgetevents = const SYS_IO_PGETEVENTS,
    vfork = const libc::SYS_vfork,
    clone = const libc::SYS_clone,
    aio = sym kaio_syscall_aio,
    fail = sym kaio_syscall_fail,
);

// They are 206 to 210, in this order.
const _: () = assert!(
    libc::SYS_io_setup == 206
        && libc::SYS_io_destroy == 207
        && libc::SYS_io_getevents == 208
        && libc::SYS_io_submit == 209
        && libc::SYS_io_cancel == 210
);

/// The end of a call that failed.
extern "C" fn kaio_syscall_fail(errno: c_int) -> c_long {
    // SAFETY: libc's word for this thread.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// `syscall(nr, a, b, c, d, e, f)` for one of AIO's numbers.
extern "C" fn kaio_syscall_aio(
    nr: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    match dispatch(nr, [a, b, c, d, e, f]) {
        Ok(count) => count as c_long,
        Err(e) => kaio_syscall_fail(e.get()),
    }
}

fn dispatch(nr: c_long, [a, b, c, d, e, f]: [usize; 6]) -> Result<usize> {
    let ctx = a as u64;
    let wait = |sig| {
        let (events, timeout) = (d as *mut io_event, e as *const __kernel_timespec);
        wait_for(b as c_long, c as c_long, events, timeout, sig)
    };
    match nr {
        libc::SYS_io_setup => aio::setup(a as u32, b as *mut u64),
        libc::SYS_io_destroy => aio::destroy(ctx),
        libc::SYS_io_getevents => aio::getevents(nr, ctx, &wait(None)),
        libc::SYS_io_submit => aio::submit(ctx, b as c_long, c as *const *mut iocb),
        libc::SYS_io_cancel => aio::cancel(ctx, b as *mut iocb, c as *mut io_event),
        _ => {
            let sig = read_sigset(f)?;
            aio::getevents(nr, ctx, &wait(Some(sig)))
        }
    }
}

/// The last argument of io_pgetevents(2), a pointer to what says where the mask is.
fn read_sigset(at: usize) -> Result<Sigset> {
    if at == 0 {
        return Ok(Sigset {
            mask: core::ptr::null(),
            size: 0,
        });
    }
    let mask = user::read_u64(at as *const u64)? as *const u64;
    let size = user::read_u64(at.wrapping_add(user::WORD) as *const u64)? as usize;
    Ok(Sigset { mask, size })
}
