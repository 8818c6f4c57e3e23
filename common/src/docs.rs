//! The API pages of a service: its `OpenAPI` document, and Swagger UI to read it and to try it out.
//!
//! Everything is in the binary; a page loads nothing from another host, and its content security
//! policy would not let it. Links are relative, so the pages also work behind a path prefix.
//!
//! Files are kept compressed, as `build.rs` left them. The few clients that take no gzip share one
//! inflated copy, so that they cost neither memory nor time by their number.

use std::sync::OnceLock;

use crate::http::{Body, Headers, Request, Response, StatusCode};

/// Every path that [`respond`] answers; all of them are for GET and HEAD.
pub const PATHS: &[&str] = &[
    "/",
    "/docs",
    "/docs/favicon.svg",
    "/docs/init.js",
    "/docs/swagger-ui-bundle.js",
    "/docs/swagger-ui.css",
    "/openapi.json",
    "/redoc",
];

/// What the pages of one service show.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The title of the window, as HTML text.
    pub title: &'static str,
    /// The `OpenAPI` document, as JSON text.
    pub openapi: &'static str,
}

/// Answers a GET or HEAD request for one of [`PATHS`]; `None` for any other path.
pub fn respond(request: &Request<'_>, page: &Page) -> Option<Response> {
    let response = match request.path {
        "/" | "/redoc" => Response::new(StatusCode::TEMPORARY_REDIRECT).header("Location", "docs"),
        "/docs" => {
            let html = PAGE.replace("{title}", page.title);
            Response::with_body(StatusCode::OK, "text/html; charset=utf-8", html)
        }
        "/openapi.json" => Response::json(StatusCode::OK, page.openapi),
        path => ASSETS.iter().find(|asset| asset.path == path)?.respond(&request.headers),
    };
    Some(
        response
            .header("Cache-Control", "no-cache")
            .header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
            .header("Referrer-Policy", "no-referrer")
            .header("X-Content-Type-Options", "nosniff"),
    )
}

/// Sends a client to the path that it meant, with the query that it gave.
pub fn redirect(path: &str, query: Option<&str>) -> Response {
    let location = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    Response::new(StatusCode::TEMPORARY_REDIRECT).header("Location", location)
}

const PAGE: &str = include_str!("docs/page.html");

/// Swagger UI's own images are `data:` URLs in its style sheet.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
     form-action 'none'";

static ASSETS: [Asset; 4] = [
    Asset::new(
        "/docs/favicon.svg",
        "image/svg+xml",
        include_bytes!(concat!(env!("OUT_DIR"), "/favicon.svg.gz")),
    ),
    Asset::new(
        "/docs/init.js",
        "text/javascript; charset=utf-8",
        include_bytes!(concat!(env!("OUT_DIR"), "/init.js.gz")),
    ),
    Asset::new(
        "/docs/swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
        include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz")),
    ),
    Asset::new(
        "/docs/swagger-ui.css",
        "text/css; charset=utf-8",
        include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz")),
    ),
];

/// A file that was compressed by the build.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    gzip: &'static [u8],
    inflated: OnceLock<Vec<u8>>,
}

impl Asset {
    const fn new(path: &'static str, content_type: &'static str, gzip: &'static [u8]) -> Self {
        Asset { path, content_type, gzip, inflated: OnceLock::new() }
    }

    fn respond(&'static self, headers: &Headers<'_>) -> Response {
        let tag = self.opaque_tag();
        let response = if holds_tag(headers, &tag) {
            Response::new(StatusCode::NOT_MODIFIED)
        } else if accepts_gzip(headers) {
            Response::with_body(StatusCode::OK, self.content_type, self.gzip)
                .header("Content-Encoding", "gzip")
        } else {
            Response::with_body(StatusCode::OK, self.content_type, self.inflated())
        };
        // Weak, because it stands for the file and not for one coding of it.
        response.header("ETag", format!("W/{tag}")).header("Vary", "Accept-Encoding")
    }

    /// A gzip stream ends with the checksum and the length of what is in it (RFC 1952, section
    /// 2.3.1): a name for the content that is already there.
    fn opaque_tag(&self) -> String {
        let trailer = self.gzip.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        format!("\"{trailer:016x}\"")
    }

