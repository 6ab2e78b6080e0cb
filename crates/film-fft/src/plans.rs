//! Plans by kind and length, kept for the next who asks.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Points of all plans that are kept together; one takes up to some 50 bytes a point.
const MOST_POINTS: usize = 1 << 22;

/// What a plan is of: its type, and its length.
type Key = (TypeId, usize);

/// The plan of this type for a length, made once.
pub(crate) fn kept<P: Clone + Send + 'static>(length: usize, make: impl FnOnce() -> P) -> P {
    static PLANS: LazyLock<Mutex<Plans>> = LazyLock::new(Mutex::default);
    PLANS.lock().unwrap_or_else(PoisonError::into_inner).get(length, make)
}

#[derive(Default)]
struct Plans {
    kept: HashMap<Key, Box<dyn Any + Send>>,
    points: usize,
}

impl Plans {
    /// The plan for `length`, made where it is not kept. All others go where they would be too many points together; one
    /// that is too long alone is not kept.
    fn get<P: Clone + Send + 'static>(&mut self, length: usize, make: impl FnOnce() -> P) -> P {
        let key = (TypeId::of::<P>(), length);
        if let Some(plan) = self.kept.get(&key).and_then(|plan| plan.downcast_ref::<P>()) {
            return plan.clone();
        }
        let plan = make();
        if length <= MOST_POINTS {
            if self.points + length > MOST_POINTS {
                *self = Self::default();
            }
            self.points += length;
            self.kept.insert(key, Box::new(plan.clone()));
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_plans_are_bounded_in_points() {
        let mut plans = Plans::default();
        let third = MOST_POINTS / 3;
        for (length, points) in [
            (third, third),
            (third + 1, 2 * third + 1),
            (third, 2 * third + 1),
            (9, 2 * third + 10),
        ] {
            assert_eq!(plans.get(length, || length), length);
            assert_eq!(plans.points, points);
        }
        // One too many: it stays alone. One too long: it does not stay.
        plans.get(third, String::new);
        assert_eq!((plans.points, plans.kept.len()), (third, 1));
        plans.get(MOST_POINTS + 1, String::new);
        assert_eq!((plans.points, plans.kept.len()), (third, 1));
    }
}
