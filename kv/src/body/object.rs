//! Objects of JSON read member by member, each as the text that came.
//!
//! By hand, because a derived `Deserialize` refuses duplicates and names that are not Unicode.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::decode;

/// What is made of an object's members.
pub(super) trait TakeMember<'a>: Default {
    /// Takes a member: its name, unless that is not Unicode; the name as it was written; and the
    /// value's text.
    fn take(&mut self, name: Option<&str>, written: &'a str, text: &'a str);
}

/// An object, taken apart.
pub(super) struct Object<M>(pub(super) M);

struct ObjectVisitor<M>(PhantomData<M>);

impl<'de, M: TakeMember<'de>> Deserialize<'de> for Object<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

impl<'de, M: TakeMember<'de>> Visitor<'de> for ObjectVisitor<M> {
    type Value = Object<M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = M::default();
        while let Some((name, text)) = map.next_entry::<&RawValue, &RawValue>()? {
            members.take(decode(name.get()).as_deref(), name.get(), text.get());
        }
        Ok(Object(members))
    }
}
