//! Puts the files of the API pages into `OUT_DIR`, compressed as small as gzip gets.
//!
//! The build needs no network: Swagger UI is an archive inside a crate. The same sources give the
//! same bytes.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{Cursor, Read};
use std::num::NonZeroU64;
use std::path::PathBuf;

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// 3 take 3 seconds; the usual 15 save 200 bytes more.
const ITERATIONS: NonZeroU64 = NonZeroU64::new(3).unwrap();

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/docs");

    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    let script = from_archive(&mut archive, "swagger-ui-bundle.js")?;
    let style = from_archive(&mut archive, "swagger-ui.css")? + &from_sources("page.css")?;

    embed("swagger-ui-bundle.js", &script)?;
    embed("swagger-ui.css", &style)?;
    embed("init.js", &from_sources("init.js")?)?;
    embed("favicon.svg", &from_sources("favicon.svg")?)
}

/// The text of a file of Swagger UI's distribution, without the reference to its source map,
/// which is not served.
fn from_archive(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<String> {
    let inside = format!("/dist/{name}");
    let path = archive
        .file_names()
        .find(|path| path.matches('/').count() == 2 && path.ends_with(&inside))
        .map(str::to_owned)
        .ok_or_else(|| format!("no {name} in the Swagger UI archive"))?;
    let mut text = String::new();
    archive.by_name(&path)?.read_to_string(&mut text)?;
    Ok(text.split_inclusive('\n').filter(|line| !line.contains("# sourceMappingURL=")).collect())
}

fn from_sources(name: &str) -> Result<String> {
    let path = PathBuf::from("src/docs").join(name);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Writes `OUT_DIR/{name}.gz`.
fn embed(name: &str, text: &str) -> Result<()> {
    let mut gzip = Vec::new();
    let options = zopfli::Options { iteration_count: ITERATIONS, ..zopfli::Options::default() };
    zopfli::compress(options, zopfli::Format::Gzip, text.as_bytes(), &mut gzip)?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join(format!("{name}.gz"));
    Ok(fs::write(out, gzip)?)
}
