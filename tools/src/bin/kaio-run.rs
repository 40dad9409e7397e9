// SPDX-License-Identifier: GPL-2.0

//! `kaio-run`: runs a program on kaio, or says why that does not work. See `kaio-run(1)`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicI32, Ordering};

use kaio_sys::uapi::kaio_query;
use kaio_tools::machine::Module;
use kaio_tools::stat::Stat;
use kaio_tools::{device, libraries, machine, program, read, Problem};

const USAGE: &str = "\
usage: kaio-run [--libaio] [--fallback] [--stat] PROGRAM [ARGUMENT...]
       kaio-run --check
";

const HELP: &str = "
Runs PROGRAM with its asynchronous I/O on /dev/kaio.

  --libaio    put kaio's libaio in the place of the system's, and preload nothing
  --fallback  if the device cannot be used, let the program have native AIO
  --stat      say at the end how many requests went through the module
  --check     say whether kaio can be used on this machine, and what is missing
";

/// The statuses of env(1): kaio-run itself has failed; PROGRAM cannot be run; PROGRAM is not there.
const FAILED: u8 = 125;
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

#[derive(Default)]
struct Options {
    libaio: bool,
    fallback: bool,
    stat: bool,
}

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut args = env::args_os().skip(1);
    let name = loop {
        let Some(arg) = args.next() else {
            return misused("no program is named.");
        };
        match arg.to_str() {
            Some("--libaio") => options.libaio = true,
            Some("--fallback") => options.fallback = true,
            Some("--stat") => options.stat = true,
            Some("--check") => return check(),
            Some("--help" | "-h") => {
                print!("{USAGE}{HELP}");
                return ExitCode::SUCCESS;
            }
            Some("--version") => {
                println!("kaio-run {}", env!("CARGO_PKG_VERSION"));
                return ExitCode::SUCCESS;
            }
            Some("--") => match args.next() {
                Some(name) => break name,
                None => return misused("no program is named."),
            },
            Some(option) if option.starts_with('-') => {
                return misused(&format!("unknown option '{option}'."));
            }
            _ => break arg,
        }
    };
    let args: Vec<OsString> = args.collect();
    match prepare(&options, &name, &args) {
        Ok(command) if options.stat => run(command, &name),
        Ok(mut command) => cannot_run(&name, &command.exec()),
        Err(code) => code,
    }
}

fn misused(what: &str) -> ExitCode {
    eprint!("kaio-run: {what}\n{USAGE}");
    ExitCode::from(FAILED)
}

fn complain(problem: &Problem) {
    eprintln!("kaio-run: {}\nkaio-run: {}", problem.what, problem.remedy);
}

/// Checks what can be checked before the program runs, and returns what is to be run.
fn prepare(options: &Options, name: &OsStr, args: &[OsString]) -> Result<Command, ExitCode> {
    let fail = |problem: Problem| {
        complain(&problem);
        ExitCode::from(FAILED)
    };
    let Some(path) = program::find(name) else {
        return Err(cannot_run(name, &io::ErrorKind::NotFound.into()));
    };
    program::takes_libraries(&path).map_err(fail)?;
    let mut command = Command::new(name);
    command.args(args);
    if options.libaio {
        let folder = libraries::libaio().map_err(fail)?;
        command.env("LD_LIBRARY_PATH", before("LD_LIBRARY_PATH", folder.into()));
    } else {
        let library = libraries::preload().map_err(fail)?;
        command.env("LD_PRELOAD", before("LD_PRELOAD", library.into()));
    }
    if options.fallback {
        command.env("KAIO_FALLBACK", "1");
    }
    match device::query() {
        Ok(_) => {}
        Err(problem) if options.fallback => {
            eprintln!(
                "kaio-run: {} The program gets native AIO instead.",
                problem.what
            );
        }
        Err(problem) => {
            complain(&problem);
            eprintln!("kaio-run: To run the program without kaio: kaio-run --fallback. To look closer: kaio-run --check.");
            return Err(ExitCode::from(FAILED));
        }
    }
    Ok(command)
}

/// Returns the value of the variable with `first` in front of what is in it already.
fn before(variable: &str, first: OsString) -> OsString {
    let mut value = first;
    if let Some(rest) = env::var_os(variable).filter(|rest| !rest.is_empty()) {
        value.push(":");
        value.push(rest);
    }
    value
}

fn cannot_run(name: &OsStr, error: &io::Error) -> ExitCode {
    eprintln!(
        "kaio-run: {} cannot be run: {error}.",
        name.to_string_lossy()
    );
    ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => CANNOT_RUN,
    })
}

/// The process to which signals go.
static CHILD: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_on(signal: libc::c_int) {
    let child = CHILD.load(Ordering::Relaxed);
    if child > 0 {
        // SAFETY: kill(2) may be called by a signal handler, and touches no memory.
        unsafe { libc::kill(child, signal) };
    }
}

