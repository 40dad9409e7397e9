// SPDX-License-Identifier: GPL-2.0

//! Prints a report: as a table, as JSON, or as text for Prometheus.

use std::fmt::{Display, Write};
use std::time::UNIX_EPOCH;

use crate::counters::COUNTERS;
use crate::look::{Process, Report};

/// Returns the report as a table. The first report has what was counted since the files were opened,
/// and the others have rates.
pub fn table(report: &Report) -> String {
    let mut text = match report.interval {
        None => "Since the files were opened; all: since the module was loaded.\n".to_owned(),
        Some(interval) => format!("Per second, for {:.2} seconds.\n", interval.as_secs_f64()),
    };
    let head = ["PID", "COMMAND", "CONTEXTS", "INFLIGHT"].map(str::to_owned);
    let names = COUNTERS.iter().map(|counter| counter.name.to_uppercase());
    let mut rows = vec![head.into_iter().chain(names).collect::<Vec<_>>()];
    rows.extend(report.processes.iter().map(|process| row(report, process)));
    if let Some(system) = report.system {
        let stat = report.system_change.unwrap_or(system.stat);
        let mut all = vec!["all".to_owned(), String::new(), String::new()];
        all.push(system.stat.inflight().to_string());
        all.extend(COUNTERS.iter().map(|counter| {
            let number = match counter.name {
                "submitted" => stat.submitted,
                "completed" => stat.completed,
                "cancelled" => stat.cancelled,
                _ => return String::new(),
            };
            count(report, Some(number))
        }));
        rows.push(all);
    }
    align(&mut text, &rows);
    for process in report
        .processes
        .iter()
        .filter(|process| !process.shared_with.is_empty())
    {
        let others: Vec<_> = process.shared_with.iter().map(u32::to_string).collect();
        let _ = writeln!(
            text,
            "{} shares an open file with {}, and has the numbers of all of them.",
            process.pid,
            others.join(", ")
        );
    }
    if report.processes.is_empty() {
        text += "No process that could be seen has the device open.\n";
    }
    match report.system {
        Some(system) => {
            let _ = writeln!(
                text,
                "Room in all contexts: {} requests; limits: {}, and {} for each user.",
                known(system.nr),
                known(system.max_nr),
                known(system.max_user_nr)
            );
        }
        None => text += "The module is not loaded.\n",
    }
    text
}

fn row(report: &Report, process: &Process) -> Vec<String> {
    let mut row = vec![
        process.pid.to_string(),
        // A name can have characters that would move the cursor of a terminal.
        process
            .comm
            .replace(|letter: char| letter.is_control(), "?"),
        known(process.info.contexts),
        known(process.info.inflight),
    ];
    let counts = process.change.unwrap_or(process.info.counters);
    row.extend(counts.map(|number| count(report, number)));
    row
}

/// Returns a number of the first report, or a rate.
fn count(report: &Report, number: Option<u64>) -> String {
    match (number, report.interval) {
        (Some(number), Some(_)) => format!("{:.1}", report.per_second(number)),
        (number, _) => known(number),
    }
}

