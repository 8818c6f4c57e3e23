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
            .trim()
            .strip_prefix(['q', 'Q'])
            .and_then(|rest| rest.trim_start().strip_prefix('='))
            .and_then(|weight| weight.trim_start().parse::<f32>().ok())
            .is_some_and(|weight| weight > 0.0);
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
