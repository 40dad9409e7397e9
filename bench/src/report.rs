// SPDX-License-Identifier: GPL-2.0

//! Prints figures for scripts/bench-report.

/// Prints least, median, 90th percentile and largest of the figures.
pub fn report(case: &str, engine: &str, variant: &str, unit: &str, figures: Vec<f64>) {
    report_mean(case, engine, variant, unit, vec![figures]);
}

/// Prints the means, over several devices, of what [`report`] prints of the figures of one device.
pub fn report_mean(
    case: &str,
    engine: &str,
    variant: &str,
    unit: &str,
    mut devices: Vec<Vec<f64>>,
) {
    for figures in &mut devices {
        figures.sort_by(f64::total_cmp);
    }
    let at = |percent: usize| {
        let of = |figures: &Vec<f64>| figures[(figures.len() - 1) * percent / 100];
        devices.iter().map(of).sum::<f64>() / devices.len() as f64
    };
    println!(
        "measured\t{case}\t{engine}\t{variant}\t{unit}\t{:.2}\t{:.2}\t{:.2}\t{:.2}",
        at(0),
        at(50),
        at(90),
        at(100)
    );
}
