//! RFC 3339 time stamps and the ages that kubectl prints, without a calendar library.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// `seconds` since 1970 as `2026-11-22T23:05:00Z`.
pub fn stamp(seconds: u64) -> String {
    let (year, month, day) = civil((seconds / 86_400) as i64);
    let rest = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Now, as a stamp.
pub fn now_stamp() -> String {
    stamp(now())
}

/// Now with nanoseconds, as the trigger time of a slice is told.
pub fn precise_stamp() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let whole = stamp(since.as_secs());
    format!("{}.{:09}Z", whole.trim_end_matches('Z'), since.subsec_nanos())
}

/// Seconds since 1970 of a stamp; fractions and offsets other than `Z` are not read.
pub fn parse(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    u64::try_from(days * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?).ok()
}

/// The age since a stamp as kubectl prints it: two units at most.
pub fn age(since: &str) -> String {
    parse(since).map_or_else(|| "<unknown>".into(), |then| duration(now().saturating_sub(then)))
}

fn duration(seconds: u64) -> String {
    let (m, h, d) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |a: u64, ua: char, b: u64, ub: char| {
        if b == 0 { format!("{a}{ua}") } else { format!("{a}{ua}{b}{ub}") }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(m, 'm', seconds % 60, 's'),
        600..10_800 => format!("{m}m"),
        10_800..28_800 => pair(h, 'h', m % 60, 'm'),
        28_800..172_800 => format!("{h}h"),
        172_800..691_200 => pair(d, 'd', h % 24, 'h'),
        _ => format!("{d}d"),
    }
}

/// Year, month and day of a day number since 1970, in 400-year eras that begin in March (so that the leap day is last).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let in_era = shifted.rem_euclid(146_097);
    let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * in_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, in_year - (153 * march + 2) / 5 + 1)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, march) = (year.div_euclid(400), if month > 2 { month - 3 } else { month + 9 });
    let (in_era, in_year) = (year.rem_euclid(400), (153 * march + 2) / 5 + day - 1);
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_survive_the_round_trip_over_leap_days() {
        for seconds in [0, 951_782_400, 1_709_164_799, 1_709_164_800, 1_795_388_731, 4_102_444_800] {
            assert_eq!(parse(&stamp(seconds)), Some(seconds));
        }
        assert_eq!(stamp(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(stamp(1_795_388_731), "2026-11-22T23:05:31Z");
    }

    #[test]
    fn ages_have_kubectls_precision() {
        let want = [
            (5, "5s"),
            (119, "119s"),
            (150, "2m30s"),
            (700, "11m"),
            (10_860, "3h1m"),
            (90_000, "25h"),
            (864_000, "10d"),
        ];
        for (seconds, text) in want {
            assert_eq!(duration(seconds), text);
        }
    }
}
