//! Where the cluster is: `etcd://user:password@host1:2379,host2:2379/prefix`. Pure.

use std::fmt;

use percent_encoding::percent_decode_str;

use common::config::secret::Secret;

/// How a store in etcd is named.
pub const SCHEME: &str = "etcd://";

/// etcd's own port for clients.
const PORT: u16 = 2379;
/// More than the largest cluster that etcd advises, which is seven.
const NODES_MAX: usize = 16;
/// Bytes of the prefix: with a key of the longest kind it is far below what etcd takes.
const PREFIX_BYTES_MAX: usize = 256;
/// What keys begin with when the URL says nothing.
const PREFIX: &str = "kv";

/// A cluster, and the part of its keys that is this store's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdUrl {
    /// `host:port` of each node, in the order given.
    pub nodes: Vec<String>,
    /// What every key of this store begins with in etcd; it ends with a slash.
    pub prefix: String,
    /// Who this service is to etcd.
    pub login: Option<Login>,
}

/// A user of etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// Why a text names no store in etcd. The text is not repeated, as it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlError {
    /// It begins with another scheme.
    Scheme,
    /// It asks for TLS.
    Tls,
    /// There is no host, or too many.
    Hosts,
    /// A host is no name or address with an optional port.
    Host,
    /// User and password are not `user:password`, percent-encoded, in visible ASCII.
    Login,
    /// The prefix is too long or no text.
    Prefix,
    /// There is a query or a fragment.
    Behind,
}

impl EtcdUrl {
    /// Reads the URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.starts_with("etcds://") || text.starts_with("https://") {
            return Err(UrlError::Tls);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(UrlError::Scheme)?;
        if rest.contains(['?', '#']) {
            return Err(UrlError::Behind);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(Login::parse(login).ok_or(UrlError::Login)?), hosts),
            None => (None, authority),
        };
        let nodes: Vec<String> = hosts.split(',').map(node).collect::<Result<_, _>>()?;
        if nodes.len() > NODES_MAX {
            return Err(UrlError::Hosts);
        }
        Ok(EtcdUrl { nodes, prefix: prefix(path).ok_or(UrlError::Prefix)?, login })
    }
}

impl Login {
    fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':')?;
        let decode = |text| percent_decode_str(text).decode_utf8().ok();
        let user = decode(user).filter(|user| !user.is_empty())?.into_owned();
        Some(Login { user, password: Secret::new(&decode(password)?)? })
    }
}

/// The host with its port.
fn node(text: &str) -> Result<String, UrlError> {
    if text.is_empty() {
        return Err(UrlError::Hosts);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        Some(_) | None => (text, Some(PORT)),
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let inner = if is_bracketed { &host[1..host.len() - 1] } else { host };
    let fits = |byte: u8| match byte {
        b':' => is_bracketed,
        b'-' | b'.' | b'_' => true,
        _ => byte.is_ascii_alphanumeric(),
    };
    match port {
        Some(port) if port > 0 && !inner.is_empty() && inner.bytes().all(fits) => {
            Ok(format!("{host}:{port}"))
        }
        Some(_) | None => Err(UrlError::Host),
    }
}

/// What the keys begin with: the path, and one slash at its end.
fn prefix(path: &str) -> Option<String> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let path = path.trim_end_matches('/');
    let path = if path.is_empty() { PREFIX } else { path };
    let fits = path.len() <= PREFIX_BYTES_MAX && !path.contains('\0');
    fits.then(|| format!("{path}/"))
}

impl UrlError {
    /// What is wrong, with the text for a subject.
    pub fn reason(self) -> &'static str {
        match self {
            UrlError::Scheme => "does not begin with etcd://, nor is memory or durable",
            UrlError::Tls => "asks for TLS, which is not spoken: put a TLS proxy between",
            UrlError::Hosts => "names no host between two commas, or more than 16",
            UrlError::Host => "has a host that is no name or address with an optional port",
            UrlError::Login => "has a login that is not user:password, percent-encoded",
            UrlError::Prefix => "has a prefix that is no UTF-8, or longer than 256 bytes",
            UrlError::Behind => "has a query or a fragment",
        }
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, nodes: &[&str], prefix: &str, login: Option<(&str, &str)>) {
        let login = login.map(|(user, password)| Login {
            user: user.to_owned(),
            password: Secret::new(password).unwrap(),
        });
        let nodes = nodes.iter().map(ToString::to_string).collect();
        let expected = EtcdUrl { nodes, prefix: prefix.to_owned(), login };
        assert_eq!(EtcdUrl::parse(text), Ok(expected), "{text}");
    }

    #[test]
    fn urls_name_nodes_prefix_and_login() {
        check("etcd://a", &["a:2379"], "kv/", None);
        check("etcd://a:1,b-1.c:2,[::1]:3", &["a:1", "b-1.c:2", "[::1]:3"], "kv/", None);
        check("etcd://[::1]/", &["[::1]:2379"], "kv/", None);
        check("etcd://a/b", &["a:2379"], "b/", None);
        check("etcd://a/b/c/", &["a:2379"], "b/c/", None);
        check("etcd://a/%C3%A9", &["a:2379"], "\u{e9}/", None);
        check("etcd://me:pw@a,b", &["a:2379", "b:2379"], "kv/", Some(("me", "pw")));
        check("etcd://me:p%40%2f@a/x", &["a:2379"], "x/", Some(("me", "p@/")));
        check("etcd://me:p@w:d@a", &["a:2379"], "kv/", Some(("me", "p@w:d")));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        #[track_caller]
        fn check(text: &str, expected: UrlError) {
            assert_eq!(EtcdUrl::parse(text), Err(expected), "{text}");
        }
        check("", UrlError::Scheme);
        check("redis://a", UrlError::Scheme);
        check("etcds://a", UrlError::Tls);
        check("https://a", UrlError::Tls);
        check("etcd://", UrlError::Hosts);
        check("etcd://a,,b", UrlError::Hosts);
        check(&format!("etcd://a{}", ",a".repeat(16)), UrlError::Hosts);
        check("etcd://a:0", UrlError::Host);
        check("etcd://a:x", UrlError::Host);
        check("etcd://a:65536", UrlError::Host);
        check("etcd://a b", UrlError::Host);
        check("etcd://::1", UrlError::Host);
        check("etcd://[]:1", UrlError::Host);
        check("etcd://me@a", UrlError::Login);
        check("etcd://:pw@a", UrlError::Login);
        check("etcd://me:@a", UrlError::Login);
        check("etcd://a/%ff", UrlError::Prefix);
        check("etcd://a/%00", UrlError::Prefix);
        check(&format!("etcd://a/{}", "p".repeat(257)), UrlError::Prefix);
        check("etcd://a?x", UrlError::Behind);
    }
}
