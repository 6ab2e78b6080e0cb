//! Numbers → classes of colour. The colours are in the style sheet, for light and for dark.

/// What a colour stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scale {
    /// From 0 to this, or beyond.
    Up(f64),
    /// From 0 by 1 to 2, or beyond.
    AroundOne,
}

impl Scale {
    /// How many colours there are.
    fn steps(self) -> usize {
        match self {
            Self::Up(_) => 8,
            Self::AroundOne => 9,
        }
    }

    fn end(self) -> f64 {
        match self {
            Self::Up(end) => end,
            Self::AroundOne => 2.0,
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Up(_) => 'q',
            Self::AroundOne => 'd',
        }
    }

    /// The class of a number's colour; of NaN there is none.
    pub(super) fn class(self, value: f64) -> String {
        if value.is_nan() {
            return String::new();
        }
        let steps = self.steps();
        let step = (value / self.end() * steps as f64).floor().clamp(0.0, (steps - 1) as f64);
        format!("{}{step}", self.letter())
    }

    /// All classes, in their order.
    pub(super) fn classes(self) -> impl Iterator<Item = String> {
        (0..self.steps()).map(move |step| format!("{}{step}", self.letter()))
    }

    /// What stands at the beginning, in the middle and at the end of a legend.
    pub(super) fn marks(self, unit: impl Fn(f64) -> String) -> [String; 3] {
        let end = self.end();
        [format!("≤ {}", unit(0.0)), unit(end / 2.0), format!("≥ {}", unit(end))]
    }
}

#[cfg(test)]
mod tests {
    use super::Scale;

    #[test]
    fn numbers_have_a_colour() {
        let of = |value: f64| Scale::Up(4.0).class(value);
        assert_eq!(
            [of(-1.0), of(0.0), of(2.0), of(9.0), of(f64::NAN)],
            ["q0", "q0", "q4", "q7", ""]
        );
        assert_eq!([0.0, 1.0, 1.9].map(|value| Scale::AroundOne.class(value)), ["d0", "d4", "d8"]);
        assert_eq!(Scale::AroundOne.classes().count(), 9);
    }
}
