//! The end of a run: SIGTERM and SIGINT.
//!
//! The first signal is waited for and begins a graceful stop. A SIGINT after it, from somebody who
//! presses Ctrl-C again, ends the process at once with 130, as a shell would show it. A SIGTERM
//! after it changes nothing, for supervisors send it twice (to the process and to its group) and
//! mean it once. Handlers are installed for both, so that they also arrive as PID 1, for which the
//! kernel ignores signals that have none.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

/// The right to wait for the end. Make it first thing, before any thread starts.
#[derive(Debug)]
pub struct Shutdown {
    signals: Signals,
}

impl Shutdown {
    /// Installs the handlers.
    pub fn install() -> io::Result<Shutdown> {
        let signals = [SIGTERM, SIGINT];
        let is_stopping = Arc::new(AtomicBool::new(false));
        // In this order the first signal finds the flag clear, and a SIGINT after it finds it set.
        flag::register_conditional_shutdown(SIGINT, 128 + SIGINT, Arc::clone(&is_stopping))?;
        for signal in signals {
            flag::register(signal, Arc::clone(&is_stopping))?;
        }
        Ok(Shutdown { signals: Signals::new(signals)? })
    }

    /// Blocks until the first signal, also one that came before the call, and gives its name.
    pub fn wait(mut self) -> &'static str {
        self.signals.forever().next().and_then(signal_name).unwrap_or("signal")
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    use signal_hook::low_level::raise;

    use super::*;

    const CHILD: &str = "SHUTDOWN_TEST_SIGNALS";

    /// Raises `signals` in a process of their own, which waits for the first one if it can.
    #[track_caller]
    fn check(signals: &str, exit_code: i32) {
        let child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "shutdown::tests::the_first_is_waited_for_and_ctrl_c_after_it_ends_it",
            ])
            .env(CHILD, signals)
            .output()
            .unwrap();
        assert_eq!(child.status.code(), Some(exit_code), "{signals}: {child:?}");
    }

    #[test]
    fn the_first_is_waited_for_and_ctrl_c_after_it_ends_it() {
        if let Ok(signals) = env::var(CHILD) {
            let shutdown = Shutdown::install().unwrap();
            for name in signals.split(' ') {
                raise(if name == "SIGINT" { SIGINT } else { SIGTERM }).unwrap();
            }
            assert!(signals.contains(shutdown.wait()));
            return;
        }
        check("SIGTERM", 0);
        check("SIGINT", 0);
        check("SIGTERM SIGTERM", 0);
        check("SIGINT SIGTERM SIGTERM", 0);
        check("SIGINT SIGINT", 130);
        check("SIGTERM SIGINT", 130);
        check("SIGINT SIGTERM", 0);
    }
}
