//! What the mains of both programs share: exit codes, and one line for what went wrong.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::text::io_error;

/// Wrong flag, argument or setting (`EX_USAGE` of BSD's sysexits).
pub const EXIT_USAGE: u8 = 64;
/// Anything else that kept the program from doing what it was asked.
pub const EXIT_FAILURE: u8 = 1;

/// Writes `text` to the standard output. A reader that has gone (`kv --help | head -1`) is no
/// failure.
pub fn print(text: &str) -> ExitCode {
    print_to(io::stdout().lock(), text)
}

/// Exit code 0, or `error: …` on one line and the given code.
pub fn exit<E: Display>(result: Result<(), E>, failure: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to hear of a standard error that cannot be written.
            let _ = writeln!(io::stderr().lock(), "error: {error}");
            failure.into()
        }
    }
}

fn print_to(mut output: impl Write, text: &str) -> ExitCode {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            exit(Err(format!("standard output: {}", io_error(&error))), EXIT_FAILURE)
        }
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is() {
        let code = |kind| format!("{:?}", print_to(Refusing(kind), "text"));
        assert_eq!(code(ErrorKind::BrokenPipe), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(ErrorKind::StorageFull), format!("{:?}", ExitCode::from(EXIT_FAILURE)));
    }
}
