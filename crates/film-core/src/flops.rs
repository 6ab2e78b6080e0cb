//! Operation counts, itemised.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::parameter::Parameter;

/// What a module costs, operation by operation.
///
/// The convention: a multiply-add is 2 FLOPs, biases are not counted, GELU and sine are 1 FLOP per
/// element, softmax 3. A MAC is one multiply-add of a matrix product or weighted sum; elementwise work has none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flops {
    items: Vec<Item>,
    total: u64,
    macs: u64,
    parameters: u64,
}

/// One operation's share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// The operation, by the name of its parameters where it has some.
    pub name: String,
    /// The formula's factors: a constant first, then sizes by name.
    pub factors: Vec<Factor>,
    /// Floating-point operations: the product of the factors, rounded down.
    pub flops: u64,
    /// Multiply-accumulates among them.
    pub macs: u64,
    /// Trainable numbers the operation reads.
    pub parameters: u64,
}

/// One factor of an [`Item`]'s formula.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Factor {
    /// What it is ("cond_dim"), or what the constant stands for ("multiply-add").
    pub name: String,
    /// Its value.
    pub value: u64,
    /// Whether the factor is the logarithm to base 2 of the value.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub log2: bool,
}

impl Flops {
    /// The convention in one line, to be shown wherever a count is.
    pub const CONVENTION: &str =
        "multiply-add 2 FLOPs (1 MAC); GELU, sine 1, softmax 3 per element; biases 0";

    /// Adds the items up.
    ///
    /// # Errors
    /// If a total overflows.
    pub fn new(items: Vec<Item>) -> Result<Self> {
        let sum = |what: &str, of: fn(&Item) -> u64| {
            items.iter().try_fold(0u64, |total, item| total.checked_add(of(item))).ok_or_else(
                || Error::Overflow { what: what.into(), detail: format!("{} items", items.len()) },
            )
        };
        let total = sum("the FLOP count", |item| item.flops)?;
        let macs = sum("the MAC count", |item| item.macs)?;
        let parameters = sum("the parameter count", |item| item.parameters)?;
        Ok(Self { items, total, macs, parameters })
    }

    /// The operations, in the order in which they run.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The items as part of a larger module.
    pub fn under(self, module: &str) -> impl Iterator<Item = Item> {
        let renamed = move |item: Item| Item { name: format!("{module}.{}", item.name), ..item };
        self.items.into_iter().map(renamed)
    }

    /// Floating-point operations in total.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Multiply-accumulates in total.
    pub fn macs(&self) -> u64 {
        self.macs
    }

    /// Trainable numbers in total, biases included.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }
}

impl Item {
    /// 2 FLOPs and 1 MAC for each element of the product of `sizes`.
    ///
    /// # Errors
    /// If the product overflows.
    pub fn multiply_adds(name: &str, sizes: &[(&str, usize)]) -> Result<Self> {
        let item = Self::count(name, ("multiply-add", 2), sizes)?;
        Ok(Self { macs: item.flops / 2, ..item })
    }

    /// `cost` FLOPs for each element of the product of `sizes`.
    ///
    /// # Errors
    /// If the product overflows.
    pub fn elementwise(name: &str, cost: usize, sizes: &[(&str, usize)]) -> Result<Self> {
        Self::count(name, ("per element", cost), sizes)
    }

    /// Fourier transforms of `channels` over axes of `lengths`, `points` in all: 5 FLOPs for each point and binary
    /// logarithm of a length, rounded down to an integer in the end.
    ///
    /// # Errors
    /// If the product overflows.
    pub(crate) fn transforms(
        name: &str,
        transforms: (&str, usize),
        channels: (&str, usize),
        lengths: &[usize],
        points: (&str, usize),
    ) -> Result<Self> {
        let cost = ("per point and logarithm", 5);
        let mut item = Self::count(name, cost, &[transforms, channels, points])?;
        let logarithms: f64 = lengths.iter().map(|&length| libm::log2(length as f64)).sum();
        let flops = (item.flops as f64 * logarithms).trunc();
        if flops >= u64::MAX as f64 {
            let what = format!("the FLOP count of {name}");
            return Err(Error::Overflow { what, detail: format!("{lengths:?}") });
        }
        item.flops = flops as u64;
        item.factors.push(Factor { name: "log2".into(), value: points.1 as u64, log2: true });
        Ok(item)
    }

    /// The same item, reading `parameters`.
    #[must_use]
    pub fn with_parameters(self, parameters: &[&Parameter]) -> Self {
        Self { parameters: parameters.iter().map(|parameter| parameter.count()).sum(), ..self }
    }

    fn count(name: &str, cost: (&str, usize), sizes: &[(&str, usize)]) -> Result<Self> {
        let factors: Vec<Factor> = std::iter::once(&cost)
            .chain(sizes)
            .map(|&(name, value)| Factor { name: name.into(), value: value as u64, log2: false })
            .collect();
        let flops =
            factors.iter().try_fold(1u64, |product, factor| product.checked_mul(factor.value));
        let flops = flops.ok_or_else(|| Error::Overflow {
            what: format!("the FLOP count of {name}"),
            detail: factors.iter().map(|f| f.value.to_string()).collect::<Vec<_>>().join(" · "),
        })?;
        Ok(Self { name: name.into(), factors, flops, macs: 0, parameters: 0 })
    }
}

impl std::fmt::Display for Item {
    /// The formula in numbers: "2·384·64". A transform's is rounded down to an integer.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, factor) in self.factors.iter().enumerate() {
            let dot = if index == 0 { "" } else { "·" };
            let function = if factor.log2 { "log₂" } else { "" };
            write!(f, "{dot}{function}{}", factor.value)?;
        }
        Ok(())
    }
}
