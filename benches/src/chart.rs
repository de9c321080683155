//! Throughput against the number of clients, as a picture for a page.

use std::path::Path;

use plotters::prelude::*;

use crate::Failure;

/// A line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is of.
    pub name: String,
    /// The number of clients, and sagas per second.
    pub points: Vec<(f64, f64)>,
    /// Whether it is a limit of others, which is drawn thin and without its points.
    pub is_limit: bool,
}

/// Of the whole picture, in pixels.
const SIZE: (u32, u32) = (1_000, 520);
/// The width of what is left for the names of the lines, beside the chart: in it they would hide some line.
const NAMES: u32 = 260;
/// The height of one of them.
const NAME: i32 = 24;
const FONT: &str = "sans-serif";

/// Draws lines into an SVG file. Both of its axes are logarithmic.
///
/// # Errors
///
/// That there is nothing to draw, or what writing the file fails with.
pub fn draw(path: &Path, title: &str, lines: &[Line]) -> Result<(), Failure> {
    let mut picture = String::new();
    draw_into(&mut picture, title, lines)?;
    std::fs::write(path, picture + "\n").map_err(|error| format!("{}: {error}", path.display()).into())
}

fn draw_into(picture: &mut String, title: &str, lines: &[Line]) -> Result<(), Failure> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (Some(clients), Some((lowest, highest))) =
        (extent(points().map(|(clients, _)| clients)), extent(points().map(|(_, throughput)| throughput)))
    else {
        return Err("there is nothing to draw".into());
    };
    let whole = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    whole.fill(&WHITE)?;
    let (area, names) = whole.split_horizontally(SIZE.0 - NAMES);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(84)
        .build_cartesian_2d(
            (clients.0..clients.1 * 1.05).log_scale(),
            (whole_decade(lowest, f64::floor)..whole_decade(highest, f64::ceil)).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("sagas at a time")
        .y_desc("sagas per second")
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .x_label_formatter(&|clients| format!("{clients:.0}"))
        .y_label_formatter(&|throughput| crate::report::number(*throughput))
        .draw()?;
    for ((index, line), y) in lines.iter().enumerate().zip((2 * NAME..).step_by(NAME as usize)) {
        let color = Palette99::pick(index).to_rgba();
        let style = ShapeStyle { color, filled: true, stroke_width: if line.is_limit { 1 } else { 2 } };
        let series = LineSeries::new(line.points.iter().copied(), style);
        chart.draw_series(series.point_size(if line.is_limit { 0 } else { 4 }))?;
        names.draw(&PathElement::new([(0, y), (NAME, y)], style))?;
        names.draw(&Text::new(line.name.as_str(), (NAME + 8, y - 7), (FONT, 14)))?;
    }
    whole.present()?;
    Ok(())
}

/// The least and the greatest of these.
fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |extent, value| match extent {
        None => Some((value, value)),
        Some((least, greatest)) => Some((value.min(least), value.max(greatest))),
    })
}

fn whole_decade(value: f64, round: impl Fn(f64) -> f64) -> f64 {
    10_f64.powf(round(value.log10()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, points: &[(f64, f64)]) -> Line {
        Line { name: name.to_owned(), points: points.to_vec(), is_limit: false }
    }

    #[test]
    fn every_line_is_drawn_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chart.svg");
        let limit = Line { is_limit: true, ..line("the limit", &[(1.0, 900.0), (256.0, 40_000.0)]) };
        draw(&path, "a title", &[line("sled", &[(1.0, 600.0), (256.0, 9_000.0)]), limit]).unwrap();
        let picture = std::fs::read_to_string(path).unwrap();
        for text in ["a title", "sled", "the limit", "sagas per second", "10 000"] {
            assert!(picture.contains(text), "{text} is missing: {picture}");
        }
        // Each once in the chart and once beside its name.
        assert!(picture.matches("<polyline").count() >= 4, "{picture}");
    }

    #[test]
    fn one_point_is_a_chart_and_none_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chart.svg");
        draw(&path, "one", &[line("memory", &[(64.0, 1_000.0)])]).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("memory"));
        assert!(draw(&path, "none", &[line("memory", &[])]).is_err());
    }
}
