// SPDX-License-Identifier: LGPL-2.1-or-later

//! The names of the functions, with the versions that glibc has for them.
//!
//! Rust cannot give one function several versions. So each name and version is a jump to the
//! function; the linker's version script (`glibc.map`) has the nodes.

use core::arch::global_asm;

/// The symbol versions of glibc for x86-64.
#[cfg(target_arch = "x86_64")]
macro_rules! version {
    (old) => {
        "@GLIBC_2.2.5"
    };
    (middle) => {
        "@GLIBC_2.4"
    };
    (new) => {
        "@@GLIBC_2.34"
    };
}

/// The symbol versions of glibc for arm64.
#[cfg(target_arch = "aarch64")]
macro_rules! version {
    (old) => {
        "@GLIBC_2.17"
    };
    (new) => {
        "@@GLIBC_2.34"
    };
}

/// Takes `"NAME": FUNCTION, TAG, ...`; each tag stands for a version, and is part of the label of
/// the jump.
macro_rules! export {
    ($($name:literal: $function:ident, $($tag:ident),+;)*) => {
        $($(export!(@one $name, $tag, $function);)+)*
    };
    (@one $name:literal, $tag:ident, $function:ident) => {
        global_asm!(
            ".pushsection .text.kaio_posix,\"ax\",@progbits",
            concat!(".globl kaio_", $name, "_", stringify!($tag)),
            concat!(".type kaio_", $name, "_", stringify!($tag), ", @function"),
            concat!("kaio_", $name, "_", stringify!($tag), ":"),
            ".cfi_startproc",
            jump!(),
            ".cfi_endproc",
            concat!(".size kaio_", $name, "_", stringify!($tag), ", . - kaio_", $name, "_", stringify!($tag)),
            concat!(".symver kaio_", $name, "_", stringify!($tag), ", ", $name, version!($tag)),
            ".popsection",
            function = sym super::$function,
        );
    };
}

export! {
    "aio_cancel": aio_cancel, old, new;
    "aio_cancel64": aio_cancel, old, new;
    "aio_error": aio_error, old, new;
    "aio_error64": aio_error, old, new;
    "aio_fsync": aio_fsync, old, new;
    "aio_fsync64": aio_fsync, old, new;
    "aio_init": aio_init, old, new;
    "aio_read": aio_read, old, new;
    "aio_read64": aio_read, old, new;
    "aio_return": aio_return, old, new;
    "aio_return64": aio_return, old, new;
    "aio_suspend": aio_suspend, old, new;
    "aio_suspend64": aio_suspend, old, new;
    "aio_write": aio_write, old, new;
    "aio_write64": aio_write, old, new;
}

#[cfg(target_arch = "x86_64")]
export! {
    "lio_listio": lio_listio, middle, new;
    "lio_listio": old_lio_listio, old;
    "lio_listio64": lio_listio, middle, new;
    "lio_listio64": old_lio_listio, old;
}

// glibc for arm64 is younger than the change of lio_listio(), so it has no third version.
#[cfg(target_arch = "aarch64")]
export! {
    "lio_listio": lio_listio, old, new;
    "lio_listio64": lio_listio, old, new;
}
