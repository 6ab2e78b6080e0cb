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
    /// The channels of a point beside each other; as many a point as given.
    Interleaved(usize),
    /// The points of a channel beside each other; as many a channel as given.
    Planar(usize),
}

/// How far apart in memory.
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
        if from.channel == 1 && to.channel == 1 {
            for (index, pick) in picks.iter().enumerate() {
                let point = &mut block[places(index) * to.point..][..channels.len()];
                copy(&tensor[pick * from.point..][..channels.len()], point);
            }
            return;
        }
        for (chunk, picks) in picks.chunks(64).enumerate() {
            for channel in 0..channels.len() {
                for (index, pick) in picks.iter().enumerate() {
                    block[places(64 * chunk + index) * to.point + channel * to.channel] =
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
        if from.channel == 1 && to.channel == 1 {
            for point in 0..points {
                let target = &mut part[point * to.point + start..][..channels];
                copy(&block[(first + point) * from.point..][..channels], target);
            }
            return;
        }
        for chunk in (0..points).step_by(64) {
            for channel in 0..channels {
                for point in chunk..points.min(chunk + 64) {
                    part[point * to.point + (start + channel) * to.channel] =
                        block[(first + point) * from.point + channel * from.channel];
                }
            }
        }
    }
}

/// Copies a few numbers. A vector's worth is moved as such: calling for it would take longer.
fn copy<T: Real>(from: &[T], to: &mut [T]) {
    if let (Ok(from), Ok(to)) = (<&[T; 16]>::try_from(from), <&mut [T; 16]>::try_from(&mut *to)) {
        *to = *from;
    } else if let (Ok(from), Ok(to)) =
        (<&[T; 8]>::try_from(from), <&mut [T; 8]>::try_from(&mut *to))
    {
        *to = *from;
    } else {
        to.copy_from_slice(from);
    }
}
