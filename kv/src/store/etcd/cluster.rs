//! The nodes of the cluster: which of them can be asked, and what is done when one does not answer.
//!
//! - A call goes to the node that answered last. What is safe to send twice goes on to the next
//!   node when one fails; what is not goes on only if nothing of it has been sent.
//! - A node that failed is not asked again until its probe has had an answer through the whole
//!   cluster. When no node is left, calls fail at once.
//! - Every node must hold the store that this process began with, at a revision that does not go
//!   back: [`origin`](super::origin).

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::Agent;

use super::call::{self, CALL_TIMEOUT, CallError, Refusal};
use super::url::{EtcdUrl, Login};
use super::wire::{AuthAnswer, TxnAnswer};
use crate::store::Refused;

/// Whether a request may be sent again when it is not known whether it was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resend {
    Safe,
    Unsafe,
}

/// Where transactions go.
pub(super) const TXN: &str = "/v3/kv/txn";

pub(super) struct Cluster {
    pub(super) nodes: Box<[Node]>,
    pub(super) agent: Agent,
    login: Option<Login>,
    token: RwLock<Option<Arc<str>>>,
    /// The node that is asked first.
    preferred: AtomicUsize,
    /// The highest revision that was seen in an answer.
    revision: AtomicU64,
}

/// A node, and whether it can be asked.
pub(super) struct Node {
    pub(super) address: String,
    is_well: AtomicBool,
    /// Calls that it has answered.
    answered: AtomicU64,
    /// Why it cannot be asked, if it cannot.
    reason: Mutex<Arc<str>>,
}

/// Why the cluster did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing has been done: no node can be asked, and why.
    Unavailable(Arc<str>),
    /// It may have been done, or may yet be.
    MayHaveHappened(Arc<str>),
    /// The cluster has refused, and done nothing.
    Refused(Refusal),
    /// The answer is larger than what is read of one.
    AnswerTooLarge,
    /// The step depends on more keys than etcd compares.
    TooManyCompares,
}

impl Cluster {
    pub(super) fn new(url: &EtcdUrl) -> Self {
        let node = |address: &String| Node {
            address: address.clone(),
            is_well: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            reason: Mutex::new("has not been asked yet".into()),
        };
        // Processes that are started at once begin with different nodes.
        let first = std::process::id() as usize % url.nodes.len();
        Cluster {
            nodes: url.nodes.iter().map(node).collect(),
            agent: call::agent(),
            login: url.login.clone(),
            token: RwLock::new(None),
            preferred: AtomicUsize::new(first),
            revision: AtomicU64::new(0),
        }
    }

