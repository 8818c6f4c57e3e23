//! A response as a handler builds it. Framing, `Date` and `Connection` are the engine's.

use bytes::Bytes;
use http::StatusCode;
use smallvec::SmallVec;

/// What a handler answers.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The `Content-Type`, absent when there is no body.
    pub content_type: Option<&'static str>,
    /// The version of what is answered, as a strong entity tag (RFC 9110, section 8.8.3).
    pub entity_tag: Option<u64>,
    /// Further header fields. Names and values must hold no control characters.
    pub headers: SmallVec<[(&'static str, FieldValue); 1]>,
    /// The body; the engine leaves it out for HEAD, 204 and 304.
    pub body: Body,
}

/// The client of a streamed answer has gone, or its connection was closed: nobody takes the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client has gone")
    }
}

impl std::error::Error for Gone {}

/// The value of a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue {
    /// Text that lives as long as the program.
    Static(&'static str),
    /// Text made for this answer.
    Text(String),
    /// A number in decimal.
    Number(u64),
}

/// The bytes of a response's body.
#[derive(Debug)]
pub enum Body {
    /// No body.
    Empty,
    /// Bytes that live as long as the program.
    Static(&'static [u8]),
    /// Bytes built for this answer.
    Bytes(Vec<u8>),
    /// A large part that is shared and is not copied, between two small ones.
    Joined {
        /// What comes first.
        before: Vec<u8>,
        /// What is too large to copy.
        shared: Bytes,
        /// What comes last.
        after: &'static [u8],
    },
}

impl Response {
    /// A response without a body.
    pub fn new(status: StatusCode) -> Self {
        Response {
            status,
            content_type: None,
            entity_tag: None,
            headers: SmallVec::new(),
            body: Body::Empty,
        }
    }

    /// A response with a body of the given media type.
    pub fn with_body(
        status: StatusCode,
        content_type: &'static str,
        body: impl Into<Body>,
    ) -> Self {
        Response {
            status,
            content_type: Some(content_type),
            entity_tag: None,
            headers: SmallVec::new(),
            body: body.into(),
        }
    }

    /// A response of media type `application/json`; `body` is JSON text.
    pub fn json(status: StatusCode, body: impl Into<Body>) -> Self {
        Response::with_body(status, "application/json", body)
    }

    /// The same response with an entity tag.
    #[must_use]
    pub fn tagged(mut self, entity_tag: u64) -> Self {
        self.entity_tag = Some(entity_tag);
        self
    }

    /// The same response with one more header field.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<FieldValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Body {
    /// The number of the body's bytes.
    pub fn len(&self) -> usize {
        match self {
            Body::Empty => 0,
            Body::Static(bytes) => bytes.len(),
            Body::Bytes(bytes) => bytes.len(),
            Body::Joined { before, shared, after } => before.len() + shared.len() + after.len(),
        }
    }

    /// Whether the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The body's bytes in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Body::Empty => Vec::new(),
            Body::Static(bytes) => bytes.to_vec(),
            Body::Bytes(bytes) => bytes.clone(),
            Body::Joined { before, shared, after } => [before, &shared[..], after].concat(),
        }
    }

    /// The buffer that the body was built in, if there was one.
    pub(super) fn into_buffer(self) -> Option<Vec<u8>> {
        match self {
            Body::Empty | Body::Static(_) => None,
            Body::Bytes(buffer) | Body::Joined { before: buffer, .. } => Some(buffer),
        }
    }
}

impl From<&'static str> for FieldValue {
    fn from(text: &'static str) -> Self {
        FieldValue::Static(text)
    }
}

impl From<String> for FieldValue {
    fn from(text: String) -> Self {
        FieldValue::Text(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Body::Static(text.as_bytes())
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Body::Static(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Body::Bytes(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Body::Bytes(text.into_bytes())
    }
}
