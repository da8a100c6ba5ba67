//! Line plots as SVG, written by hand.

use std::fmt::Write as _;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 440.0;
/// Margins around the area of the plot: left, right (with the legend), top, bottom.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 62.0;
/// Colours that people with any sight can tell apart (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444"];

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From 0 on.
    Linear,
    /// By their logarithms; values must be above 0.
    Log,
}

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What, with its unit.
    pub label: String,
    /// How.
    pub scale: Scale,
}

/// One line of the plot.
#[derive(Clone, Debug)]
pub struct Series {
    /// As in the legend.
    pub name: String,
    /// In the order in which they are joined.
    pub points: Vec<(f64, f64)>,
    /// The lowest and the highest of what is measured at each point; none, or as many as points.
    pub ranges: Vec<(f64, f64)>,
    /// Whether the line is broken.
    pub dashed: bool,
}

/// A plot of several lines.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Above it.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
}

impl Axis {
    /// An axis from 0 on.
    pub fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear }
    }

    /// An axis of powers of ten.
    pub fn log(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Log }
    }
}

impl Series {
    /// A line without ranges.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, ranges: Vec::new(), dashed: false }
    }

    /// The same, broken.
    pub fn dashed(self) -> Self {
        Self { dashed: true, ..self }
    }
}

/// Where the values of an axis go, in pixels.
#[derive(Clone, Copy, Debug)]
struct Range {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Range {
    /// From the values that are to be shown; `from` and `to` are the pixels of its ends.
    fn of(scale: Scale, values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let usable = |v: &f64| v.is_finite() && (scale == Scale::Linear || *v > 0.0);
        let ends = values.filter(usable).fold(None, |ends: Option<(f64, f64)>, v| {
            Some(ends.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
        });
        let (low, high) = ends.unwrap_or((1.0, 1.0));
        let (low, high) = match scale {
            Scale::Linear => {
                let high = if high > low.min(0.0) { high } else { low.min(0.0) + 1.0 };
                let step = step(high - low.min(0.0));
                ((low.min(0.0) / step).floor() * step, (high / step).ceil() * step)
            }
            Scale::Log => {
                // To the next mark at 1, 2 or 5.
                let (low, high) = (mark_below(low), mark_above(high));
                if high > low { (low, high) } else { (low, low * 10.0) }
            }
        };
        Self { scale, low, high, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.high - self.low);
                let count = ((self.high - self.low) / step).round() as u32;
                (0..=count).map(|i| self.low + step * f64::from(i)).collect()
            }
            Scale::Log => {
                let wide = self.high / self.low > 2_000.0;
                let marks: &[f64] = if wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let exponents =
                    (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
                let all = exponents.flat_map(|e| marks.iter().map(move |m| m * 10f64.powi(e)));
                let (low, high) = (self.low * 0.999, self.high * 1.001);
                all.filter(|v| (low..=high).contains(v)).collect()
            }
        }
    }
}

/// The distance of ticks: 1, 2 or 5 times a power of ten, so that there are five to ten.
fn step(width: f64) -> f64 {
    let rough = width / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|s| s * power >= rough * 0.999).unwrap_or(10.0);
    step * power
}

fn mark_below(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let mark = [5.0, 2.0].into_iter().find(|m| m * power <= value * 1.0001).unwrap_or(1.0);
    mark * power
}

fn mark_above(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let mark = [1.0, 2.0, 5.0].into_iter().find(|m| m * power >= value * 0.9999).unwrap_or(10.0);
    mark * power
}

