// SPDX-License-Identifier: GPL-2.0

//! `kaio-stat`: shows what goes through kaio, for each process. See `kaio-stat(8)`.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kaio_tools::look::{Look, Report};
use kaio_tools::machine::{self, Module};
use kaio_tools::procfs::{Procfs, PROC};
use kaio_tools::{device, output, Problem};

const USAGE: &str = "\
usage: kaio-stat [--json] [-p PID]... [INTERVAL [COUNT]]
       kaio-stat --prometheus [-p PID]...
";

const HELP: &str = "
Shows the requests of each process that has /dev/kaio open. The first report is since the files were
opened; the others have rates, one report every INTERVAL seconds, COUNT reports in all.

  -p PID        look at this process alone; may be given several times
  --json        print each report as one object of JSON, in one line
  --prometheus  print one report in the text format of Prometheus
  --help        this text
  --version     the version
";

/// The status if the arguments are wrong.
const MISUSED: u8 = 2;

/// A shorter interval would measure kaio-stat itself.
const SHORTEST: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Table,
    Json,
    Prometheus,
}

struct Options {
    format: Format,
    pids: Vec<u32>,
    interval: Option<Duration>,
    count: Option<u64>,
}

/// What the arguments ask for.
enum Task {
    Report(Options),
    Print(String),
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let result = match parse(&args) {
        Ok(Task::Report(options)) => run(&options),
        Ok(Task::Print(text)) => print(&text).map(|()| ExitCode::SUCCESS),
        Err(what) => {
            eprint!("kaio-stat: {what}\n{USAGE}");
            return ExitCode::from(MISUSED);
        }
    };
    match result {
        Ok(code) => code,
        // A reader such as head(1) has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kaio-stat: the report cannot be written: {error}.");
            ExitCode::FAILURE
        }
    }
}

/// Reads the arguments.
fn parse(args: &[String]) -> Result<Task, String> {
    let mut options = Options {
        format: Format::Table,
        pids: vec![],
        interval: None,
        count: None,
    };
    let mut args = args.iter().map(String::as_str);
    let mut only_operands = false;
    while let Some(arg) = args.next() {
        match arg {
            "--" if !only_operands => only_operands = true,
            "--help" | "-h" | "help" if !only_operands => {
                return Ok(Task::Print(format!("{USAGE}{HELP}")));
            }
            "--version" if !only_operands => {
                return Ok(Task::Print(format!(
                    "kaio-stat {}\n",
                    env!("CARGO_PKG_VERSION")
                )));
            }
            "--json" | "--prometheus" if !only_operands => {
                if options.format != Format::Table {
                    return Err("choose one of --json and --prometheus.".to_owned());
                }
                options.format = match arg {
                    "--json" => Format::Json,
                    _ => Format::Prometheus,
                };
            }
            "-p" if !only_operands => {
                let pid = args.next().ok_or("-p needs the number of a process.")?;
                options.pids.push(process(pid)?);
            }
            _ if arg.starts_with('-') && !only_operands => match arg.strip_prefix("-p") {
                Some(pid) => options.pids.push(process(pid)?),
                None => return Err(format!("unknown option '{arg}'.")),
            },
            _ if options.interval.is_none() => options.interval = Some(interval(arg)?),
            _ if options.count.is_none() => {
                let count = arg.parse().ok().filter(|count| *count > 0);
                options.count = Some(count.ok_or_else(|| {
                    format!("'{arg}' is not a number of reports: COUNT is 1 or more.")
                })?);
            }
            _ => return Err(format!("'{arg}' is one argument too many.")),
        }
    }
    if options.format == Format::Prometheus && options.interval.is_some() {
        return Err(
            "--prometheus prints once and takes no INTERVAL: Prometheus makes the rates."
                .to_owned(),
        );
    }
    Ok(Task::Report(options))
}

fn process(text: &str) -> Result<u32, String> {
    let pid = text.parse().ok().filter(|pid| *pid > 0);
    pid.ok_or_else(|| format!("'{text}' is not the number of a process."))
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|interval| {
            *interval >= SHORTEST && *interval <= Duration::from_secs(u32::MAX.into())
        })
        .ok_or_else(|| format!("'{text}' is not an INTERVAL: a number of seconds, 0.01 or more."))
}

/// Reports until `COUNT` reports are made, or the processes that were asked for have ended.
fn run(options: &Options) -> io::Result<ExitCode> {
    let procfs = Procfs::new(PROC);
    let mut before = None;
    let mut left = match options.interval {
        None => Some(1),
        Some(_) => options.count,
    };
    let mut next = Instant::now();
    while left != Some(0) {
        let look = Look::take(&procfs, &options.pids);
        if before.is_none() {
            if let Err(problem) = check(options, &look) {
                eprintln!("kaio-stat: {}\nkaio-stat: {}", problem.what, problem.remedy);
                return Ok(ExitCode::FAILURE);
            }
        } else if !options.pids.is_empty() && look.missing.len() == options.pids.len() {
            return Ok(ExitCode::SUCCESS);
        }
        let report = Report::new(before.as_ref(), &look);
        match options.format {
            Format::Table if before.is_some() => print(&format!("\n{}", output::table(&report)))?,
            Format::Table => {
                print(&output::table(&report))?;
                complain_about_gaps(&look);
            }
            Format::Json => print(&output::json(&report))?,
            Format::Prometheus => print(&output::prometheus(&report))?,
        }
        before = Some(look);
        left = left.map(|left| left - 1);
        if let (Some(interval), true) = (options.interval, left != Some(0)) {
            // A look that takes longer than the interval delays the next one.
            next = (next + interval).max(Instant::now());
            sleep(next - Instant::now());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks by the first look that there is something to report on.
fn check(options: &Options, look: &Look) -> Result<(), Problem> {
    if !look.has_module() {
        return Err(match machine::module() {
            Module::Loaded(_) => Problem::new(
                "the module is loaded, but /proc/sys/fs/kaio-stat cannot be read.",
                "If this is a container, run kaio-stat outside it. To look closer: kaio-run --check.",
            ),
            other => device::not_loaded(&other),
        });
    }
    if let Some(pid) = look.missing.first() {
        return Err(Problem::new(
            format!("there is no process {pid}."),
            "To see all processes that use kaio: kaio-stat",
        ));
    }
    match look.denied.first() {
        Some(pid) if !options.pids.is_empty() => Err(Problem::new(
            format!("you may not see the descriptors of process {pid}."),
            "Run kaio-stat as the user of the process, or as root.",
        )),
        _ => Ok(()),
    }
}

/// Says what the report does not have.
fn complain_about_gaps(look: &Look) {
    if !look.denied.is_empty() {
        let count = look.denied.len();
        let processes = if count == 1 { "process" } else { "processes" };
        eprintln!(
            "kaio-stat: {count} {processes} could not be seen (permission denied). Root sees all."
        );
    }
    if !look.sharing_known {
        eprintln!("kaio-stat: kcmp(2), which tells whether descriptors share an open file, cannot be used here: such a file is counted for each descriptor.");
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
