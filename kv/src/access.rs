//! Who may do what: bearer tokens (RFC 6750).
//!
//! Pure: the configured tokens and a request's head in, a verdict out. Both tokens are always
//! compared, so that the time taken does not tell which one was nearly met.

use common::config::secret::Secret;
use common::docs::PATHS;
use common::http::Method;

/// The tokens that are asked for. Without one, nobody is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `KV_TOKEN`: everything.
    pub token: Option<Secret>,
    /// `KV_READ_TOKEN`: GET and HEAD.
    pub read_token: Option<Secret>,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It has no token, or not in the form that RFC 6750, section 2.1 has.
    NoToken,
    /// Its token is none of ours.
    WrongToken,
    /// It would write, and its token is for reading.
    ReadOnly,
}

impl Access {
    /// Whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        self.token.is_none() && self.read_token.is_none()
    }

    /// Lets a request in, or says why not. `authorizations` are its `Authorization` fields.
    pub fn check<'a>(
        &self,
        method: &Method,
        path: &str,
        authorizations: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Denied> {
        if self.is_open() || is_public(path) {
            return Ok(());
        }
        let given = bearer_token(authorizations).ok_or(Denied::NoToken)?;
        let is = |token: &Option<Secret>| token.as_ref().is_some_and(|token| token.is(given));
        match (is(&self.token), is(&self.read_token)) {
            (true, _) => Ok(()),
            (false, true) if matches!(*method, Method::GET | Method::HEAD) => Ok(()),
            (false, true) => Err(Denied::ReadOnly),
            (false, false) => Err(Denied::WrongToken),
        }
    }
}

impl Denied {
    /// What the client is told.
    pub fn reason(self) -> &'static str {
        match self {
            Denied::NoToken => "A token is needed: Authorization: Bearer TOKEN",
            Denied::WrongToken => "The token is not valid",
            Denied::ReadOnly => "The token is for reading only",
        }
    }

    /// The `WWW-Authenticate` that goes with it (RFC 6750, section 3).
    pub fn challenge(self) -> &'static str {
        match self {
            Denied::NoToken => "Bearer",
            Denied::WrongToken => r#"Bearer error="invalid_token""#,
            Denied::ReadOnly => r#"Bearer error="insufficient_scope""#,
        }
    }
}

/// Health and the API pages tell nothing about what is kept, and those who ask have no token: a
/// container's health check, a browser that opens the pages.
fn is_public(path: &str) -> bool {
    let path = path.strip_suffix('/').filter(|path| path.len() > 1).unwrap_or(path);
    matches!(path, "/health" | "/ready") || PATHS.contains(&path)
}

/// The token of the only `Authorization` field.
fn bearer_token<'a>(mut authorizations: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let credentials = authorizations.next()?;
    if authorizations.next().is_some() {
        return None;
    }
    let space = credentials.iter().position(|byte| *byte == b' ')?;
    let (scheme, token) = credentials.split_at(space);
    scheme.eq_ignore_ascii_case(b"Bearer").then(|| token.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "Bearer all";
    const READ: &str = "Bearer read";

    const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"];

    fn access(token: &str, read_token: &str) -> Access {
        Access { token: Secret::new(token), read_token: Secret::new(read_token) }
    }

    fn verdict(access: &Access, request: &str, authorizations: &[&str]) -> Result<(), Denied> {
        let (method, path) = request.split_once(' ').unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        access.check(&method, path, authorizations.iter().map(|value| value.as_bytes()))
    }

    #[track_caller]
    fn check(request: &str, authorizations: &[&str], expected: Result<(), Denied>) {
        let verdict = verdict(&access("all", "read"), request, authorizations);
        assert_eq!(verdict, expected, "{request} {authorizations:?}");
    }

    #[test]
    fn without_tokens_everybody_may_do_everything() {
        for authorizations in [&[][..], &[ALL], &["Basic YTpi"], &[ALL, ALL]] {
            assert_eq!(verdict(&Access::default(), "DELETE /keys/a", authorizations), Ok(()));
        }
    }

    #[test]
    fn a_token_opens_what_it_is_for() {
        for method in METHODS {
            let request = format!("{method} /keys/a");
            let is_read = matches!(*method, "GET" | "HEAD");
            check(&request, &[ALL], Ok(()));
            check(&request, &[READ], if is_read { Ok(()) } else { Err(Denied::ReadOnly) });
            check(&request, &["Bearer other"], Err(Denied::WrongToken));
            check(&request, &[], Err(Denied::NoToken));
        }
    }

    #[test]
    fn one_token_alone_closes_the_rest() {
        for (access, all, read) in [
            (access("all", ""), Ok(()), Err(Denied::WrongToken)),
            (access("", "read"), Err(Denied::WrongToken), Ok(())),
            (access("read", "read"), Err(Denied::WrongToken), Ok(())),
        ] {
            assert_eq!(verdict(&access, "GET /keys/a", &[ALL]), all);
            assert_eq!(verdict(&access, "GET /keys/a", &[READ]), read);
            assert_eq!(verdict(&access, "GET /keys/a", &[]), Err(Denied::NoToken));
        }
        let write = verdict(&access("", "read"), "PUT /keys/a", &[READ]);
        assert_eq!(write, Err(Denied::ReadOnly));
    }

    #[test]
    fn health_and_the_pages_are_public_and_nothing_else() {
        for path in PATHS.iter().chain(&["/health", "/ready", "/health/", "/docs/"]) {
            for method in METHODS {
                check(&format!("{method} {path}"), &[], Ok(()));
            }
        }
        let closed =
            ["/metrics", "/keys", "/keys/", "/keys/health", "/nowhere", "//", "*", "/Docs"];
        for path in closed.iter().chain(&["/docs/nowhere", "/health//", "/health/x", "/%68ealth"]) {
            check(&format!("GET {path}"), &[], Err(Denied::NoToken));
            check(&format!("GET {path}"), &[READ], Ok(()));
        }
    }

    #[test]
    fn credentials_have_the_form_of_the_rfc() {
        for taken in ["Bearer all", "bearer all", "BEARER all", "Bearer   all"] {
            check("GET /keys/a", &[taken], Ok(()));
        }
        for malformed in ["", "Bearer", "all", "Basic all", "Token all", "Bearerall", "Bearer\tall"]
        {
            check("GET /keys/a", &[malformed], Err(Denied::NoToken));
        }
        for wrong in ["Bearer ", "Bearer al", "Bearer alll", "Bearer ALL", "Bearer all x"] {
            check("GET /keys/a", &[wrong], Err(Denied::WrongToken));
        }
        check("GET /keys/a", &["Bearer all,all"], Err(Denied::WrongToken));
        check("GET /keys/a", &[ALL, ALL], Err(Denied::NoToken));
    }
}
