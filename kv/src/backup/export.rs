//! `kv export`

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use memchr::memchr_iter;
use ureq::Body;
use ureq::http::Response;

use super::{BUFFER_BYTES, Transfer, TransferError, agent, error_in, say, text};

/// Writes everything that a running kv keeps, as it is at one moment, to a file, which is there
/// only if it is whole.
pub fn export(transfer: &Transfer) -> Result<(), TransferError> {
    let url = format!("{}/export", transfer.url);
    let response = begin(transfer, &url)?;
    let name = transfer.file_name("standard output");
    let failed = |error| TransferError::File(name.clone(), error);
    let keys = match &transfer.file {
        None => {
            let mut output = io::stdout().lock();
            let keys = copy(response, &url, &mut output, &name)?;
            output.flush().map_err(failed)?;
            keys
        }
        Some(path) => {
            let mut draft = Draft::create(path).map_err(failed)?;
            let keys = copy(response, &url, &mut draft.file, &name)?;
            draft.publish().map_err(failed)?;
            keys
        }
    };
    say(format_args!("{keys} keys"));
    Ok(())
}

/// Asks for the export; its head has come.
fn begin(transfer: &Transfer, url: &str) -> Result<Response<Body>, TransferError> {
    let failed = |error| TransferError::Call(url.to_owned(), error);
    let request = transfer.authorized(agent().get(url));
    let mut response = request.call().map_err(failed)?;
    let status = response.status().as_u16();
    if status != 200 {
        let error = error_in(&text(&mut response).map_err(failed)?);
        return Err(TransferError::Refused { url: url.to_owned(), status, error });
    }
    // Only these two tell a whole body from one that broke off (RFC 9112, section 8).
    let framed = ["Transfer-Encoding", "Content-Length"];
    if !framed.iter().any(|name| response.headers().contains_key(*name)) {
        return Err(TransferError::Endless(url.to_owned()));
    }
    Ok(response)
}

/// Copies the body up to its end, and counts its lines.
fn copy(
    response: Response<Body>,
    url: &str,
    to: &mut impl Write,
    name: &str,
) -> Result<u64, TransferError> {
    let mut body = response.into_body().into_reader();
    let (mut piece, mut keys, mut last) = (vec![0; BUFFER_BYTES], 0, b'\n');
    let broke_off = |keys, error| TransferError::BrokeOff { url: url.to_owned(), keys, error };
    loop {
        match body.read(&mut piece) {
            Ok(0) if last != b'\n' => return Err(broke_off(keys, "within a line".to_owned())),
            Ok(0) => return Ok(keys),
            Ok(count) => {
                let bytes = &piece[..count];
                keys += memchr_iter(b'\n', bytes).count() as u64;
                last = bytes[count - 1];
                to.write_all(bytes).map_err(|error| TransferError::File(name.to_owned(), error))?;
            }
            Err(error) => return Err(broke_off(keys, error.to_string())),
        }
    }
}

/// A file under another name until it is whole; removed if it is not.
struct Draft<'a> {
    file: File,
    written_as: PathBuf,
    path: &'a Path,
}

impl<'a> Draft<'a> {
    fn create(path: &'a Path) -> io::Result<Self> {
        let mut written_as = OsString::from(path);
        written_as.push(".tmp");
        let written_as = PathBuf::from(written_as);
        Ok(Draft { file: File::create(&written_as)?, written_as, path })
    }

    /// Puts it in its place, where it survives a power cut.
    fn publish(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.written_as, self.path)?;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // It has another name by now if it is whole.
        let _ = fs::remove_file(&self.written_as);
    }
}