    fn inflated(&'static self) -> Body {
        let plain = self.inflated.get_or_init(|| {
            let deflate = &self.gzip[GZIP_HEADER_BYTES..];
            miniz_oxide::inflate::decompress_to_vec(deflate).expect("the build wrote valid gzip")
        });
        Body::Static(plain)
    }
}

/// The header of a gzip stream that names no file (RFC 1952, section 2.3).
const GZIP_HEADER_BYTES: usize = 10;

/// Whether the client asked for gzip (RFC 9110, section 12.5.3). A client that names no coding at
/// all would have to take any, but is most often one that shows on a terminal what it gets.
fn accepts_gzip(headers: &Headers<'_>) -> bool {
    let mut others = false;
    for offer in list(headers, "Accept-Encoding") {
        let (coding, parameter) = offer.split_once(';').unwrap_or((offer, "q=1"));
        let wanted = parameter
            .trim_start()
            .strip_prefix(['q', 'Q'])
            .and_then(|rest| rest.trim_start().strip_prefix('='))
            // A weight is 0 to 1 in at most three decimals; it is not zero if a digit is not.
            .is_some_and(|weight| weight.contains(|digit| matches!(digit, '1'..='9')));
        match coding.trim_end() {
            "*" => others = wanted,
            coding if coding.eq_ignore_ascii_case("gzip") => return wanted,
            _ => {}
        }
    }
    others
}

/// Whether `If-None-Match` holds the tag, by weak comparison (RFC 9110, section 13.1.2).
fn holds_tag(headers: &Headers<'_>, opaque_tag: &str) -> bool {
    list(headers, "If-None-Match")
        .any(|member| member == "*" || member.strip_prefix("W/").unwrap_or(member) == opaque_tag)
}

