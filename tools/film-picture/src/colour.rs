//! A diverging colour map, centred on zero, whose brightness only rises: it reads in grey as well.

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// Of texts and frames.
pub const BLACK: Rgb = [0x22, 0x22, 0x22];
/// Of lines behind others.
pub const GREY: Rgb = [0x99, 0x99, 0x99];
/// Of the fine lines of a scale.
pub(crate) const RULE: Rgb = [0xe4, 0xe4, 0xe4];
/// Of what is empty.
pub const WHITE: Rgb = [0xff, 0xff, 0xff];
/// Of lines in plots.
pub const INK: Rgb = [0x1b, 0x3f, 0x8b];
/// Of a line in a plot behind others.
pub const FAINT: Rgb = [0x9f, 0xb4, 0xd8];
/// Of a second line in a plot.
pub const RED: Rgb = [0xc4, 0x4e, 0x1c];

/// From −1 to 1 at equal steps: dark blue, grey, light yellow.
const STOPS: [[f64; 3]; 5] = [
    [8.0, 29.0, 88.0],
    [58.0, 92.0, 158.0],
    [143.0, 143.0, 143.0],
    [236.0, 182.0, 92.0],
    [255.0, 250.0, 208.0],
];

/// The colour of `value` on a scale that ends at ±`limit`; white where it is not a number.
pub(crate) fn colour(value: f64, limit: f64) -> Rgb {
    if value.is_nan() {
        return WHITE;
    }
    let share = if limit > 0.0 { (value / limit).clamp(-1.0, 1.0) } else { 0.0 };
    let position = (share + 1.0) / 2.0 * (STOPS.len() - 1) as f64;
    let below = (position.floor() as usize).min(STOPS.len() - 2);
    let part = position - below as f64;
    std::array::from_fn(|channel| {
        let (from, to) = (STOPS[below][channel], STOPS[below + 1][channel]);
        (from + (to - from) * part).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brightness_only_rises() {
        let brightness = |value: f64| {
            let [red, green, blue] = colour(value, 1.0).map(f64::from);
            0.2126 * red + 0.7152 * green + 0.0722 * blue
        };
        let steps: Vec<f64> = (-50..=50).map(|step| brightness(f64::from(step) / 50.0)).collect();
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(colour(0.0, 1.0), [143, 143, 143]);
        assert_eq!(colour(7.0, 1.0), colour(1.0, 1.0));
    }
}
