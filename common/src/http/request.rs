//! A request as a handler sees it: borrowed from the connection's bytes.

use http::Method;

/// A complete request: its head has been parsed, its body has arrived.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method, an extension method included.
    pub method: Method,
    /// The path of the request target as it came (percent-encoded), without the query. Starts
    /// with `/`, or is `*` for `OPTIONS *`.
    pub path: &'a str,
    /// What follows the first `?` of the request target, if there was one.
    pub query: Option<&'a str>,
    /// The header fields in the order in which they came.
    pub headers: Headers<'a>,
    /// The body, with the transfer coding removed.
    pub body: &'a [u8],
}

/// The header fields of a request (RFC 9110, section 5).
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    fields: &'a [httparse::Header<'a>],
}

impl<'a> Headers<'a> {
    /// Wraps parsed header fields.
    pub fn new(fields: &'a [httparse::Header<'a>]) -> Self {
        Headers { fields }
    }

    /// The first field of that name, ignoring case; its value as bytes, without the white space
    /// around it.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Every field of that name, ignoring case, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }
}