/// Runs the program, waits for it, and says what went through the module meanwhile. The status is
/// that of the program; 128 and the number of the signal if one has ended it, as a shell says.
fn run(mut command: Command, name: &OsStr) -> ExitCode {
    let start = Stat::now();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return cannot_run(name, &error),
    };
    CHILD.store(child.id() as i32, Ordering::Relaxed);
    // SAFETY: the handler is a function of this type. The terminal sends SIGINT and SIGQUIT to the
    // program as well: this process lives on to report.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGQUIT, libc::SIG_IGN);
        let handler = pass_on as extern "C" fn(libc::c_int);
        libc::signal(libc::SIGTERM, handler as libc::sighandler_t);
        libc::signal(libc::SIGHUP, handler as libc::sighandler_t);
    }
    let status = match child.wait() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("kaio-run: the program cannot be waited for: {error}.");
            return ExitCode::from(FAILED);
        }
    };
    report(start, Stat::now());
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| code.try_into().ok()).unwrap_or(FAILED))
}

fn report(start: Option<Stat>, end: Option<Stat>) {
    let Some(end) = end else {
        eprintln!(
            "kaio-run: no counters, since the module is not loaded: no request went through it."
        );
        return;
    };
    let count = start.map_or(end, |start| end.since(start));
    if count.submitted == 0 {
        eprintln!(
            "kaio-run: no request went through the module. The program has used no asynchronous I/O, or not by libaio, syscall() or aio_read()."
        );
        return;
    }
    eprintln!(
        "kaio-run: {} requests submitted, {} completed, {} of them cancelled (all programs on this machine, meanwhile).",
        count.submitted, count.completed, count.cancelled
    );
}

fn version_of(query: &kaio_query) -> String {
    format!(
        "ABI {}, {} features, {} operations",
        query.version,
        query.features.count_ones(),
        query.opcodes.count_ones()
    )
}

fn limits_of(query: &kaio_query) -> String {
    format!(
        "{} of {} requests in use, {} of {} of this user; {} open files for each process",
        query.nr,
        query.max_nr,
        query.user_nr,
        query.max_user_nr,
        machine::limit("Max open files")
    )
}

/// Prints what matters for kaio on this machine, one line for each point, and the verdict.
fn check() -> ExitCode {
    let line = |name: &str, text: String| println!("{name:<11}{text}");
    let rust = match machine::has_rust() {
        Some(true) => "built with Rust, as the module asks",
        Some(false) => "built without Rust: no module of kaio can be built for it",
        None => "its configuration cannot be read",
    };
    line("kernel", format!("Linux {}, {rust}", machine::release()));
    line(
        "module",
        match machine::module() {
            Module::Loaded(version) => format!("loaded, version {version}"),
            Module::Installed => "installed for this kernel, not loaded".to_owned(),
            Module::Absent => "not installed for this kernel".to_owned(),
        },
    );
    line(
        "lockdown",
        match machine::lockdown().as_deref() {
            None => "not shown by this kernel".to_owned(),
            Some("none") => "none: the module needs no signature".to_owned(),
            Some(mode) => format!(
                "{mode}: the module must be signed with a key that is enrolled (mokutil --import)"
            ),
        },
    );
    line(
        "device",
        device::node().unwrap_or_else(|| format!("no {}", device::PATH)),
    );
    let answer = device::query();
    let user = machine::name_of("/etc/passwd", machine::uid());
    line(
        "access",
        format!(
            "user {user} {} use it",
            if answer.is_ok() { "may" } else { "cannot" }
        ),
    );
    let (version, limits) = answer.as_ref().map_or_else(
        |_| ("unknown".to_owned(), "unknown".to_owned()),
        |q| (version_of(q), limits_of(q)),
    );
    line("version", version);
    line("limits", limits);
    let found = libraries::preload();
    line(
        "libraries",
        found
            .as_ref()
            .map_or_else(|p| p.what.clone(), |path| path.display().to_string()),
    );
    line(
        "container",
        format!(
            "{}; io_uring is {}",
            machine::container().unwrap_or_else(|| "no sign of one".to_owned()),
            match read("/proc/sys/kernel/io_uring_disabled").as_deref() {
                Some("0") => "allowed",
                Some("1") => "for privileged programs only",
                Some(_) => "switched off",
                None => "not in this kernel",
            }
        ),
    );
    match (answer.map(|_| ()), found.map(|_| ())) {
        (Ok(()), Ok(())) => {
            line("verdict", "kaio can be used: kaio-run PROGRAM".to_owned());
            ExitCode::SUCCESS
        }
        (Err(problem), _) | (Ok(()), Err(problem)) => {
            line(
                "verdict",
                format!("kaio cannot be used: {} {}", problem.what, problem.remedy),
            );
            ExitCode::FAILURE
        }
    }
}
