//! When an instance counts as well: decided by the results of checks, one after the other.

/// How many checks in a row it takes to think otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones, before who was unwell is well again.
    pub rise: u32,
    /// Bad ones, before who was well is unwell.
    pub fall: u32,
}

/// What is thought of an instance.
///
/// Nothing is known before the first good one, which is believed at once: who is being started is not kept waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    thresholds: Thresholds,
    /// None before the first good check.
    is_well: Option<bool>,
    /// Checks in a row that speak against `is_well`.
    against: u32,
}

impl Health {
    /// No check so far.
    #[must_use]
    pub const fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            is_well: None,
            against: 0,
        }
    }

    /// Whether there was no good check so far.
    #[must_use]
    pub const fn is_starting(&self) -> bool {
        self.is_well.is_none()
    }

    /// Takes the result of a check, and says whether the instance counts as well now.
    pub fn note(&mut self, is_good: bool) -> bool {
        let Some(is_well) = self.is_well else {
            self.is_well = is_good.then_some(true);
            return is_good;
        };
        if is_good == is_well {
            self.against = 0;
            return is_well;
        }
        self.against += 1;
        let needed = if is_well {
            self.thresholds.fall
        } else {
            self.thresholds.rise
        };
        if self.against < needed {
            return is_well;
        }
        self.against = 0;
        self.is_well = Some(is_good);
        is_good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_several_checks_to_think_otherwise() {
        // Rise, fall, results of checks, what is thought after each.
        for (rise, fall, checks, thought) in [
            (2, 3, "+---++", "+++--+"),
            (2, 3, "+--+--", "++++++"),
            (2, 3, "--+-+-", "--++++"),
            (2, 3, "+---+-+-+", "+++------"),
            (2, 3, "+---+-++", "+++----+"),
            (1, 1, "-+-+", "-+-+"),
            (0, 0, "+-+", "+-+"),
        ] {
            let thresholds = Thresholds { rise, fall };
            let mut health = Health::new(thresholds);
            let told: String = checks
                .chars()
                .map(|check| if health.note(check == '+') { '+' } else { '-' })
                .collect();
            assert_eq!(told, thought, "{checks}");
        }
    }
}
