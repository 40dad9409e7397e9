// SPDX-License-Identifier: LGPL-2.1-or-later

//! The names under which programs find us, with the versions that glibc has for them.
//!
//! Rust cannot give one function several versions. Each name and version is a jump; the linker's
//! version script (`glibc.map`) has the nodes.

use core::arch::global_asm;

/// `"NAME": FUNCTION, TAG "@VERSION", ...`; the tag makes the label of the jump.
macro_rules! export {
    ($($name:literal: $function:ident, $($tag:ident $version:literal),+;)*) => {
        $($(export!(@one $name, $tag, $version, $function);)+)*
    };
    (@one $name:literal, $tag:ident, $version:literal, $function:ident) => {
        global_asm!(
            ".pushsection .text.kaio_posix,\"ax\",@progbits",
            concat!(".globl kaio_", $name, "_", stringify!($tag)),
            concat!(".type kaio_", $name, "_", stringify!($tag), ", @function"),
            concat!("kaio_", $name, "_", stringify!($tag), ":"),
            ".cfi_startproc",
            "jmp {function}",
            ".cfi_endproc",
            concat!(".size kaio_", $name, "_", stringify!($tag), ", 5"),
            concat!(".symver kaio_", $name, "_", stringify!($tag), ", ", $name, $version),
            ".popsection",
            function = sym super::$function,
        );
    };
}

export! {
    "aio_cancel": aio_cancel, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_cancel64": aio_cancel, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_error": aio_error, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_error64": aio_error, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_fsync": aio_fsync, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_fsync64": aio_fsync, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_init": aio_init, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_read": aio_read, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_read64": aio_read, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_return": aio_return, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_return64": aio_return, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_suspend": aio_suspend, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_suspend64": aio_suspend, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_write": aio_write, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "aio_write64": aio_write, old "@GLIBC_2.2.5", new "@@GLIBC_2.34";
    "lio_listio": lio_listio, middle "@GLIBC_2.4", new "@@GLIBC_2.34";
    "lio_listio": old_lio_listio, old "@GLIBC_2.2.5";
    "lio_listio64": lio_listio, middle "@GLIBC_2.4", new "@@GLIBC_2.34";
    "lio_listio64": old_lio_listio, old "@GLIBC_2.2.5";
}
