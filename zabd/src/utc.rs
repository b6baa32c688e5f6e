//! Dates in UTC.

/// The date so many days after 1970-01-01, in the Gregorian calendar, counted from a first of March.
pub(crate) const fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as u64;
    (year, month, day)
}

/// A time in milliseconds since 1970 as `2026-01-02T03:04:05.678Z`; those before, or after the year 9999, as the number.
pub(crate) fn text(ms: i64) -> String {
    let Ok(since) = u64::try_from(ms) else {
        return ms.to_string();
    };
    if since > 253_402_300_799_999 {
        return ms.to_string();
    }
    let (second, ms) = (since / 1000, since % 1000);
    let (year, month, day) = date_of(second / 86_400);
    let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "253402300800000"),
            (-1, "-1"),
        ] {
            assert_eq!(text(ms), expected);
        }
    }
}