/// Returns the number, or a dash if the module does not count it.
fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// Writes rows in columns. The second column has text, and the others have numbers.
fn align(text: &mut String, rows: &[Vec<String>]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..rows[0].len()).filter_map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { " " };
            let _ = match column {
                1 => write!(line, "{gap}{cell:<width$}"),
                _ => write!(line, "{gap}{cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// Returns the report as one object of JSON, in one line. A number that is not known is null.
pub fn json(report: &Report) -> String {
    let time = report.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let interval = report
        .interval
        .map(|interval| format!("{:.6}", interval.as_secs_f64()));
    let system = report.system.map(|system| {
        let rates = report
            .system_change
            .filter(|_| report.interval.is_some())
            .map(|change| {
                object(&[
                    ("submitted", rate(report, change.submitted)),
                    ("completed", rate(report, change.completed)),
                    ("cancelled", rate(report, change.cancelled)),
                ])
            });
        object(&[
            ("submitted", system.stat.submitted.to_string()),
            ("completed", system.stat.completed.to_string()),
            ("cancelled", system.stat.cancelled.to_string()),
            ("inflight", system.stat.inflight().to_string()),
            ("nr", or_null(system.nr)),
            ("max_nr", or_null(system.max_nr)),
            ("max_user_nr", or_null(system.max_user_nr)),
            ("per_second", or_null(rates)),
        ])
    });
    let processes = report.processes.iter().map(|process| {
        let counters = named(process.info.counters.map(or_null));
        let rates = process.change.map(|change| {
            named(change.map(|number| or_null(number.map(|number| rate(report, number)))))
        });
        object(&[
            ("pid", process.pid.to_string()),
            ("comm", quoted(&process.comm)),
            ("files", process.files.to_string()),
            (
                "shared_with",
                list(process.shared_with.iter().map(u32::to_string)),
            ),
            ("contexts", or_null(process.info.contexts)),
            ("inflight", or_null(process.info.inflight)),
            ("counters", counters),
            ("per_second", or_null(rates)),
        ])
    });
    let mut line = object(&[
        (
            "time",
            format!("{}.{:03}", time.as_secs(), time.subsec_millis()),
        ),
        ("interval", or_null(interval)),
        ("system", or_null(system)),
        ("unseen_processes", report.unseen.to_string()),
        ("sharing_known", report.sharing_known.to_string()),
        ("processes", list(processes)),
    ]);
    line.push('\n');
    line
}

fn rate(report: &Report, count: u64) -> String {
    format!("{:.3}", report.per_second(count))
}

fn or_null(value: Option<impl Display>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{}:{value}", quoted(name)))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn named<const N: usize>(values: [String; N]) -> String {
    let members: Vec<_> = COUNTERS
        .iter()
        .map(|counter| counter.name)
        .zip(values)
        .collect();
    object(&members)
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}

/// Returns the text as a string of JSON (RFC 8259).
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns the report in the text format of Prometheus, version 0.0.4.
pub fn prometheus(report: &Report) -> String {
    let mut text = String::new();
    if let Some(system) = report.system {
        let stat = system.stat;
        for (name, kind, help, number) in [
            (
                "submitted_total",
                "counter",
                "Requests that were submitted.",
                Some(stat.submitted),
            ),
            (
                "completed_total",
                "counter",
                "Requests that have completed.",
                Some(stat.completed),
            ),
            (
                "cancelled_total",
                "counter",
                "Completed requests that were cancelled.",
                Some(stat.cancelled),
            ),
            (
                "inflight",
                "gauge",
                "Requests in flight.",
                Some(stat.inflight()),
            ),
            (
                "nr",
                "gauge",
                "Requests that all contexts can hold (fs.kaio-nr).",
                system.nr,
            ),
            (
                "max_nr",
                "gauge",
                "The limit of kaio_nr (fs.kaio-max-nr).",
                system.max_nr,
            ),
            (
                "max_user_nr",
                "gauge",
                "The limit of kaio_nr for one user (fs.kaio-max-user-nr).",
                system.max_user_nr,
            ),
        ] {
            let samples = number.map(|number| (String::new(), number));
            metric(&mut text, name, kind, help, samples);
        }
    }
    let unseen = (String::new(), report.unseen as u64);
    let help = "Processes whose descriptors kaio-stat may not see; root sees all.";
    metric(&mut text, "unseen_processes", "gauge", help, [unseen]);
    let mut of_processes = |name: &str, kind, help, number: &dyn Fn(&Process) -> Option<u64>| {
        let samples = report.processes.iter().filter_map(|process| {
            let comm = label(&process.comm);
            Some((
                format!("{{pid=\"{}\",comm=\"{comm}\"}}", process.pid),
                number(process)?,
            ))
        });
        metric(&mut text, &format!("process_{name}"), kind, help, samples);
    };
    of_processes("files", "gauge", "Open files of the device.", &|p| {
        Some(p.files)
    });
    of_processes("contexts", "gauge", "Contexts that are alive.", &|p| {
        p.info.contexts
    });
    of_processes("inflight", "gauge", "Requests in flight.", &|p| {
        p.info.inflight
    });
    for (index, counter) in COUNTERS.iter().enumerate() {
        let name = format!("{}_total", counter.name);
        of_processes(&name, "counter", counter.help, &|p| p.info.counters[index]);
    }
    text
}

/// Writes a metric with its samples, each of which has labels and a number.
fn metric(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (String, u64)>,
) {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "# HELP kaio_{name} {help}\n# TYPE kaio_{name} {kind}");
    for (labels, number) in samples {
        let _ = writeln!(text, "kaio_{name}{labels} {number}");
    }
}

/// Returns the text as the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Info;
    use crate::stat::{Stat, System};
    use std::time::{Duration, SystemTime};

    fn first() -> Report {
        Report {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_007),
            interval: None,
            system: Some(System {
                stat: Stat {
                    submitted: 2000,
                    completed: 1990,
                    cancelled: 3,
                },
                nr: Some(126),
                max_nr: Some(4_194_304),
                max_user_nr: None,
            }),
            system_change: None,
            processes: vec![
                Process {
                    pid: 17,
                    comm: "fio".to_owned(),
                    files: 1,
                    shared_with: vec![],
                    info: Info {
                        contexts: Some(1),
                        inflight: Some(10),
                        counters: [1000, 990, 100, 800, 20, 19, 7, 3, 70].map(Some),
                    },
                    change: None,
                },
                Process {
                    pid: 4_194_303,
                    comm: "a \"b\"\\\n\u{1b}\u{7f}\u{e9}".to_owned(),
                    files: 2,
                    shared_with: vec![18, 19],
                    info: Info {
                        contexts: Some(0),
                        inflight: None,
                        counters: few_counters(7),
                    },
                    change: None,
                },
            ],
            unseen: 4,
            sharing_known: true,
        }
    }

    /// Returns the counters of a module that has only some of them: so many requests were
    /// submitted, and are complete.
    fn few_counters(requests: u64) -> [Option<u64>; 9] {
        let mut counters = [None; 9];
        counters[..2].fill(Some(requests));
        counters[8] = Some(0);
        counters
    }

    fn later() -> Report {
        let mut report = first();
        report.interval = Some(Duration::from_millis(1500));
        report.system_change = Some(Stat {
            submitted: 300,
            completed: 290,
            cancelled: 0,
        });
        report.processes[0].change = Some([150, 140, 1, 0, 0, 0, 0, 0, 0].map(Some));
        report.processes[1].change = Some(few_counters(0));
        report
    }

    #[test]
    fn table_of_totals() {
        assert_eq!(
            table(&first()),
            "\
Since the files were opened; all: since the module was loaded.
    PID COMMAND    CONTEXTS INFLIGHT SUBMITTED COMPLETED INLINE QUEUED PARKED KICKED HELPED CANCELLED IRQ
     17 fio               1       10      1000       990    100    800     20     19      7         3  70
4194303 a \"b\"\\???\u{e9}        0        -         7         7      -      -      -      -      -         -   0
    all                           10      2000      1990                                            3
4194303 shares an open file with 18, 19, and has the numbers of all of them.
Room in all contexts: 126 requests; limits: 4194304, and - for each user.
"
        );
    }

    #[test]
    fn table_of_rates() {
        let mut report = later();
        report.processes.pop();
        assert_eq!(
            table(&report),
            "\
Per second, for 1.50 seconds.
PID COMMAND CONTEXTS INFLIGHT SUBMITTED COMPLETED INLINE QUEUED PARKED KICKED HELPED CANCELLED IRQ
 17 fio            1       10     100.0      93.3    0.7    0.0    0.0    0.0    0.0       0.0 0.0
all                        10     200.0     193.3                                          0.0
Room in all contexts: 126 requests; limits: 4194304, and - for each user.
"
        );
    }

    #[test]
    fn table_of_nothing() {
        let mut report = first();
        report.processes.clear();
        report.system = None;
        let text = table(&report);
        assert!(text.ends_with(
            "\nNo process that could be seen has the device open.\nThe module is not loaded.\n"
        ));
    }

    #[test]
    fn json_of_totals() {
        assert_eq!(
            json(&first()),
            concat!(
                r#"{"time":1700000000.007,"interval":null,"system":{"submitted":2000,"completed":1990,"#,
                r#""cancelled":3,"inflight":10,"nr":126,"max_nr":4194304,"max_user_nr":null,"#,
                r#""per_second":null},"unseen_processes":4,"sharing_known":true,"processes":["#,
                r#"{"pid":17,"comm":"fio","files":1,"shared_with":[],"contexts":1,"inflight":10,"#,
                r#""counters":{"submitted":1000,"completed":990,"inline":100,"queued":800,"#,
                r#""parked":20,"kicked":19,"helped":7,"cancelled":3,"irq":70},"per_second":null},"#,
                r#"{"pid":4194303,"comm":"a \"b\"\\\u000a\u001b\u007fé","files":2,"#,
                r#""shared_with":[18,19],"contexts":0,"inflight":null,"counters":{"submitted":7,"#,
                r#""completed":7,"inline":null,"queued":null,"parked":null,"kicked":null,"#,
                r#""helped":null,"cancelled":null,"irq":0},"per_second":null}]}"#,
                "\n"
            )
        );
    }

    #[test]
    fn json_of_rates() {
        let line = json(&later());
        for part in [
            r#""interval":1.500000,"#,
            r#""per_second":{"submitted":200.000,"completed":193.333,"cancelled":0.000}},"#,
            r#""per_second":{"submitted":100.000,"completed":93.333,"inline":0.667,"queued":0.000,"#,
            r#""per_second":{"submitted":0.000,"completed":0.000,"inline":null,"#,
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn json_of_nothing() {
        let mut report = first();
        report.processes.clear();
        report.system = None;
        report.sharing_known = false;
        assert_eq!(
            json(&report),
            "{\"time\":1700000000.007,\"interval\":null,\"system\":null,\"unseen_processes\":4,\
             \"sharing_known\":false,\"processes\":[]}\n"
        );
    }

    #[test]
    fn prometheus_text() {
        let text = prometheus(&first());
        for part in [
            "# HELP kaio_submitted_total Requests that were submitted.\n\
             # TYPE kaio_submitted_total counter\nkaio_submitted_total 2000\n",
            "# TYPE kaio_inflight gauge\nkaio_inflight 10\n",
            "# TYPE kaio_unseen_processes gauge\nkaio_unseen_processes 4\n",
            "# TYPE kaio_process_inline_total counter\n\
             kaio_process_inline_total{pid=\"17\",comm=\"fio\"} 100\n#",
            "# TYPE kaio_process_irq_total counter\n\
             kaio_process_irq_total{pid=\"17\",comm=\"fio\"} 70\n\
             kaio_process_irq_total{pid=\"4194303\",comm=\"a \\\"b\\\"\\\\\\n\u{1b}\u{7f}\u{e9}\"} 0\n",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        // The module does not show this limit.
        assert!(!text.contains("max_user_nr"));
        // Each metric has one head, and each line is one of the format's three kinds.
        let heads: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE "))
            .collect();
        let mut once = heads.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!((heads.len(), once.len()), (19, 19));
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            let (name, number) = line.rsplit_once(' ').unwrap();
            assert!(
                name.starts_with("kaio_") && number.parse::<u64>().is_ok(),
                "{line}"
            );
        }
    }

    #[test]
    fn prometheus_without_processes() {
        let mut report = first();
        report.processes.clear();
        assert!(!prometheus(&report).contains("process_"));
    }

    #[test]
    fn labels() {
        assert_eq!(label(r#"\n"#), r#"\\n"#);
        assert_eq!(label("\n"), r#"\n"#);
        assert_eq!(label(r#"""#), r#"\""#);
        assert_eq!(label(r#"\""#), r#"\\\""#);
    }
}
