//! The service as a child process. It dies with this value, and its whole process group with it,
//! so that a shell around the service hides nothing.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::text::io_error;
use http::Method;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::audit::call::Call;
use crate::audit::cancel::Cancel;
use crate::audit::session::{Session, Target};
use crate::config::CrashCommand;
use crate::report::quoted;

/// Lines that are kept of what the service says.
const LINES_MAX: usize = 10;
const LINE_BYTES_MAX: u64 = 1_000;
/// Between two questions whether the service is there.
const PAUSE: Duration = Duration::from_millis(10);
/// How long one question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// A running service.
pub(super) struct Child {
    command: Vec<OsString>,
    port: u16,
    process: std::process::Child,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Child {
    /// Starts it on a free port.
    pub(super) fn start(command: &[OsString]) -> Result<Child, String> {
        let listener = TcpListener::bind("127.0.0.1:0");
        let address = listener.and_then(|listener| listener.local_addr());
        let port = address.map_err(|error| format!("no port: {}", io_error(&error)))?.port();
        let said = Arc::default();
        let process = spawn(command, port, &said)?;
        Ok(Child { command: command.to_vec(), port, process, said })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// SIGKILL, to it and to all that it has started.
    pub(super) fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            // It may have died by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.wait();
    }

    /// Starts it again on the same port, and waits until it answers.
    pub(super) fn start_again(
        &mut self,
        target: &Arc<Target>,
        how: &CrashCommand,
    ) -> Result<(), String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.process = spawn(&self.command, self.port, &self.said)?;
        self.wait(target, how.start_timeout, &Cancel::default())
    }

    /// The same, once it answers.
    pub(super) fn until_it_answers(
        mut self,
        target: &Arc<Target>,
        timeout: Duration,
        cancel: &Cancel,
    ) -> Result<Child, String> {
        self.wait(target, timeout, cancel).map(|()| self)
    }

    fn wait(
        &mut self,
        target: &Arc<Target>,
        timeout: Duration,
        cancel: &Cancel,
    ) -> Result<(), String> {
        let until = Instant::now() + timeout;
        let session = Session::to_clean_up(Arc::clone(target), ASK_TIMEOUT);
        let health = Call::new(Method::GET, "/health");
        loop {
            if session.send(&health).is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(self.told(&format!("it ended with {status}")));
            }
            if Instant::now() >= until {
                return Err(self.told(&format!("no answer within {timeout:?}")));
            }
            if !cancel.sleep(PAUSE) {
                return Err("it was stopped".to_owned());
            }
        }
    }

    fn told(&self, why: &str) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<_> = said.iter().map(String::as_str).collect();
        quoted(&format!("{why}; it said: {}", lines.join(" | ")))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(
    command: &[OsString],
    port: u16,
    said: &Arc<Mutex<VecDeque<String>>>,
) -> Result<std::process::Child, String> {
    let mut process = Command::new(&command[0])
        .args(&command[1..])
        .env("PORT", port.to_string())
        .env("HOST", "127.0.0.1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{}: {}", command[0].display(), io_error(&error)))?;
    if let Some(stderr) = process.stderr.take() {
        let said = Arc::clone(said);
        // It ends with the process, whose end of the pipe closes then.
        let reading = thread::Builder::new().name("stderr".to_owned());
        let _ = reading.spawn(move || listen(stderr, &said));
    }
    Ok(process)
}

fn listen(stderr: impl Read, said: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(1..) = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= LINES_MAX {
            said.pop_front();
        }
        said.push_back(String::from_utf8_lossy(line.trim_ascii()).into_owned());
        line.clear();
    }
}
