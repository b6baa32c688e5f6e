//! A metric's value at one moment, as text.

use std::fmt;

use crate::admin::java::{Double, to_four_places};

/// One line of `mntr`, without its prefix.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::admin) struct Reading {
    pub(in crate::admin) key: String,
    pub(in crate::admin) value: Value,
}

/// A value, by how it is printed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::admin) enum Value {
    /// A Java `long`.
    Whole(i64),
    /// A Java `double`.
    Real(f64),
    /// A mean: a double with four places.
    Mean(f64),
}

impl Value {
    pub(super) fn count(count: u64) -> Self {
        Self::Whole(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(super) fn size(count: usize) -> Self {
        Self::count(count as u64)
    }

    /// Half up, as `Math.round`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float's cast saturates, like Math.round"
    )]
    pub(super) fn rounded(value: f64) -> Self {
        Self::Whole((value + 0.5).floor() as i64)
    }

    /// Whole if it is.
    pub(super) fn of(value: f64) -> Self {
        if value.fract() == 0.0 {
            Self::rounded(value)
        } else {
            Self::Real(value)
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => value.fmt(f),
            Self::Real(value) => Double(*value).fmt(f),
            Self::Mean(value) => to_four_places(*value).fmt(f),
        }
    }
}
