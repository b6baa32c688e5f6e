//! Numbers and dates as Java prints them.

use std::fmt;

/// A double as `Double.toString` has it: `0.0`, `2.0588`, `1.0E-4`, `1.795E9`, `NaN`.
///
/// Digits are the shortest that tell the value from its neighbours, as in Java since JDK 19; older ones sometimes
/// print one more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Double(pub(super) f64);

impl fmt::Display for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            return f.write_str("NaN");
        }
        if value.is_infinite() {
            return f.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
        }
        if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
            return write!(f, "{value:?}");
        }
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        write!(f, "{digits}{point}E{exponent}")
    }
}

/// A mean as `mntr` shows it: with four decimal places, halves rounded up.
///
/// ZooKeeper: `AvgMinMaxCounter.getAvg`.
pub(super) fn to_four_places(mean: f64) -> Double {
    // Only multiples of 1/32 can lie exactly between two values of four places; there `format!` rounds to even.
    let is_maybe_half = (mean * 32.0).fract() == 0.0;
    let mean = if is_maybe_half { mean.next_up() } else { mean };
    Double(format!("{mean:.4}").parse().unwrap_or(mean))
}

/// A date and time in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CivilTime {
    year: i64,
    month: usize,
    day: i64,
    weekday: usize,
    second_of_day: i64,
}

impl CivilTime {
    /// Of seconds since 1970 UTC.
    pub(super) fn of_unix_seconds(seconds: i64) -> Self {
        let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years that begin in March end with the leap day: 719468 days from 0000-03-01 to 1970-01-01.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12;
        Self {
            year: era * 400 + year_of_era + i64::from(month < 2),
            month: usize::try_from(month).unwrap_or(0),
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0),
            second_of_day,
        }
    }

    /// As `2026-02-11 20:18`.
    pub(super) fn minutes(&self) -> String {
        let (hour, minute, _) = self.clock();
        let (year, month, day) = (self.year, self.month + 1, self.day);
        format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}")
    }

    fn clock(&self) -> (i64, i64, i64) {
        let second = self.second_of_day;
        (second / 3600, second / 60 % 60, second % 60)
    }
}

/// As `java.util.Date.toString` has it in UTC: `Fri Nov 20 12:07:17 UTC 2026`. Java shows local time instead, which
/// is the same thing on most servers.
impl fmt::Display for CivilTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = self.clock();
        let (weekday, month, day) = (
            WEEKDAYS[self.weekday % 7],
            MONTHS[self.month % 12],
            self.day,
        );
        write!(
            f,
            "{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {}",
            self.year
        )
    }
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The right-hand side is what `Double.toString` of JDK 17 prints.
    #[test]
    fn doubles_look_like_javas() {
        for (value, text) in [
            (0.0, "0.0"),
            (-1.0, "-1.0"),
            (2.0588, "2.0588"),
            (0.001, "0.001"),
            (0.0009, "9.0E-4"),
            (1.25e-5, "1.25E-5"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1.795e9, "1.795E9"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(Double(value).to_string(), text);
        }
    }

    #[test]
    fn means_have_four_places_and_halves_go_up() {
        for (total, count, text) in [
            (0.0, 1.0, "0.0"),
            (4.0, 124.0, "0.0323"),
            (7.0, 3.0, "2.3333"),
            (73.0, 64.0, "1.1406"),
            // 0.03125 and 0.21875 are halves exactly; to even, the former would be 0.0312.
            (1.0, 32.0, "0.0313"),
            (7.0, 32.0, "0.2188"),
            (1.0, 16.0, "0.0625"),
            (1.0, 20_000.0, "1.0E-4"),
            (21.0, 1.0, "21.0"),
        ] {
            assert_eq!(
                to_four_places(total / count).to_string(),
                text,
                "{total}/{count}"
            );
        }
    }

    #[test]
    fn dates_look_like_javas() {
        for (seconds, date, minutes) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970", "1970-01-01 00:00"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969", "1969-12-31 23:59"),
            (
                951_782_400,
                "Tue Feb 29 00:00:00 UTC 2000",
                "2000-02-29 00:00",
            ),
            (
                1_795_176_437,
                "Fri Nov 20 12:07:17 UTC 2026",
                "2026-11-20 12:07",
            ),
            (
                4_107_542_399,
                "Sun Feb 28 23:59:59 UTC 2100",
                "2100-02-28 23:59",
            ),
            (
                4_107_542_400,
                "Mon Mar 01 00:00:00 UTC 2100",
                "2100-03-01 00:00",
            ),
        ] {
            let time = CivilTime::of_unix_seconds(seconds);
            assert_eq!(time.to_string(), date);
            assert_eq!(time.minutes(), minutes);
        }
    }
}
