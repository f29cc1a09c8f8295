//! Signals: those that this program gets and passes on, and their names.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use stowd_core::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Failure, Outcome};

/// How long a daemon may take for one step of a program that was asked to end.
const ENOUGH: Duration = Duration::from_secs(2);

/// Window change.
pub(crate) const SIGWINCH: i32 = 28;
/// The one that asks a program to end.
pub(crate) const SIGTERM: u32 = 15;
/// The one that cannot be caught.
pub(crate) const SIGKILL: u32 = 9;
/// What a writer gets whose reader is gone.
pub(crate) const SIGPIPE: i32 = 13;

/// SIGHUP, SIGINT, SIGQUIT, SIGTERM: those that ask a program to end.
const ENDING: [i32; 4] = [1, 2, 3, 15];
/// SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH: those that tell it something.
const TELLING: [i32; 4] = [10, 12, 14, SIGWINCH];

/// The signals that come to this program.
pub(crate) struct Signals {
    caught: Vec<(i32, Signal)>,
    /// Came while only those that ask to end were listened to.
    waiting: VecDeque<i32>,
}

/// The signal that asked to end while a step ran, if one did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked(pub(crate) Option<i32>);

impl Asked {
    /// Ends the command if so.
    pub(crate) fn go_on(self) -> Outcome {
        self.0.map_or(Ok(()), |number| Err(interrupted(number)))
    }
}

impl Signals {
    /// Begins to catch them; until the program's end they do nothing else any more.
    pub(crate) fn catch() -> Result<Self> {
        let mut all = Vec::with_capacity(ENDING.len() + TELLING.len());
        for number in ENDING.into_iter().chain(TELLING) {
            let caught = signal(SignalKind::from_raw(number))
                .map_err(|error| Error::io(format_args!("catch signal {number}"), &error))?;
            all.push((number, caught));
        }
        Ok(Self { caught: all, waiting: VecDeque::new() })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> i32 {
        match self.waiting.pop_front() {
            Some(number) => number,
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> i32 {
        poll_fn(|cx| {
            for (number, signal) in &mut self.caught {
                if signal.poll_recv(cx).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }

    async fn next_ending(&mut self) -> i32 {
        loop {
            let number = self.receive().await;
            if ends(number) {
                return number;
            }
            self.waiting.push_back(number);
        }
    }

    /// Runs something that can be broken off without a trace, until a signal asks to end.
    pub(crate) async fn until_asked<T>(
        &mut self,
        step: impl Future<Output = Result<T>>,
    ) -> Outcome<T> {
        tokio::select! {
            done = step => Ok(done?),
            number = self.next_ending() => Err(interrupted(number)),
        }
    }

    /// Runs a step to its end, since what it asks of the daemon cannot be called back, and says
    /// whether meanwhile a signal asked to end. Who still asks when the daemon has had time enough
    /// does not have to wait; what the step has made by then is left.
    pub(crate) async fn through<T>(
        &mut self,
        step: impl Future<Output = Result<T>>,
    ) -> Outcome<(T, Asked)> {
        let mut step = std::pin::pin!(step);
        let first = tokio::select! {
            done = &mut step => return Ok((done?, Asked(None))),
            number = self.next_ending() => number,
        };
        let since = Instant::now();
        loop {
            tokio::select! {
                done = &mut step => return Ok((done?, Asked(Some(first)))),
                number = self.next_ending() => if since.elapsed() > ENOUGH {
                    return Err(interrupted(number));
                },
            }
        }
    }
}

/// Says whether a signal asks a program to end.
pub(crate) fn ends(number: i32) -> bool {
    ENDING.contains(&number)
}

/// How a program ends that a signal has ended.
pub(crate) fn interrupted(number: i32) -> Failure {
    Failure::Exit(128_u8.saturating_add(u8::try_from(number).unwrap_or(u8::MAX)))
}

/// Reads a signal as people write it: `KILL`, `SIGKILL`, `9`, `RTMIN+3`.
pub(crate) fn parse(text: &str) -> Result<u32> {
    let invalid = || {
        Error::unknown(format_args!("invalid signal: {text}"))
            .hint("write a name or a number, such as SIGTERM or 15")
    };
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=LAST).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return Ok(at as u32 + 1);
    }
    let realtime = |base: u32, rest: &str, sign: char| -> Option<u32> {
        let offset = match rest.strip_prefix(sign) {
            Some(digits) => digits.parse().ok()?,
            None if rest.is_empty() => 0,
            None => return None,
        };
        let number =
            if sign == '+' { base.checked_add(offset)? } else { base.checked_sub(offset)? };
        (FIRST_REALTIME..=LAST).contains(&number).then_some(number)
    };
    let number = match (name, name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        ("CLD", ..) => Some(17),
        ("IOT", ..) => Some(6),
        ("POLL", ..) => Some(29),
        (_, Some(rest), _) => realtime(FIRST_REALTIME, rest, '+'),
        (.., Some(rest)) => realtime(LAST, rest, '-'),
        _ => None,
    };
    number.ok_or_else(invalid)
}

/// The first that programs may use as they like: the C library keeps two before it.
const FIRST_REALTIME: u32 = 34;
const LAST: u32 = 64;

/// Linux's names, from 1 on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in
            [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("SYS", 31), ("RTMIN+3", 37)]
        {
            assert_eq!(parse(text).ok(), Some(number), "{text}");
        }
        assert_eq!(parse("SIGRTMAX-1").ok(), Some(63));
        for text in ["", "0", "65", "NOPE", "SIG", "RTMIN-1", "RTMAX+1", "RTMIN+99", "-9"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
