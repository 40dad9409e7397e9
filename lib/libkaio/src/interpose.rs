// SPDX-License-Identifier: LGPL-2.1-or-later

//! `syscall()`, which replaces libc's function in a program that preloads this library: many
//! programs make AIO's system calls without libaio. The six numbers of AIO go to the functions that
//! libaio's functions use, too. All other numbers go to the next `syscall()`, if another library
//! that was preloaded after this one has one, and otherwise unchanged to the kernel.
//!
//! Like libc's function, this one has no stack frame, because two processes may return from the
//! call. After vfork(), or a clone() that shares the stack, the child returns first, and the
//! functions that it calls may overwrite the return address on the stack. Therefore this function
//! keeps the return address in a register, which libc's function does not do. (clone3() behaves as
//! with libc: the stack is named in memory that this function does not touch.) On arm64 the return
//! address is in a register anyway.

use core::arch::global_asm;
use core::ffi::{c_int, c_long};
use core::sync::atomic::AtomicUsize;
#[cfg(feature = "posix")]
use core::sync::atomic::Ordering;

use kaio_sys::uapi::{__kernel_timespec, io_event, iocb};
use kaio_sys::Result;

use crate::aio::{self, wait_from_args, Sigset};
use crate::user;

/// The `libc` crate has no name for this number.
#[cfg(target_arch = "x86_64")]
pub(crate) const SYS_IO_PGETEVENTS: c_long = 333;
#[cfg(target_arch = "aarch64")]
pub(crate) const SYS_IO_PGETEVENTS: c_long = 292;

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .text.kaio_syscall,\"ax\",@progbits",
    ".globl syscall",
    ".type syscall, @function",
    "syscall:",
    ".cfi_startproc",
    "endbr64",
    // AIO's numbers are 206 to 210, and 333. That function expects the arguments where they are.
    "lea rax, [rdi - {first}]",
    "cmp rax, {last} - {first}",
    "jbe {aio}",
    "cmp rdi, {pgetevents}",
    "je {aio}",
    "mov rax, [rip + {next}]",
    "test rax, rax",
    "jnz 6f",
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
    // A clone() with a stack of its own: the child returns on that stack, where the program has put
    // what the child needs.
    "3:",
    "test rsi, rsi",
    "jnz 4b",
    // Neither vfork() nor clone() has a sixth argument.
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
    "6:",
    "jmp rax",
    ".cfi_endproc",
    ".size syscall, . - syscall",
    ".popsection",
    first = const libc::SYS_io_setup,
    last = const libc::SYS_io_cancel,
    pgetevents = const SYS_IO_PGETEVENTS,
    vfork = const libc::SYS_vfork,
    clone = const libc::SYS_clone,
    next = sym NEXT_SYSCALL,
    aio = sym kaio_syscall_aio,
    fail = sym kaio_syscall_fail,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .text.kaio_syscall,\"ax\",@progbits",
    ".globl syscall",
    ".type syscall, @function",
    "syscall:",
    ".cfi_startproc",
    "hint #34", // bti c
    // AIO's numbers are 0 to 4, and 292. That function expects the arguments where they are.
    "cmp x0, #{last}",
    "b.ls 2f",
    "cmp x0, #{pgetevents}",
    "b.eq 2f",
    "adrp x16, {next}",
    "ldr x16, [x16, :lo12:{next}]",
    "cbnz x16, 4f",
    "mov x8, x0",
    "mov x0, x1",
    "mov x1, x2",
    "mov x2, x3",
    "mov x3, x4",
    "mov x4, x5",
    "mov x5, x6",
    "svc #0",
    "cmn x0, #4095",
    "b.cs 3f",
    "ret",
    "2:",
    "b {aio}",
    "3:",
    "neg w0, w0",
    "b {fail}",
    "4:",
    "br x16", // a jump by x16 may go to a `bti c`
    ".cfi_endproc",
    ".size syscall, . - syscall",
    ".popsection",
    last = const libc::SYS_io_getevents,
    pgetevents = const SYS_IO_PGETEVENTS,
    next = sym NEXT_SYSCALL,
    aio = sym kaio_syscall_aio,
    fail = sym kaio_syscall_fail,
);

// The assembly code relies on the numbers of io_setup(2), io_destroy(2), io_getevents(2),
// io_submit(2) and io_cancel(2).
const _: () = {
    #[cfg(target_arch = "x86_64")]
    let numbers: [c_long; 5] = [206, 207, 208, 209, 210];
    #[cfg(target_arch = "aarch64")]
    let numbers: [c_long; 5] = [0, 1, 4, 2, 3];
    let [setup, destroy, getevents, submit, cancel] = numbers;
    assert!(libc::SYS_io_setup == setup && libc::SYS_io_destroy == destroy);
    assert!(libc::SYS_io_getevents == getevents);
    assert!(libc::SYS_io_submit == submit && libc::SYS_io_cancel == cancel);
};

/// The next `syscall()` after this one, or 0 if that is libc's, which does the same as this one.
static NEXT_SYSCALL: AtomicUsize = AtomicUsize::new(0);

/// Looks for the next `syscall()` when the library is loaded. A later search is not possible,
/// since a signal handler or dlsym() itself may call `syscall()`.
#[cfg(feature = "posix")]
pub(crate) fn find_next_syscall() {
    // SAFETY: the names end with a zero. libc is loaded already (RTLD_NOLOAD) and is never
    // unloaded, so the handle and the addresses stay valid.
    let (next, libc) = unsafe {
        let handle = libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        let libc = match handle.is_null() {
            true => core::ptr::null_mut(),
            false => libc::dlsym(handle, c"syscall".as_ptr()),
        };
        (libc::dlsym(libc::RTLD_NEXT, c"syscall".as_ptr()), libc)
    };
    if next != libc {
        NEXT_SYSCALL.store(next as usize, Ordering::Relaxed);
    }
}

/// Ends a call that has failed.
extern "C" fn kaio_syscall_fail(errno: c_int) -> c_long {
    // SAFETY: __errno_location() returns the address of this thread's errno.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// Implements `syscall(nr, a, b, c, d, e, f)` for one of AIO's numbers.
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
        wait_from_args(b as c_long, c as c_long, events, timeout, sig)
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

/// Reads the last argument of io_pgetevents(2), a pointer to the address and size of the mask.
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
