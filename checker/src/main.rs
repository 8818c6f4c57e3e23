//! Parse, log, run, exit code; everything else is in the library.

use std::env;
use std::process::ExitCode;

use checker::config::{self, Command, Config, PROGRAM};
use checker::{command, crash, judge, selftest};
use common::cli::{self, EXIT_FAILURE, EXIT_USAGE};
use common::config::secret;
use common::health::{self, HEALTH_TIMEOUT};
use common::logging;
use common::text::io_error;

fn main() -> ExitCode {
    match config::parse(env::args_os().skip(1), |name| env::var_os(name), secret::read_file) {
        Ok(Command::Serve(config)) => serve(&config),
        Ok(Command::Run(command)) => command::run(command),
        Ok(Command::Crash(command)) => crash::run(&command),
        Ok(Command::SelfTest(command)) => selftest::run(&command),
        Ok(Command::History(history)) => judge::judge(&history),
        Ok(Command::Health(target)) => {
            cli::exit(health::check(&target, HEALTH_TIMEOUT), EXIT_FAILURE)
        }
        Ok(Command::Help) => cli::print(&PROGRAM.help()),
        Ok(Command::Version) => cli::print(&format!("{}\n", PROGRAM.version_line())),
        Err(error) => cli::exit(Err(error), EXIT_USAGE),
    }
}

fn serve(config: &Config) -> ExitCode {
    match logging::init(config.log_level) {
        Ok(_guard) => cli::exit(checker::run(config), EXIT_FAILURE),
        Err(error) => cli::exit(Err(format!("cannot log: {}", io_error(&error))), EXIT_FAILURE),
    }
}
