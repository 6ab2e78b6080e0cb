//! What is wrong with a file, as far as anybody wants to read it.

use crate::short::Short;

/// Problems of a file that are told of one by one.
const MOST: usize = 1000;
/// Characters of one of them.
pub(super) const LINE: usize = 1000;

/// Problems, in the order in which they are met; of very many only the first are kept, and the number of the others.
#[derive(Debug, Default)]
pub(super) struct Problems {
    told: Vec<String>,
    more: u64,
}

impl Problems {
    pub(super) fn push(&mut self, problem: impl FnOnce() -> String) {
        if self.told.len() < MOST {
            self.told.push(Short::within(&problem(), LINE).to_string());
        } else {
            self.more += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Those of `other` behind these.
    pub(super) fn append(&mut self, other: Self) {
        other.told.into_iter().for_each(|problem| self.push(|| problem));
        self.more += other.more;
    }

    /// As lines.
    pub(super) fn lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("{} more problems of the kind", self.more));
        }
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_the_number_is_told() {
        let mut problems = Problems::default();
        (0..MOST + 7).for_each(|number| problems.push(|| number.to_string()));
        let mut all = Problems::default();
        all.push(|| "first".into());
        all.append(problems);
        let lines = all.lines();
        assert_eq!(lines.len(), MOST + 1);
        assert_eq!(
            [&lines[0], &lines[1], &lines[MOST]],
            ["first", "0", "8 more problems of the kind"]
        );
    }
}