impl Plot {
    /// The whole file.
    pub fn to_svg(&self) -> String {
        let ranges = |s: &Series| s.ranges.clone().into_iter().flat_map(|(low, high)| [low, high]);
        let xs = self.series.iter().flat_map(|s| s.points.iter().map(|p| p.0));
        let ys = self.series.iter().flat_map(|s| s.points.iter().map(|p| p.1).chain(ranges(s)));
        let x = Range::of(self.x.scale, xs, (LEFT, WIDTH - RIGHT));
        let y = Range::of(self.y.scale, ys, (HEIGHT - BOTTOM, TOP));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" \
             fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        let title = escape(&self.title);
        line(
            &mut svg,
            &format!(
                "<text x=\"{LEFT}\" y=\"30\" font-size=\"16\" font-weight=\"bold\">{title}</text>"
            ),
        );
        self.grid(&mut svg, &x, &y);
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            draw(&mut svg, series, colour, &x, &y);
        }
        self.legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn grid(&self, svg: &mut String, x: &Range, y: &Range) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in x.ticks() {
            let (at, label, below) = (x.place(tick), tick_label(tick), bottom + 18.0);
            line(
                svg,
                &format!(
                    "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" \
                 stroke=\"#e2e2e2\"/>\
                 <text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{label}</text>"
                ),
            );
        }
        for tick in y.ticks() {
            let (at, label, left) = (y.place(tick), tick_label(tick), LEFT - 8.0);
            let middle = at + 4.0;
            line(
                svg,
                &format!(
                    "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" \
                 stroke=\"#e2e2e2\"/>\
                 <text x=\"{left}\" y=\"{middle:.1}\" text-anchor=\"end\">{label}</text>"
                ),
            );
        }
        line(
            svg,
            &format!("<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#222\"/>"),
        );
        let (middle, below) = (f64::midpoint(LEFT, right), HEIGHT - 18.0);
        let (x_label, y_label) = (escape(&self.x.label), escape(&self.y.label));
        line(
            svg,
            &format!("<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{x_label}</text>"),
        );
        let middle = f64::midpoint(TOP, bottom);
        line(
            svg,
            &format!(
                "<text transform=\"translate(22 {middle}) rotate(-90)\" text-anchor=\"middle\">\
             {y_label}</text>"
            ),
        );
    }

    fn legend(&self, svg: &mut String) {
        let left = WIDTH - RIGHT + 18.0;
        for (i, (series, colour)) in self.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let at = TOP + 8.0 + 20.0 * i as f64;
            let (name, to, text) = (escape(&series.name), left + 24.0, left + 31.0);
            let (dash, middle) = (dash(series), at + 4.0);
            line(
                svg,
                &format!(
                    "<line x1=\"{left}\" y1=\"{at}\" x2=\"{to}\" y2=\"{at}\" stroke=\"{colour}\" \
                 stroke-width=\"2\"{dash}/><text x=\"{text}\" y=\"{middle}\">{name}</text>"
                ),
            );
        }
    }
}

fn line(svg: &mut String, text: &str) {
    svg.push_str(text);
    svg.push('\n');
}

fn dash(series: &Series) -> &'static str {
    if series.dashed { " stroke-dasharray=\"6 4\"" } else { "" }
}

fn draw(svg: &mut String, series: &Series, colour: &str, x: &Range, y: &Range) {
    let shown = |p: &&(f64, f64)| {
        let fits = |scale, v: f64| v.is_finite() && (scale == Scale::Linear || v > 0.0);
        fits(x.scale, p.0) && fits(y.scale, p.1)
    };
    let mut path = String::new();
    for ((px, _), (low, high)) in series.points.iter().zip(&series.ranges).filter(|(p, _)| shown(p))
    {
        let (at, low, high) = (x.place(*px), y.place(*low), y.place(*high));
        line(
            svg,
            &format!(
                "<line x1=\"{at:.1}\" y1=\"{low:.1}\" x2=\"{at:.1}\" y2=\"{high:.1}\" \
             stroke=\"{colour}\" stroke-opacity=\"0.45\" stroke-width=\"4\"/>"
            ),
        );
    }
    for (i, (px, py)) in series.points.iter().filter(shown).enumerate() {
        let letter = if i == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{letter}{:.1} {:.1}", x.place(*px), y.place(*py));
    }
    let dash = dash(series);
    line(
        svg,
        &format!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>"),
    );
    // Many points are a line by themselves.
    if series.points.len() <= 40 {
        for (px, py) in series.points.iter().filter(shown) {
            let (cx, cy) = (x.place(*px), y.place(*py));
            line(
                svg,
                &format!("<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{colour}\"/>"),
            );
        }
    }
}

