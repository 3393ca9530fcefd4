//! A number as its digits, rounded and grouped: what all formats are made of.

use serde_json::Number;

use crate::mapping::number::Decimal;

/// Most digits that a format may ask for, or a number may have when its exponent is written out.
pub(super) const MAX_DIGITS: usize = 1_000_000;

/// ±0.DIGITS × 10^scale; zero has no digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digits {
    pub negative: bool,
    pub digits: Vec<u8>,
    pub scale: i64,
}

impl Digits {
    pub fn of(number: &Number) -> Digits {
        let (negative, digits, scale) = Decimal::of(number).into_parts();
        Digits { negative, digits: digits.into_bytes(), scale }
    }

    pub fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// Keeps `count` digits, of which the last is rounded, half away from zero.
    pub fn round(&mut self, count: i64) {
        let Some(count) = usize::try_from(count).ok().filter(|count| *count < self.digits.len()) else {
            if count < 0 {
                *self = Digits { negative: false, digits: Vec::new(), scale: 0 };
            }
            return;
        };
        let up = self.digits[count] >= b'5';
        self.digits.truncate(count);
        if up {
            while self.digits.last() == Some(&b'9') {
                self.digits.pop();
            }
            match self.digits.last_mut() {
                Some(last) => *last += 1,
                None => {
                    self.digits.push(b'1');
                    self.scale += 1;
                }
            }
        }
        while self.digits.last() == Some(&b'0') {
            self.digits.pop();
        }
        if self.is_zero() {
            *self = Digits { negative: false, digits: Vec::new(), scale: 0 };
        }
    }

    /// The digit at `i` places behind the first of them; zeros before and behind.
    pub fn at(&self, i: i64) -> char {
        usize::try_from(i).ok().and_then(|i| self.digits.get(i)).map_or('0', |digit| char::from(*digit))
    }

    /// The digits before the point, at least one.
    pub fn whole(&self) -> String {
        if self.scale <= 0 { "0".to_owned() } else { (0..self.scale).map(|i| self.at(i)).collect() }
    }

    /// `places` digits behind the point.
    pub fn fraction(&self, places: usize) -> String {
        let places = i64::try_from(places).unwrap_or(i64::MAX);
        (self.scale..self.scale.saturating_add(places)).map(|i| self.at(i)).collect()
    }
}

/// The whole part with a separator between groups: `1,234,567`; sizes from the point outward, the last goes on.
pub(super) fn grouped(whole: &str, separator: &str, sizes: &[usize]) -> String {
    let mut cuts = Vec::new();
    let mut left = whole.len();
    for i in 0.. {
        let size = sizes.get(i).or(sizes.last()).copied().unwrap_or(0);
        if size == 0 || left <= size {
            break;
        }
        left -= size;
        cuts.push(left);
    }
    let mut out = String::with_capacity(whole.len() + cuts.len() * separator.len());
    let mut start = 0;
    for cut in cuts.into_iter().rev() {
        out.push_str(&whole[start..cut]);
        out.push_str(separator);
        start = cut;
    }
    out + &whole[start..]
}
