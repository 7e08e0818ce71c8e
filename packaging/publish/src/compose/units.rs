//! Sizes, durations and CPU counts as Compose writes them.

/// `512`, `512b`, `64k`, `512m`, `1gb`, `1.5g`, `4GiB`: bytes. All units are powers of 1024.
pub fn bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let shift = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let scaled = decimal(&text[..end], 1_i128 << shift)?;
    i64::try_from(scaled).ok()
}

/// `1h5m30s20ms`, `1.5s`, `20us`: milliseconds, rounded up so that no wait becomes none.
pub fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(0);
    }
    let mut nanos = 0_i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return None,
        };
        nanos = nanos.checked_add(decimal(number, scale)?)?;
        rest = after;
    }
    u64::try_from((nanos + 999_999) / 1_000_000).ok()
}

/// `1.5`: billionths of a CPU.
pub fn nano_cpus(text: &str) -> Option<i64> {
    i64::try_from(decimal(text.trim(), 1_000_000_000)?).ok()
}

/// A decimal number times `scale`, exact until the last digit is cut off.
fn decimal(text: &str, scale: i128) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.len() <= 18 && t.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) {
        return None;
    }
    let number = |t: &str| {
        if t.is_empty() {
            Some(0)
        } else {
            t.parse::<i128>().ok()
        }
    };
    let power = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part = number(part)?.checked_mul(scale)? / power;
    number(whole)?.checked_mul(scale)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_compose_reads_them() {
        for (text, value) in [
            ("0", 0),
            ("512", 512),
            ("64k", 65536),
            ("512m", 512 << 20),
            ("1gb", 1 << 30),
            ("1.5g", 3 << 29),
            ("4GiB", 4 << 30),
            ("20 GB", 20 << 30),
        ] {
            assert_eq!(bytes(text), Some(value), "{text}");
        }
        for (text, value) in [
            ("1h5m30s20us", 3_930_001),
            ("1.5s", 1500),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("0", 0),
            ("0s", 0),
            ("1ns", 1),
        ] {
            assert_eq!(duration_ms(text), Some(value), "{text}");
        }
        assert_eq!(nano_cpus("1.5"), Some(1_500_000_000));
        assert_eq!(nano_cpus("0.001"), Some(1_000_000));
        for bad in ["", "x", "-1", "1x", "1..2", "."] {
            assert_eq!(
                (bytes(bad), duration_ms(bad), nano_cpus(bad)),
                (None, None, None),
                "{bad}"
            );
        }
        assert_eq!(duration_ms("30"), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_them_panic(text in "[0-9.a-zµ -]{0,50}") {
            let _ = (bytes(&text), duration_ms(&text), nano_cpus(&text));
        }
    }
}
