//! One line of `/proc/PID/stat`.

use crate::kernel::text;

/// Set in `flags` of the kernel's own threads.
const PF_KTHREAD: u64 = 0x0020_0000;

/// The fields in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat<'a> {
    /// The short name, at most 15 bytes; any bytes.
    pub command: &'a [u8],
    /// One letter, as `R`.
    pub state: u8,
    pub kernel_thread: bool,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub user_ticks: u64,
    pub system_ticks: u64,
    pub threads: u64,
    /// Start in ticks since the boot: with the pid it names a process.
    pub start_ticks: u64,
    pub virtual_bytes: u64,
    pub resident_pages: u64,
}

impl<'a> Stat<'a> {
    /// `None` when the line is short or a field in use is no number.
    pub(crate) fn parse(content: &'a [u8]) -> Option<Self> {
        // The name may itself hold blanks and parentheses: only the last one closes it.
        let open = content.iter().position(|byte| *byte == b'(')?;
        let close = content.iter().rposition(|byte| *byte == b')')?;
        let command = content.get(open + 1..close)?;
        let mut fields = text::fields(&content[close + 1..]);
        let state = *fields.next()?.first()?;
        let mut number = |skip: usize| fields.nth(skip).and_then(text::number);
        // Field numbers as in proc(5); the state is the third.
        let flags = number(5)?; // 9
        let minor_faults = number(0)?; // 10
        let major_faults = number(1)?; // 12
        let user_ticks = number(1)?; // 14
        let system_ticks = number(0)?; // 15
        let threads = number(4)?; // 20
        let start_ticks = number(1)?; // 22
        let virtual_bytes = number(0)?; // 23
        let resident_pages = number(0)?; // 24
        Some(Self {
            command,
            state,
            kernel_thread: flags & PF_KTHREAD != 0,
            minor_faults,
            major_faults,
            user_ticks,
            system_ticks,
            threads,
            start_ticks,
            virtual_bytes,
            resident_pages,
        })
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.resident_pages.saturating_mul(rustix::param::page_size() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_and_blanks_are_read() {
        let line = b"42 (a) b (c)) S 1 42 42 0 -1 4194560 10 11 12 13 140 150 0 0 20 0 3 0 777 8192 5 1844 1 1";
        let stat = Stat::parse(line).expect("well formed");
        assert_eq!(stat.command, b"a) b (c)");
        assert_eq!((stat.state, stat.kernel_thread, stat.threads), (b'S', false, 3));
        assert_eq!((stat.minor_faults, stat.major_faults), (10, 12));
        assert_eq!((stat.user_ticks, stat.system_ticks), (140, 150));
        assert_eq!((stat.start_ticks, stat.virtual_bytes, stat.resident_pages), (777, 8192, 5));
    }

    #[test]
    fn anything_shorter_is_refused() {
        let line = b"42 (a) S 1 42 42 0 -1 2097216 10 11 12 13 140 150 0 0 20 0 3 0 777 8192 5";
        assert!(Stat::parse(line).is_some_and(|stat| stat.kernel_thread));
        for len in 0..line.len() - 1 {
            assert_eq!(Stat::parse(&line[..len]), None, "{len}");
        }
        assert_eq!(Stat::parse(b"1 )a( S 1 1 1"), None);
    }
}
