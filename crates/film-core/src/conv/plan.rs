//! Which way is faster on the CPU, by a cost model.
//!
//! The constants are fitted to the times of both ways over zero, causal and circular axes in one to three dimensions, by
//! `cargo bench -p film-core --bench conv`, whose kernels are as long as their axes take: with AVX2's vectors and with
//! AVX-512's, of which the direct sum alone makes use. With short kernels the slower way may be chosen where it takes up
//! to 1.4 times as long. Both ways are spread over the threads alike, so only the ratio counts.

use super::Algorithm;
use super::axis::Axis;
use super::direct;
use super::fft;

/// Nanoseconds that the direct sum takes, in one channel.
struct Direct {
    /// For a multiplication and addition.
    product: f64,
    /// To begin a row of the input on a tile of outputs.
    tile_row: f64,
}

/// With vectors of 32 bytes and less.
const AVX2: Direct = Direct { product: 0.0137, tile_row: 3.12 };
/// With vectors of 64 bytes.
const AVX512: Direct = Direct { product: 0.00784, tile_row: 2.1 };

/// Nanoseconds for a point of a real transform, along the last axis.
const REAL_POINT: f64 = 0.762;
/// Nanoseconds to begin a real transform.
const REAL_ROW: f64 = 20.7;
/// Nanoseconds for a point of a complex transform, along another axis.
const COMPLEX_POINT: f64 = 1.49;

/// The vectors of the direct sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vectors {
    /// Channels of a block.
    pub(super) lanes: usize,
    /// Bytes.
    pub(super) bytes: usize,
}

/// The faster of the direct sum and the transforms.
pub(super) fn choose(axes: &[Axis], channels: usize, vectors: Vectors) -> Algorithm {
    let cost = |algorithm| cost(axes, algorithm, channels, vectors);
    let ways = [Algorithm::Direct, Algorithm::Fft];
    if cost(ways[0]) <= cost(ways[1]) { ways[0] } else { ways[1] }
}

/// Estimated nanoseconds that the channels of a sample take one thread.
pub(super) fn cost(axes: &[Axis], algorithm: Algorithm, channels: usize, vectors: Vectors) -> f64 {
    let Some((last, outer)) = axes.split_last() else { return 0.0 };
    if algorithm == Algorithm::Direct {
        let rows: f64 = outer.iter().map(|axis| axis.reached(1)).product();
        let tile = direct::tile(last.output);
        let tiles = last.output.div_ceil(tile) as f64;
        let Direct { product, tile_row } = if vectors.bytes < 64 { AVX2 } else { AVX512 };
        let row = product * tile as f64 * last.reached(tile) + tile_row * tiles;
        return rows * row * channels.next_multiple_of(vectors.lanes) as f64;
    }
    let lengths: Vec<usize> = axes.iter().map(fft::length).collect();
    let all = |of: fn(&Axis) -> usize| outer.iter().map(|axis| of(axis) as f64).product::<f64>();
    // Signal, kernel and back.
    let rows =
        all(|axis| axis.input.len()) + all(|axis| axis.kernel.len()) + all(|axis| axis.output);
    let weighted = |length: usize| length as f64 * fft::weight(length);
    let mut sum =
        rows * (REAL_ROW + REAL_POINT * lengths.last().map_or(0.0, |&length| weighted(length)));
    let points: f64 = lengths.iter().map(|&length| length as f64).product::<f64>() / 2.0;
    for &length in &lengths[..outer.len()] {
        sum += 3.0 * COMPLEX_POINT * points * fft::weight(length);
    }
    sum * channels as f64
}

#[cfg(test)]
mod tests {
    use super::super::axis::{Boundary, Kind};
    use super::*;

    fn chosen(axes: &[(Boundary, usize, usize)], channels: usize) -> Algorithm {
        let axes: Vec<Axis> = axes
            .iter()
            .map(|&(boundary, length, points)| Axis::new(Kind::Output, boundary, length, points))
            .collect();
        choose(&axes, channels, Vectors { lanes: 8, bytes: 32 })
    }

    #[test]
    fn short_axes_are_summed_and_long_ones_transformed() {
        use Algorithm::{Direct, Fft};
        use Boundary::{Causal, Circular, Zero};
        // Each at least half as fast again one way as the other, as measured.
        for (axes, expected) in [
            (vec![(Zero, 64, 127)], Direct),
            (vec![(Zero, 1024, 2047)], Fft),
            (vec![(Zero, 4096, 63)], Direct),
            (vec![(Causal, 256, 256)], Direct),
            (vec![(Causal, 2048, 2048)], Fft),
            (vec![(Circular, 127, 127)], Direct),
            (vec![(Circular, 1021, 1021)], Fft),
            (vec![(Zero, 15, 29), (Zero, 14, 27)], Direct),
            (vec![(Zero, 48, 95), (Zero, 48, 95)], Fft),
            (vec![(Zero, 128, 7), (Zero, 128, 7)], Direct),
            (vec![(Circular, 13, 13), (Circular, 13, 13)], Direct),
            (vec![(Circular, 47, 47), (Circular, 47, 47)], Fft),
            (vec![(Zero, 7, 13); 3], Direct),
            (vec![(Zero, 20, 39); 3], Fft),
            (vec![(Circular, 5, 5); 3], Direct),
            (vec![(Circular, 12, 11); 3], Fft),
        ] {
            assert_eq!(chosen(&axes, 16), expected, "{axes:?}");
        }
        // A lone channel takes the direct sum as long as eight.
        let axes = [(Zero, 20, 39), (Zero, 20, 39)];
        assert_eq!([chosen(&axes, 16), chosen(&axes, 1)], [Direct, Fft]);
    }
}
