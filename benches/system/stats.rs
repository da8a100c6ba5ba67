//! Medians, spreads and slopes.

/// The median of some figures, and the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one, or half-way between the two in the middle.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Spread {
    /// `None` of no figures. What is not a number is left out.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().filter(|f| f.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let (lower, upper) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(lower, upper), low, high })
    }
}

/// A figure with about three digits, its thousands apart.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size == 0.0 => 0,
        _ => 2,
    };
    // From five digits on the last ones say nothing.
    let value = if size >= 10_000.0 { (value / 100.0).round() * 100.0 } else { value };
    let text = format!("{value:.decimals$}");
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
    let mut out = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// `median (lowest to highest)`, or a dash.
pub fn spread(of: Option<Spread>) -> String {
    match of {
        None => "–".to_owned(),
        Some(s) if s.low == s.high => figure(s.median),
        Some(s) => format!("{} ({} to {})", figure(s.median), figure(s.low), figure(s.high)),
    }
}

/// The straight line that is nearest to some points by least squares: its slope and its value at
/// 0. `None` if the points have fewer than two places.
pub fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    let (mean_x, mean_y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if points.is_empty() || spread <= 0.0 {
        return None;
    }
    let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread;
    Some((slope, mean_y - slope * mean_x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        let of = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(of(&[3.0, 1.0, 20.0]), Some(Spread { median: 3.0, low: 1.0, high: 20.0 }));
        assert_eq!(of(&[4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
        assert_eq!(of(&[7.0]), Some(Spread { median: 7.0, low: 7.0, high: 7.0 }));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[f64::NAN, 2.0]).unwrap().median, 2.0, "no figure is no figure");
    }

    #[test]
    fn figures_have_three_digits_and_commas() {
        let shown = [48_512.3, 1_234.5, 512.4, 35.61, 0.834, 0.0, -12.34, 1_234_567.0];
        let shown = shown.map(figure);
        let due = ["48,500", "1,234", "512", "35.6", "0.83", "0", "-12.3", "1,234,600"];
        assert_eq!(shown, due);
        let both = Spread { median: 5.0, low: 4.0, high: 12.5 };
        assert_eq!(spread(Some(both)), "5.00 (4.00 to 12.5)");
        assert_eq!(spread(None), "–");
    }

    #[test]
    fn a_line_through_points_is_that_line() {
        let points: Vec<(f64, f64)> = (0..5).map(f64::from).map(|x| (x, 3.0 * x - 2.0)).collect();
        let (slope, at_zero) = line(&points).unwrap();
        assert!((slope - 3.0).abs() < 1e-9 && (at_zero + 2.0).abs() < 1e-9, "{slope} {at_zero}");
        let (slope, _) = line(&[(0.0, 1.0), (1.0, 3.0), (2.0, 1.0)]).unwrap();
        assert!(slope.abs() < 1e-9, "up and down is flat");
        assert_eq!(line(&[(1.0, 5.0), (1.0, 6.0)]), None);
        assert_eq!(line(&[]), None);
    }
}
