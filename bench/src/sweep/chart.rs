//! A sweep as a picture: lines over equally spaced steps, each point with its spread.

use std::error::Error as StdError;

use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    BLACK, Cartesian2d, ChartBuilder, ChartContext, Circle, Color as _, ErrorBar, IntoDrawingArea as _, IntoLogRange as _, LineSeries, PathElement, RGBColor,
    Ranged, SVGBackend, SeriesLabelPosition, WHITE,
};

use super::{Chart, Point};
use crate::error::Error;

const SIZE: (u32, u32) = (880, 540);

/// Told apart by people who see colours differently, too (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167), RGBColor(230, 159, 0), RGBColor(86, 180, 233)];

/// From this ratio of the greatest to the least value on, the axis is logarithmic.
const LOGARITHMIC_FROM: f64 = 20.0;

/// Draws a chart as SVG text.
///
/// # Errors
/// The chart has no points, or the drawing library fails.
pub fn svg(chart: &Chart) -> Result<String, Error> {
    let mut text = String::new();
    draw(chart, &mut text).map_err(|error| Error::surroundings(format!("drawing {}", chart.name), error.to_string()))?;
    Ok(text)
}

fn draw(of: &Chart, text: &mut String) -> Result<(), Box<dyn StdError>> {
    let points = || of.series.iter().flat_map(|series| &series.points);
    let least = points().map(|point| point.min).fold(f64::INFINITY, f64::min);
    let greatest = points().map(|point| point.max).fold(0.0, f64::max);
    if greatest <= 0.0 {
        return Err("it has no points".into());
    }
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let steps = of.steps.len() as f64;
    let mut builder = ChartBuilder::on(&root);
    builder.caption(of.title, ("sans-serif", 20)).margin(18).x_label_area_size(46).y_label_area_size(78);
    // Room above for the legend.
    if least > 0.0 && greatest / least > LOGARITHMIC_FROM {
        fill(builder.build_cartesian_2d(-0.4..steps - 0.6, (least / 1.5..greatest * 3.0).log_scale())?, of)?;
    } else {
        fill(builder.build_cartesian_2d(-0.4..steps - 0.6, 0.0..greatest * 1.3)?, of)?;
    }
    root.present()?;
    Ok(())
}

fn fill<'c, 't: 'c, Y>(mut chart: ChartContext<'c, SVGBackend<'t>, Cartesian2d<RangedCoordf64, Y>>, of: &Chart) -> Result<(), Box<dyn StdError>>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64> + 'c,
{
    let step = |place: &f64| {
        let is_step = (place - place.round()).abs() < 1e-6 && *place > -0.5;
        let index = is_step.then(|| of.steps.iter().zip(0_u32..).find(|(_, index)| (f64::from(*index) - place).abs() < 0.5)).flatten();
        index.map_or_else(String::new, |(name, _)| name.clone())
    };
    let font = ("sans-serif", 14);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.15))
        .x_desc(of.x)
        .y_desc(of.y)
        .axis_desc_style(font)
        .label_style(font)
        .x_labels(of.steps.len().max(2) * 2)
        .x_label_formatter(&step)
        .y_label_formatter(&|value| tick(*value))
        .draw()?;
    for (series, colour) in of.series.iter().zip(COLOURS.iter().cycle()) {
        let (colour, points) = (*colour, places(&series.points));
        chart
            .draw_series(LineSeries::new(points.iter().map(|(x, point)| (*x, point.y)), colour.stroke_width(2)))?
            .label(series.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(points.iter().map(|(x, point)| ErrorBar::new_vertical(*x, point.min, point.y, point.max, colour.filled(), 8)))?;
        chart.draw_series(points.iter().map(|(x, point)| Circle::new((*x, point.y), 4, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.4))
        .label_font(font)
        .draw()?;
    Ok(())
}

fn places(points: &[Point]) -> Vec<(f64, Point)> {
    (0_u32..).zip(points).map(|(index, point)| (f64::from(index), *point)).collect()
}

/// A number on an axis, with as many digits as mean something there.
fn tick(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", trimmed(value / 1e6)),
        value if value >= 1e4 => format!("{} k", trimmed(value / 1e3)),
        value => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let decimals = if value >= 100.0 {
        0
    } else if value >= 1.0 || value == 0.0 {
        2
    } else {
        4
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::Series;

    fn chart(values: &[f64]) -> Chart {
        let points = values.iter().map(|&y| Point { y, min: y * 0.9, max: y * 1.1 }).collect();
        let series = vec![Series { name: "a < b & c".to_owned(), points }];
        Chart { name: "trial", title: "Trial", x: "payload (bytes)", y: "time (ns)", steps: values.iter().map(|y| format!("step {y}")).collect(), series }
    }

    /// Every element that is opened is closed, in order, and what is text stays text.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for part in svg.split('<').skip(1) {
            let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("an element without an end: {part}"));
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name.trim()), "{svg}");
            } else if !tag.ends_with('/') && !tag.starts_with('?') && !tag.starts_with('!') {
                open.push(tag.split_whitespace().next().unwrap());
            }
            assert!(!text.contains('>') && text.split('&').skip(1).all(|rest| rest.contains(';')), "{part}");
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn charts_are_well_formed_and_labelled() {
        for values in [&[1.0, 2.0, 3.0][..], &[1.0, 1_000.0]] {
            let text = svg(&chart(values)).unwrap();
            assert!(text.starts_with("<svg"));
            assert_well_formed(&text);
            for label in ["Trial", "payload (bytes)", "time (ns)", "a &lt; b &amp; c"] {
                assert!(text.contains(label), "{label} in {text}");
            }
            assert!(values.iter().all(|y| text.contains(&format!("step {y}"))), "{text}");
        }
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        assert!(svg(&chart(&[])).is_err());
    }

    #[test]
    fn ticks_have_the_digits_that_mean_something() {
        assert_eq!([0.0, 0.05, 1.5, 150.0, 12_000.0, 2_500_000.0].map(tick), ["0", "0.05", "1.5", "150", "12 k", "2.5 M"]);
    }
}
