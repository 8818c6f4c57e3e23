//! The body of a batch, `{"ops":[…]}`, as operations of the store.
//!
//! An ordinary body is read in one pass. Only one that cannot be read so is looked at again, part
//! by part, for what is wrong with it.
//!
//! As in other bodies the last of duplicate members wins. Members that the body does not know are
//! ignored, but not those that an operation does not know: a mistyped condition would be dropped.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::object::{Object, TakeMember};
use super::{BodyError, decode, python_json, text};
use crate::key::{Key, KeyError};
use crate::query;
use crate::store::{Action, Condition, Op, Version, Versions};

/// Operations in a batch.
pub const OPS_MAX: usize = 1_000;
/// Operations for which there is room at first.
const OPS_EXPECTED: usize = 64;

/// Why a body is no batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchError<'a> {
    /// It is no object with an array `ops`.
    NoOps,
    /// There are so many operations.
    Count(usize),
    /// An operation is not what it should be.
    Op {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        fault: OpFault<'a>,
    },
}

/// What is wrong with an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpFault<'a> {
    /// It is no object.
    NotObject,
    /// It lacks a member.
    Missing(&'static str),
    /// A member has the wrong type, or a value that is out of range.
    Wrong {
        /// The member.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// There is no such operation.
    UnknownOp(Cow<'a, str>),
    /// The operation has no such member.
    UnknownMember {
        /// The member, as it was written if it is not Unicode.
        name: Cow<'a, str>,
        /// The operation.
        op: &'static str,
    },
    /// The key is none.
    Key(KeyError),
}

/// Reads the body of a batch.
pub fn parse(body: &[u8]) -> Result<Vec<Op<'_>>, BodyError<'_>> {
    let text = text(body)?;
    let ops = match serde_json::from_str::<Body<Ops>>(text) {
        Ok(Body(ops)) => ops.ok_or(BodyError::Batch(BatchError::NoOps))?,
        Err(_) => by_parts(text)?,
    };
    match ops {
        Ops { fault: Some((index, fault)), .. } => Err(BatchError::Op { index, fault }),
        Ops { count: 1..=OPS_MAX, read, fault: None } => Ok(read),
        Ops { count, .. } => Err(BatchError::Count(count)),
    }
    .map_err(BodyError::Batch)
}

/// Reads a body that is not JSON, or holds something of another type than expected, which a later
/// duplicate may replace.
fn by_parts(text: &str) -> Result<Ops<'_>, BodyError<'_>> {
    python_json::check(text).map_err(BodyError::Syntax)?;
    let body = serde_json::from_str::<Body<&RawValue>>(text);
    let list = body.ok().and_then(|body| body.0).map_or("null", RawValue::get);
    serde_json::from_str(list).map_err(|_| {
        let items: Vec<&RawValue> = serde_json::from_str(list).unwrap_or_default();
        let index = items.iter().position(|item| !item.get().starts_with('{'));
        let fault = index.map(|index| BatchError::Op { index, fault: OpFault::NotObject });
        BodyError::Batch(fault.unwrap_or(BatchError::NoOps))
    })
}

/// The member `ops` of the body, if it is there.
struct Body<T>(Option<T>);

/// The operations, up to the first that is none.
struct Ops<'a> {
    read: Vec<Op<'a>>,
    count: usize,
    fault: Option<(usize, OpFault<'a>)>,
}

/// The JSON texts of an operation's members, of duplicates the last.
#[derive(Default)]
struct Fields<'a> {
    op: Option<&'a str>,
    key: Option<&'a str>,
    value: Option<&'a str>,
    ttl: Option<&'a str>,
    if_version: Option<&'a str>,
    by: Option<&'a str>,
    /// The name of a member that no operation has.
    unknown: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn into_op(self) -> Result<Op<'a>, OpFault<'a>> {
        let name = string("op", self.op)?;
        let (value, ttl, if_version) =
            (("value", self.value), ("ttl", self.ttl), ("if_version", self.if_version));
        let by = ("by", self.by);
        match &*name {
            "put" => {
                self.refuse("put", &[by])?;
                let value = self.value.ok_or(OpFault::Missing("value"))?;
                let action = Action::Put(value.into(), self.ttl.map(read_ttl).transpose()?);
                self.op_with(action, self.condition()?)
            }
            "get" => {
                self.refuse("get", &[value, ttl, if_version, by])?;
                self.op_with(Action::Get, Condition::default())
            }
            "delete" => {
                self.refuse("delete", &[value, ttl, by])?;
                self.op_with(Action::Delete, self.condition()?)
            }
            "incr" => {
                self.refuse("incr", &[value, ttl, if_version])?;
                let by = self.by.map_or(Ok(1), read_by)?;
                self.op_with(Action::Increment(by), Condition::default())
            }
            _ => Err(OpFault::UnknownOp(name)),
        }
    }

    /// Refuses members that this operation does not have.
    fn refuse(
        &self,
        op: &'static str,
        others: &[(&'static str, Option<&str>)],
    ) -> Result<(), OpFault<'a>> {
        let unknown = self.unknown.map(|name| decode(name).unwrap_or(Cow::Borrowed(name)));
        let other = others.iter().find(|(_, text)| text.is_some()).map(|(name, _)| *name);
        match unknown.or(other.map(Cow::Borrowed)) {
            Some(name) => Err(OpFault::UnknownMember { name, op }),
            None => Ok(()),
        }
    }

    fn op_with(&self, action: Action<'a>, condition: Condition) -> Result<Op<'a>, OpFault<'a>> {
        let key = Key::new(string("key", self.key)?).map_err(OpFault::Key)?;
        Ok(Op { key, action, condition })
    }

    /// `null` asks for a key that is not there.
    fn condition(&self) -> Result<Condition, OpFault<'a>> {
        let expected = "is not a version (an integer, or null for a key that must not exist)";
        let (mut if_match, mut if_none_match) = (None, None);
        match self.if_version {
            None => {}
            Some("null") => if_none_match = Some(Versions::Any),
            Some(text) => {
                let version = text.parse().map(Version);
                let version =
                    version.map_err(|_| OpFault::Wrong { name: "if_version", expected })?;
                if_match = Some(Versions::OneOf(vec![version]));
            }
        }
        Ok(Condition { if_match, if_none_match })
    }
}

fn string<'a>(name: &'static str, text: Option<&'a str>) -> Result<Cow<'a, str>, OpFault<'a>> {
    let text = text.ok_or(OpFault::Missing(name))?;
    let decoded = text.starts_with('"').then(|| decode(text)).flatten();
    decoded.ok_or(OpFault::Wrong { name, expected: "is not a string" })
}