/// The members of a comma-separated field, over all its lines (RFC 9110, section 5.6.1).
fn list<'a>(headers: &'a Headers<'a>, name: &'static str) -> impl Iterator<Item = &'a str> {
    headers
        .all(name)
        .filter_map(|value| str::from_utf8(value).ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::FieldValue;
    use crate::http::Method;

    const TEST_PAGE: Page = Page { title: "the title", openapi: r#"{"openapi":"3.1.0"}"# };

    fn get(path: &str, fields: &[(&str, &str)]) -> Option<Response> {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| httparse::Header { name, value: value.as_bytes() })
            .collect();
        let request = Request {
            method: Method::GET,
            path,
            query: None,
            headers: Headers::new(&fields),
            body: &[],
        };
        respond(&request, &TEST_PAGE)
    }

    fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
        let mut values = response.headers.iter().filter(|(other, _)| *other == name);
        values.next().map(|(_, value)| match value {
            FieldValue::Static(text) => *text,
            FieldValue::Text(text) => text.as_str(),
            FieldValue::Number(_) => panic!("no page has such a field"),
        })
    }

    #[test]
    fn each_path_has_its_answer() {
        #[track_caller]
        fn check(path: &str, status: u16, content_type: Option<&str>, holds: &str) {
            assert!(PATHS.contains(&path), "{path} is not in PATHS");
            let response = get(path, &[]).unwrap();
            let body = String::from_utf8(response.body.to_vec()).unwrap();
            assert_eq!((response.status.as_u16(), response.content_type), (status, content_type));
            assert!(body.contains(holds), "{path}: no {holds} in {} bytes", body.len());
            assert_eq!(field(&response, "X-Content-Type-Options"), Some("nosniff"));
            assert_eq!(field(&response, "Referrer-Policy"), Some("no-referrer"));
            assert_eq!(field(&response, "Content-Security-Policy"), Some(CONTENT_SECURITY_POLICY));
        }
        let script = Some("text/javascript; charset=utf-8");
        check("/", 307, None, "");
        check("/redoc", 307, None, "");
        check("/docs", 200, Some("text/html; charset=utf-8"), "<title>the title</title>");
        check("/openapi.json", 200, Some("application/json"), TEST_PAGE.openapi);
        check("/docs/init.js", 200, script, "SwaggerUIBundle({");
        check("/docs/swagger-ui-bundle.js", 200, script, "SwaggerUIBundle");
        check("/docs/swagger-ui.css", 200, Some("text/css; charset=utf-8"), "html.dark-mode body");
        check("/docs/favicon.svg", 200, Some("image/svg+xml"), "</svg>");
    }

    #[test]
    fn paths_are_what_is_answered() {
        for path in PATHS {
            assert!(get(path, &[]).is_some(), "{path}");
        }
        for path in ["", "/docs/", "/docs/x", "/Docs", "//", "*", "/openapi.json/", "/health"] {
            assert!(get(path, &[]).is_none(), "{path}");
        }
    }

    #[test]
    fn what_the_page_loads_is_there() {
        let response = get("/docs", &[]).unwrap();
        let html = String::from_utf8(response.body.to_vec()).unwrap();
        let links: Vec<_> = html
            .split(['"'])
            .zip(html.split('"').skip(1))
            .filter(|(before, _)| before.ends_with("href=") || before.ends_with("src="))
            .map(|(_, link)| format!("/{link}"))
            .collect();
        assert_eq!(links.len(), 5, "{links:?}");
        for link in links {
            assert_eq!(get(&link, &[]).map(|response| response.status), Some(StatusCode::OK));
        }
    }

    #[test]
    fn redirects_keep_a_path_prefix() {
        for path in ["/", "/redoc"] {
            assert_eq!(field(&get(path, &[]).unwrap(), "Location"), Some("docs"), "{path}");
        }
    }

    #[test]
    fn gzip_goes_to_those_who_ask_for_it() {
        #[track_caller]
        fn check(accept: &[&str], gzip: bool) {
            let fields: Vec<_> = accept.iter().map(|value| ("accept-encoding", *value)).collect();
            let response = get("/docs/swagger-ui.css", &fields).unwrap();
            let coding = field(&response, "Content-Encoding");
            assert_eq!(coding, gzip.then_some("gzip"), "{accept:?}");
            assert_eq!(response.body.to_vec().starts_with(&[0x1f, 0x8b]), gzip, "{accept:?}");
            assert_eq!(field(&response, "Vary"), Some("Accept-Encoding"));
        }
        check(&[], false);
        check(&[""], false);
        check(&["identity"], false);
        check(&["gzip"], true);
        check(&["GZip"], true);
        check(&["br, gzip, deflate"], true);
        check(&["br", "gzip"], true);
        check(&["gzip;q=0.5"], true);
        check(&["gzip ; q=0.001"], true);
        check(&["gzip;q=0"], false);
        check(&["gzip;q=0.000, *"], false);
        check(&["gzip;q=x"], false);
        check(&["gzip;level=9"], false);
        check(&["*"], true);
        check(&["*;q=0"], false);
        check(&["*;q=0, gzip"], true);
        check(&["gzipped"], false);
    }

    #[test]
    fn what_a_client_has_is_not_sent_again() {
        let path = "/docs/swagger-ui.css";
        let response = get(path, &[]).unwrap();
        let weak = field(&response, "ETag").unwrap();
        let strong = weak.strip_prefix("W/").unwrap();
        let check = |held: &str, status: u16| {
            let response = get(path, &[("if-none-match", held)]).unwrap();
            assert_eq!(response.status.as_u16(), status, "{held}");
            assert_eq!(field(&response, "ETag"), Some(weak), "{held}");
            assert_eq!(field(&response, "Cache-Control"), Some("no-cache"), "{held}");
            assert_eq!(response.body.to_vec().is_empty(), status == 304, "{held}");
        };
        check(weak, 304);
        check(strong, 304);
        check(&format!("\"other\", {weak}"), 304);
        check("*", 304);
        check("\"other\"", 200);
        check("W/", 200);
        check("", 200);
        check(strong.trim_matches('"'), 200);
    }

    #[test]
    fn files_have_different_tags() {
        let mut tags: Vec<_> = ASSETS.iter().map(Asset::opaque_tag).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), ASSETS.len());
    }
}
