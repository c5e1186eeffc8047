//! Times as nginx writes them.

use std::time::Duration;

/// Reads a time such as `10m`, `1h 30m` or `500ms`; a number without a unit is seconds.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let letters = after.find(|it: char| !it.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let ms_each = match unit {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "M" => 30 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(Duration::from_millis(number.checked_mul(ms_each)?))?;
        rest = after.trim_start();
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let seconds = |text| parse(text).map(|it| it.as_secs());
        assert_eq!(seconds("1d"), Some(86_400));
        assert_eq!(seconds("1h 30m"), Some(5400));
        assert_eq!(seconds("1h30m10"), Some(5410));
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        for text in
            ["", "d", "-1", "1x", "1.5h", "99999999999999999999", "1 h", "18446744073709551615y"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
