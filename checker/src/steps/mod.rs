//! The two tests of the fixed API: what a kv service is asked, step by step, and what it has to
//! answer. Their answers are those of the original to the byte; all that goes beyond is in
//! [`workflows`](crate::workflows).
//!
//! Invariants: a run has a key that no other run has, in this process or any other, and the key is
//! gone when the run ends, however it ends.

pub mod deletion;
pub mod overwrite;
mod own_key;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use self::own_key::OwnKey;
use crate::client::{Answer, CallError, Client};

/// Steps on one key, each a call and what must come of it. The first that fails ends the run.
#[derive(Debug)]
pub struct Workflow {
    /// The name in reports, and the first part of the run's key.
    pub test_name: &'static str,
    /// What is done, in order.
    pub steps: &'static [Step],
}

/// One call and its assertion.
#[derive(Debug)]
pub struct Step {
    /// The name in reports.
    pub name: &'static str,
    /// What is sent.
    pub call: Call,
    /// What has to come back.
    pub expect: Expect,
}

/// The value that a run with this key writes. It holds the key, so that a value which belongs to
/// another run is seen to be wrong.
pub type ValueOf = fn(key: &str) -> Value;

/// What a step sends.
#[derive(Debug, Clone, Copy)]
pub enum Call {
    /// Store this value.
    Post(ValueOf),
    /// Store this value in place of what is there.
    Put(ValueOf),
    /// Read the key.
    Get,
    /// Delete the key.
    Delete,
}

/// What a step has to see.
#[derive(Debug, Clone, Copy)]
pub enum Expect {
    /// One of these statuses; else the answer's body is the error.
    Status(&'static [u16]),
    /// 200, else the answer's body is the error; and this value, else `mismatch` is.
    Value {
        /// What was written.
        value: ValueOf,
        /// The error when another value comes.
        mismatch: &'static str,
    },
    /// 404; else `present` is the error.
    Absent {
        /// The error when the key seems to be there.
        present: &'static str,
    },
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The workflow's name.
    pub test_name: &'static str,
    /// Whether the service did as it must.
    pub verdict: Result<Passed, Failure>,
}

/// Every assertion held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// How many steps there were.
    pub steps_executed: usize,
}

/// An assertion did not hold, or no answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The step's name; `connection` for a time-out, `unknown` for any other call without answer.
    pub step: &'static str,
    /// What is wrong.
    pub error: String,
}

impl Workflow {
    /// Runs the steps against a service, on a key of its own that is removed before this returns,
    /// and hands over what came of it: when the key is removed, or before that if the service did
    /// not answer in time, for then its next answer may take as long.
    pub fn run(&self, client: &Client, report: impl FnOnce(Report)) {
        let mut key = OwnKey::new(client, self.test_name);
        let verdict = self
            .steps
            .iter()
            .try_for_each(|step| step.run(client, &mut key))
            .map(|()| Passed { steps_executed: self.steps.len() });
        let timed_out = verdict.as_ref().is_err_and(|failure| failure.step == TIMED_OUT);
        let came_of_it = Report { test_name: self.test_name, verdict };
        if timed_out {
            report(came_of_it);
            drop(key);
        } else {
            drop(key);
            report(came_of_it);
        }
    }
}

/// The step that a time-out is reported as, whichever step it was.
const TIMED_OUT: &str = "connection";

impl Step {
    fn run(&self, client: &Client, key: &mut OwnKey<'_>) -> Result<(), Failure> {
        let answer = self.call.send(client, key)?;
        self.expect
            .check(&answer, key.name())
            .map_err(|error| Failure { step: self.name, error })?;
        if let Expect::Absent { .. } = self.expect {
            key.is_gone();
        }
        Ok(())
    }
}

impl Call {
    fn send(self, client: &Client, key: &mut OwnKey<'_>) -> Result<Answer, CallError> {
        match self {
            Call::Post(value) => {
                let value = value(key.name());
                client.post(key.for_write(), &value)
            }
            Call::Put(value) => {
                let value = value(key.name());
                client.put(key.for_write(), &value)
            }
            Call::Get => client.get(key.name()),
            Call::Delete => client.delete(key.name()),
        }
    }
}

impl Expect {
    fn check(self, answer: &Answer, key: &str) -> Result<(), String> {
        match self {
            Expect::Status(statuses) if statuses.contains(&answer.status) => Ok(()),
            Expect::Value { value, .. } if answer.status == 200 && holds(answer, &value(key)) => {
                Ok(())
            }
            Expect::Absent { .. } if answer.status == 404 => Ok(()),
            Expect::Value { mismatch, .. } if answer.status == 200 => Err(mismatch.to_owned()),
            Expect::Status(_) | Expect::Value { .. } => Err(answer.body.clone()),
            Expect::Absent { present } => Err(present.to_owned()),
        }
    }
}

/// What is read of the answer to a GET. A body with two values is none.
#[derive(Deserialize)]
struct Found {
    value: Value,
}

/// Whether the answer holds this value: the same JSON, whatever the order of names, and no number
/// turned into another kind of number.
fn holds(answer: &Answer, value: &Value) -> bool {
    serde_json::from_str::<Found>(&answer.body).is_ok_and(|found| found.value == *value)
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::TimedOut => {
                Failure { step: TIMED_OUT, error: "Timeout connecting to KV service".to_owned() }
            }
            CallError::Failed(text) => Failure { step: "unknown", error: text },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text comes from the service: a line break in it must not make a line of the log.
        write!(f, "step {}: {:?}", self.step, self.error)
    }
}

impl std::error::Error for Failure {}