/// `10k`, `2M`, `0.5`.
fn tick_label(value: f64) -> String {
    let (value, unit) = match value.abs() {
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{}{unit}", if text == "-0" { "0" } else { text })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(scale: Scale, values: &[f64]) -> Range {
        Range::of(scale, values.iter().copied(), (100.0, 600.0))
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_its_ends_are_ticks() {
        let axis = range(Scale::Linear, &[1.0, 47.0]);
        assert_eq!((axis.low, axis.high), (0.0, 50.0));
        assert_eq!((axis.place(0.0), axis.place(25.0), axis.place(50.0)), (100.0, 350.0, 600.0));
        assert_eq!(axis.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        let below = range(Scale::Linear, &[-3.0, 4.0]);
        assert!(below.low <= -3.0 && below.ticks().contains(&0.0), "{below:?}");
    }

    #[test]
    fn a_log_axis_has_a_decade_everywhere_as_wide() {
        let axis = range(Scale::Log, &[1.0, 100.0]);
        assert_eq!((axis.low, axis.high), (1.0, 100.0));
        assert!((axis.place(10.0) - 350.0).abs() < 1e-9);
        assert_eq!(axis.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        let axis = range(Scale::Log, &[0.7, 3.0]);
        assert!((axis.low - 0.5).abs() < 1e-9 && (axis.high - 5.0).abs() < 1e-9, "{axis:?}");
        let wide = range(Scale::Log, &[1.0, 1e6]).ticks();
        assert_eq!(wide.len(), 7, "{wide:?}");
    }

    #[test]
    fn upwards_is_up() {
        let axis = Range::of(Scale::Linear, [0.0, 10.0].into_iter(), (400.0, 50.0));
        assert_eq!((axis.place(0.0), axis.place(10.0)), (400.0, 50.0));
    }

    #[test]
    fn one_value_or_none_gives_an_axis_too() {
        for scale in [Scale::Linear, Scale::Log] {
            for values in [&[][..], &[0.0], &[5.0], &[f64::NAN]] {
                let axis = range(scale, values);
                assert!(axis.place(axis.low).is_finite() && axis.high > axis.low, "{axis:?}");
                assert!(axis.ticks().len() >= 2, "{axis:?}");
            }
        }
    }

    #[test]
    fn labels_are_short() {
        let labels = [0.0, 0.5, 10.0, 2_000.0, 50_000.0, 10_000_000.0].map(tick_label);
        assert_eq!(labels, ["0", "0.5", "10", "2000", "50k", "10M"]);
    }

    #[test]
    fn all_points_are_inside_and_all_names_in_the_legend() {
        let plot = Plot {
            title: "a < b & c".to_owned(),
            x: Axis::log("x in s"),
            y: Axis::linear("y in ms"),
            series: vec![
                Series {
                    ranges: vec![(1.0, 9.0), (2.0, 30.0)],
                    ..Series::new("first", vec![(1.0, 5.0), (100.0, 20.0)])
                },
                Series::new("second", vec![(10.0, 7.0), (0.0, 3.0)]).dashed(),
            ],
        };
        let svg = plot.to_svg();
        for part in ["a &lt; b &amp; c", "x in s", "y in ms", ">first<", ">second<", "dasharray"] {
            assert!(svg.contains(part), "{part}");
        }
        let number = |part: &str| part.split('"').next().unwrap().parse::<f64>().unwrap();
        let xs: Vec<f64> = svg.split("cx=\"").skip(1).map(number).collect();
        let ys: Vec<f64> = svg.split("cy=\"").skip(1).map(number).collect();
        assert_eq!(xs.len(), 3, "0 has no place on a logarithmic axis");
        assert!(xs.iter().all(|x| (LEFT..=WIDTH - RIGHT).contains(x)), "{xs:?}");
        assert!(ys.iter().all(|y| (TOP..=HEIGHT - BOTTOM).contains(y)), "{ys:?}");
    }
}
