//! How large an arena may be, and how it is mapped where address space is short.

use crate::error::ArenaError;
use crate::layout::{EXTENT, MAX_SIZE, MIN_SIZE, WINDOW};
use procession_sys::limits;

/// Bytes that the arena's file shall have: `PROCESSION_ARENA` or 64 GiB, within `RLIMIT_FSIZE`
/// (over which the kernel would end the process with SIGXFSZ).
pub fn choose() -> Result<u64, ArenaError> {
    let wanted = match std::env::var("PROCESSION_ARENA") {
        Ok(text) => parse(&text).ok_or_else(|| {
            ArenaError::NoMemory(format!(
                "PROCESSION_ARENA={text:?} is no size; say for example 512M or 8G"
            ))
        })?,
        Err(_) => MAX_SIZE,
    };
    fit(wanted, limits::file_size())
}

fn fit(wanted: u64, file_limit: u64) -> Result<u64, ArenaError> {
    let size = wanted.min(file_limit).min(MAX_SIZE) / EXTENT * EXTENT;
    if size >= MIN_SIZE {
        return Ok(size);
    }
    let reason = if wanted < MIN_SIZE {
        "PROCESSION_ARENA"
    } else {
        "RLIMIT_FSIZE (ulimit -f)"
    };
    Err(ArenaError::NoMemory(format!(
        "{reason} allows {} bytes, an arena needs {MIN_SIZE} or more",
        wanted.min(file_limit)
    )))
}

/// `512M`, `8G`, `1T`, `1048576`: bytes.
fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_suffix(['B', 'b']).unwrap_or(text);
    let (digits, shift) = match text.chars().last()?.to_ascii_uppercase() {
        'K' => (&text[..text.len() - 1], 10),
        'M' => (&text[..text.len() - 1], 20),
        'G' => (&text[..text.len() - 1], 30),
        'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Smallest window in bytes: with less the program could not live either.
pub const LEAST_WINDOW: u64 = 8 << 20;
/// Address space that a mapping leaves to the program, in bytes.
const ROOM: u64 = 16 << 20;

/// How many bytes of a file of `size` to map at once: all of it, or, where `RLIMIT_AS` is in
/// the way, windows that leave the program three quarters of what is left.
pub fn window(size: u64) -> Result<u64, ArenaError> {
    window_within(size, limits::address_space_left())
}

fn window_within(size: u64, left: u64) -> Result<u64, ArenaError> {
    if left / 4 >= size {
        return Ok(size);
    }
    let mut window = WINDOW.min(size.next_power_of_two());
    while window > left / 4 {
        window /= 2;
        if window < LEAST_WINDOW {
            return Err(too_little(left));
        }
    }
    Ok(window)
}

/// Refuses a mapping that would leave the program without address space.
pub fn check_room(length: u64) -> Result<(), ArenaError> {
    let left = limits::address_space_left();
    if left < length.saturating_add(ROOM) {
        Err(too_little(left))
    } else {
        Ok(())
    }
}

fn too_little(left: u64) -> ArenaError {
    ArenaError::NoMemory(format!(
        "RLIMIT_AS (ulimit -v) leaves {left} bytes of address space"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse("64M"), Some(64 << 20));
        assert_eq!(parse(" 8 gb"), Some(8 << 30));
        assert_eq!(parse("1048576"), Some(1 << 20));
        assert_eq!(parse("17179869185G"), None, "more than 64 bits");
        assert_eq!(parse("many"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn limits_shrink_the_file_and_refuse_too_little() {
        assert_eq!(fit(MAX_SIZE, u64::MAX), Ok(MAX_SIZE));
        assert_eq!(fit(MAX_SIZE, (1 << 30) + 5), Ok(1 << 30));
        assert!(
            fit(MAX_SIZE, 1 << 20)
                .unwrap_err()
                .to_string()
                .contains("RLIMIT_FSIZE")
        );
        assert!(
            fit(1 << 20, u64::MAX)
                .unwrap_err()
                .to_string()
                .contains("PROCESSION_ARENA")
        );
    }

    #[test]
    fn windows_shrink_with_the_address_space() {
        assert_eq!(window_within(MAX_SIZE, u64::MAX), Ok(MAX_SIZE));
        assert_eq!(window_within(MAX_SIZE, 8 << 30), Ok(WINDOW));
        assert_eq!(window_within(MAX_SIZE, 300 << 20), Ok(64 << 20));
        assert!(window_within(MAX_SIZE, 20 << 20).is_err());
    }
}
