//! Of the modulation itself, in γ, β and h.

use film_core::Film;

use super::{assert_gradients, sizes, var, weighted_squares};

#[test]
fn film_has_gradients_in_gamma_beta_and_h() {
    let mut cases = vec![
        (vec![2, 3], vec![2, 4, 5, 3]),
        (vec![2, 3], vec![1, 4, 3]),
        (vec![1, 3], vec![2, 4, 3]),
        (vec![3], vec![2, 3]),
        (vec![2, 2, 3], vec![2, 1, 4, 3]),
    ];
    cases.extend((0..6).map(|seed| {
        let [batch, rows, columns, width] = sizes(seed, 4);
        (vec![batch, width], vec![batch, rows, columns, width])
    }));
    for (pair, h) in cases {
        let [gamma, beta, h] = [var("gamma", &pair), var("beta", &pair), var("h", &h)];
        let film = Film::new(gamma.1.as_tensor().clone(), beta.1.as_tensor().clone()).unwrap();
        let hidden = h.1.as_tensor().clone();
        assert_gradients(&[gamma, beta, h], || weighted_squares(&film.apply(&hidden).unwrap()));
    }
}