    /// Sends a transaction. Of the nodes that answer, those that have gone back in time are left
    /// out.
    pub(super) fn txn<T>(
        &self,
        body: &str,
        resend: Resend,
        read: impl Fn(TxnAnswer<'_>) -> Result<T, CallError>,
    ) -> Result<T, Failure> {
        let before = self.revision();
        self.ask(TXN, body, resend, |bytes| {
            let answer: TxnAnswer<'_> = parse(bytes)?;
            self.note_revision(answer.header.revision.0, before)?;
            read(answer)
        })
    }

    /// Sends a request of another kind.
    pub(super) fn ask<T>(
        &self,
        path: &str,
        body: &str,
        resend: Resend,
        read: impl Fn(&[u8]) -> Result<T, CallError>,
    ) -> Result<T, Failure> {
        let first = self.preferred.load(Ordering::Relaxed);
        for index in (0..self.nodes.len()).map(|offset| (first + offset) % self.nodes.len()) {
            let node = &self.nodes[index];
            if !node.is_well() {
                continue;
            }
            let answered_before = node.answered.load(Ordering::SeqCst);
            let answer = self.ask_node(node, path, body, CALL_TIMEOUT);
            let error = match answer.and_then(|bytes| read(&bytes)) {
                Ok(answer) => {
                    node.answered.fetch_add(1, Ordering::SeqCst);
                    if index != first {
                        self.preferred.store(index, Ordering::Relaxed);
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            match error {
                CallError::Unreached(reason) => node.fail(&reason),
                CallError::Elsewhere(reason) => {
                    node.fail(&reason);
                    if resend == Resend::Unsafe {
                        return Err(Failure::MayHaveHappened(reason));
                    }
                }
                CallError::Lost(reason) => {
                    // A node that answers others is slow, and not gone.
                    if node.answered.load(Ordering::SeqCst) == answered_before {
                        node.fail(&reason);
                    }
                    if resend == Resend::Unsafe {
                        let address = &node.address;
                        return Err(Failure::MayHaveHappened(format!("{address} {reason}").into()));
                    }
                }
                CallError::Busy(reason) => return Err(Failure::Unavailable(reason)),
                CallError::TokenExpired => {
                    let denied = "the user's token is refused again and again".into();
                    return Err(Failure::Refused(Refusal::Denied(denied)));
                }
                CallError::Refused(refusal) => return Err(Failure::Refused(refusal)),
                CallError::AnswerTooLarge => return Err(Failure::AnswerTooLarge),
            }
        }
        Err(Failure::Unavailable(self.why_not()))
    }

    /// Asks one node, with a token that is renewed once if need be.
    pub(super) fn ask_node(
        &self,
        node: &Node,
        path: &str,
        body: &str,
        timeout: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let deadline = Instant::now() + timeout;
        let token = self.token(node, timeout)?;
        let left = || deadline.saturating_duration_since(Instant::now());
        match call::call(&self.agent, &node.address, path, token.as_deref(), body, left()) {
            Err(CallError::TokenExpired) if self.login.is_some() => {
                self.forget_token(token.as_ref());
                let token = self.token(node, left())?;
                call::call(&self.agent, &node.address, path, token.as_deref(), body, left())
            }
            outcome => outcome,
        }
    }

    /// The token for a call, from the node if there is none yet.
    pub(super) fn token(
        &self,
        node: &Node,
        timeout: Duration,
    ) -> Result<Option<Arc<str>>, CallError> {
        let Some(login) = &self.login else { return Ok(None) };
        let known = self.token.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() {
            return Ok(known);
        }
        let (name, password) = (quote(&login.user), quote(login.password.expose()));
        let body = format!(r#"{{"name":{name},"password":{password}}}"#);
        let path = "/v3/auth/authenticate";
        let bytes = match call::call(&self.agent, &node.address, path, None, &body, timeout) {
            // Who has sent no request for a change has changed nothing.
            Err(CallError::Lost(reason)) => return Err(CallError::Unreached(reason)),
            Err(CallError::Refused(Refusal::Other(text))) => {
                return Err(CallError::Refused(Refusal::Denied(text)));
            }
            outcome => outcome?,
        };
        let answer: AuthAnswer = parse(&bytes)?;
        let token: Arc<str> = answer.token.into();
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&token));
        Ok(Some(token))
    }

    fn forget_token(&self, old: Option<&Arc<str>>) {
        let mut token = self.token.write().unwrap_or_else(PoisonError::into_inner);
        if token.as_ref() == old {
            *token = None;
        }
    }

    /// A node that can be asked, beginning with the preferred one.
    pub(super) fn well_node(&self) -> Option<&Node> {
        let first = self.preferred.load(Ordering::Relaxed);
        let nodes = self.nodes.iter().cycle().skip(first).take(self.nodes.len());
        nodes.into_iter().find(|node| node.is_well())
    }

    /// Why no node can be asked.
    pub(super) fn why_not(&self) -> Arc<str> {
        let reasons = self.nodes.iter().map(|node| format!("{} {}", node.address, node.reason()));
        format!("no node of etcd can be asked: {}", reasons.collect::<Vec<_>>().join("; ")).into()
    }

    /// What was seen of the revision so far.
    pub(super) fn revision(&self) -> u64 {
        self.revision.load(Ordering::SeqCst)
    }

    /// Holds an answer to what was known before the request: linearizable answers never show an
    /// older state.
    pub(super) fn note_revision(&self, revision: u64, before: u64) -> Result<(), CallError> {
        if revision < before {
            let reason =
                format!("has gone back from revision {before} to {revision}: data was lost");
            return Err(CallError::Elsewhere(reason.into()));
        }
        self.revision.fetch_max(revision, Ordering::SeqCst);
        Ok(())
    }
}

impl Node {
    pub(super) fn is_well(&self) -> bool {
        self.is_well.load(Ordering::SeqCst)
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    fn reason(&self) -> Arc<str> {
        Arc::clone(&self.lock_reason())
    }

    /// It is not asked any more, until [`Node::recover`].
    pub(super) fn fail(&self, reason: &Arc<str>) {
        let mut kept = self.lock_reason();
        let was_well = self.is_well.swap(false, Ordering::SeqCst);
        if was_well || *kept != *reason {
            log::warn!("etcd node {} {reason}", self.address);
        }
        *kept = Arc::clone(reason);
    }

    /// It can be asked.
    pub(super) fn recover(&self) {
        if !self.is_well.swap(true, Ordering::SeqCst) {
            log::info!("etcd node {} answers", self.address);
        }
    }

    fn lock_reason(&self) -> MutexGuard<'_, Arc<str>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that cannot be read says nothing about what was done.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CallError> {
    serde_json::from_slice(bytes)
        .map_err(|error| CallError::Lost(format!("answers what cannot be read: {error}").into()))
}

fn quote(text: &str) -> serde_json::Value {
    serde_json::Value::from(text)
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(reason) => Refused::Unavailable(reason),
            Failure::MayHaveHappened(reason) => Refused::MayHaveHappened(reason),
            Failure::Refused(Refusal::NoSpace) => Refused::DiskFull,
            Failure::Refused(Refusal::TooLarge) => Refused::TooLarge(super::REQUEST_BYTES_MAX),
            Failure::Refused(Refusal::TooManyOps) => Refused::TooManyOps(super::OPS_MAX),
            Failure::Refused(Refusal::NoLease) => Refused::Unavailable("etcd ended a lease".into()),
            Failure::Refused(Refusal::Compacted) => {
                Refused::Unavailable("etcd compacted what was being read".into())
            }
            Failure::Refused(Refusal::Denied(text) | Refusal::Other(text)) => {
                Refused::Unavailable(format!("etcd refuses: {text}").into())
            }
            Failure::TooManyCompares => Refused::TooManyOps(super::step::COMPARES_MAX),
            Failure::AnswerTooLarge => Refused::Unavailable("etcd answers too much".into()),
        }
    }
}