/// Whole seconds, or a string such as `"500ms"`.
fn read_ttl<'a>(text: &str) -> Result<Duration, OpFault<'a>> {
    let duration = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    query::ttl(duration).ok_or(OpFault::Wrong { name: "ttl", expected: query::TTL })
}

fn read_by<'a>(text: &str) -> Result<i64, OpFault<'a>> {
    text.parse().map_err(|_| OpFault::Wrong { name: "by", expected: query::BY })
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Body<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BodyVisitor(PhantomData))
    }
}

struct BodyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for BodyVisitor<T> {
    type Value = Body<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut ops = None;
        while let Some(name) = map.next_key::<&RawValue>()? {
            if decode(name.get()).as_deref() == Some("ops") {
                ops = Some(map.next_value()?);
            } else {
                map.next_value::<&RawValue>()?;
            }
        }
        Ok(Body(ops))
    }
}

impl<'de> Deserialize<'de> for Ops<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(OpsVisitor)
    }
}

struct OpsVisitor;

impl<'de> Visitor<'de> for OpsVisitor {
    type Value = Ops<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut ops = Ops { read: Vec::with_capacity(OPS_EXPECTED), count: 0, fault: None };
        while let Some(Object(fields)) = seq.next_element::<Object<Fields>>()? {
            if ops.count < OPS_MAX && ops.fault.is_none() {
                match fields.into_op() {
                    Ok(op) => ops.read.push(op),
                    Err(fault) => ops.fault = Some((ops.count, fault)),
                }
            }
            ops.count += 1;
        }
        Ok(ops)
    }
}

impl<'a> TakeMember<'a> for Fields<'a> {
    fn take(&mut self, name: Option<&str>, written: &'a str, text: &'a str) {
        let text = Some(text);
        match name {
            Some("op") => self.op = text,
            Some("key") => self.key = text,
            Some("value") => self.value = text,
            Some("ttl") => self.ttl = text,
            Some("if_version") => self.if_version = text,
            Some("by") => self.by = text,
            Some(_) | None => self.unknown = Some(written),
        }
    }
}

impl fmt::Display for BatchError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchError::NoOps => f.write_str("The body is not an object with an array 'ops'"),
            BatchError::Count(count) => {
                write!(f, "A batch has 1 to {OPS_MAX} operations, and not {count}")
            }
            BatchError::Op { index, fault } => write!(f, "ops[{index}]: {fault}"),
        }
    }
}

impl fmt::Display for OpFault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpFault::NotObject => f.write_str("an operation is an object"),
            OpFault::Missing(name) => write!(f, "'{name}' is missing"),
            OpFault::Wrong { name, expected } => write!(f, "'{name}' {expected}"),
            OpFault::UnknownOp(op) => {
                write!(f, "there is no operation '{op}' (put, get, delete, incr)")
            }
            OpFault::UnknownMember { name, op } => write!(f, "'{op}' has no member '{name}'"),
            OpFault::Key(error) => error.fmt(f),
        }
    }
}
