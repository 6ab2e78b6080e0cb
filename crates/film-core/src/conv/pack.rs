//! Between tensors and the blocks of channels that are computed at once.

use super::Channels;
use super::real::Real;

/// A tensor `[samples, *points, channels]` or `[samples, channels, *points]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) samples: usize,
    pub(super) points: usize,
    pub(super) channels: usize,
    pub(super) order: Channels,
}

/// The order inside a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The channels of a point beside each other, as many as given; behind all points those of the next channels.
    Interleaved(usize),
    /// The points of a channel beside each other; as many a channel as given.
    Planar(usize),
}

/// How far apart in memory, among the channels of one [`Order::Interleaved`].
#[derive(Clone, Copy)]
struct Strides {
    point: usize,
    channel: usize,
}

impl Order {
    fn strides(self) -> Strides {
        match self {
            Self::Interleaved(lanes) => Strides { point: lanes, channel: 1 },
            Self::Planar(points) => Strides { point: 1, channel: points },
        }
    }

    /// Numbers that each point of so many channels takes.
    pub(super) fn width(self, channels: usize) -> usize {
        match self {
            Self::Interleaved(lanes) => channels.next_multiple_of(lanes),
            Self::Planar(_) => channels,
        }
    }

    /// Channels that stand together.
    fn together(self, channels: usize) -> usize {
        match self {
            Self::Interleaved(lanes) => lanes,
            Self::Planar(_) => channels,
        }
    }
}

impl Layout {
    fn strides(self) -> Strides {
        match self.order {
            Channels::Last => Strides { point: self.channels, channel: 1 },
            Channels::First => Strides { point: 1, channel: self.points },
        }
    }

    pub(super) fn len(self) -> usize {
        self.samples * self.points * self.channels
    }

    /// Copies the points `picks` of some channels of a sample to the places `places` of a block.
    pub(super) fn pack<T: Real>(
        self,
        tensor: &[T],
        (sample, channels): (usize, &std::ops::Range<usize>),
        picks: &[usize],
        block: &mut [T],
        order: Order,
        places: impl Fn(usize) -> usize,
    ) {
        let (from, to) = (self.strides(), order.strides());
        let tensor =
            &tensor[sample * self.points * self.channels + channels.start * from.channel..];
        let together = order.together(channels.len());
        let behind = block.len() / channels.len().div_ceil(together);
        if from.channel == 1 && to.channel == 1 {
            for (index, pick) in picks.iter().enumerate() {
                let numbers = &tensor[pick * from.point..][..channels.len()];
                split(numbers, &mut block[places(index) * to.point..], (together, behind));
            }
            return;
        }
        for (chunk, picks) in picks.chunks(64).enumerate() {
            for channel in 0..channels.len() {
                let start = channel / together * behind + channel % together * to.channel;
                for (index, pick) in picks.iter().enumerate() {
                    block[start + places(64 * chunk + index) * to.point] =
                        tensor[pick * from.point + channel * from.channel];
                }
            }
        }
    }

    /// Copies points `first..` of a block of channels to one sample of a tensor; `part` is the sample from
    /// there on: whole points with channels last, whole channels with channels first.
    pub(super) fn unpack<T: Real>(
        self,
        block: &[T],
        order: Order,
        (first, points): (usize, usize),
        (start, channels): (usize, usize),
        part: &mut [T],
    ) {
        let (from, to) = (order.strides(), self.strides());
        let together = order.together(channels);
        let behind = block.len() / channels.div_ceil(together);
        if from.channel == 1 && to.channel == 1 {
            for point in 0..points {
                let numbers = &mut part[point * to.point + start..][..channels];
                join(&block[(first + point) * from.point..], (together, behind), numbers);
            }
            return;
        }
        for chunk in (0..points).step_by(64) {
            for channel in 0..channels {
                let from_channel = channel / together * behind + channel % together * from.channel;
                for point in chunk..points.min(chunk + 64) {
                    part[point * to.point + (start + channel) * to.channel] =
                        block[from_channel + (first + point) * from.point];
                }
            }
        }
    }
}

/// Copies a point's numbers to groups of `together`, each so far `behind` the one before.
fn split<T: Real>(numbers: &[T], groups: &mut [T], (together, behind): (usize, usize)) {
    // A vector's worth is moved as such: calling for it would take longer.
    fn vectors<T: Real, const N: usize>(numbers: &[T], groups: &mut [T], behind: usize) {
        for (group, numbers) in numbers.as_chunks::<N>().0.iter().enumerate() {
            groups[group * behind..][..N].copy_from_slice(numbers);
        }
    }
    match together {
        4 => vectors::<T, 4>(numbers, groups, behind),
        8 => vectors::<T, 8>(numbers, groups, behind),
        16 => vectors::<T, 16>(numbers, groups, behind),
        _ => {
            for (group, numbers) in numbers.chunks_exact(together).enumerate() {
                groups[group * behind..][..together].copy_from_slice(numbers);
            }
        }
    }
    let (group, rest) = (numbers.len() / together, numbers.len() % together);
    if rest > 0 {
        groups[group * behind..][..rest].copy_from_slice(&numbers[group * together..]);
    }
}

/// Copies such groups to a point's numbers.
fn join<T: Real>(groups: &[T], (together, behind): (usize, usize), numbers: &mut [T]) {
    fn vectors<T: Real, const N: usize>(groups: &[T], behind: usize, numbers: &mut [T]) {
        for (group, numbers) in numbers.as_chunks_mut::<N>().0.iter_mut().enumerate() {
            numbers.copy_from_slice(&groups[group * behind..][..N]);
        }
    }
    match together {
        4 => vectors::<T, 4>(groups, behind, numbers),
        8 => vectors::<T, 8>(groups, behind, numbers),
        16 => vectors::<T, 16>(groups, behind, numbers),
        _ => {
            for (group, numbers) in numbers.chunks_exact_mut(together).enumerate() {
                numbers.copy_from_slice(&groups[group * behind..][..together]);
            }
        }
    }
    let (group, rest) = (numbers.len() / together, numbers.len() % together);
    if rest > 0 {
        numbers[group * together..].copy_from_slice(&groups[group * behind..][..rest]);
    }
}
