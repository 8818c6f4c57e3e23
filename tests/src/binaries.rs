//! Where the programs under test are. `KV_BIN` and `CHECKER_BIN` name other builds of them;
//! otherwise cargo builds both, once, with the profile and the target of the tests that run.

use std::env;
use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde::Deserialize;

/// The path of `kv`.
pub fn kv() -> &'static Path {
    static KV: LazyLock<PathBuf> = LazyLock::new(|| locate("KV_BIN", "kv"));
    &KV
}

pub(crate) fn checker() -> &'static Path {
    static CHECKER: LazyLock<PathBuf> = LazyLock::new(|| locate("CHECKER_BIN", "checker"));
    &CHECKER
}

fn locate(variable: &str, name: &str) -> PathBuf {
    static BUILT: LazyLock<Vec<PathBuf>> = LazyLock::new(build);
    if let Some(path) = env::var_os(variable) {
        return Path::new(&path).canonicalize().expect(variable);
    }
    BUILT.iter().find(|path| path.ends_with(name)).expect("cargo builds both programs").clone()
}

/// A line of what cargo says about a build.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// This executable is `{target directory}[/{target}]/{profile}/deps/{name}`.
fn build() -> Vec<PathBuf> {
    let executable = env::current_exe().expect("a test has a file");
    let mut above = executable.ancestors().skip(2);
    let profile = above.next().and_then(Path::file_name).expect("a directory of the profile");
    let profile = profile.to_str().expect("a profile's name is ASCII");
    let parent = above.next().expect("a directory of the target");
    let parent_name = parent.file_name().and_then(|name| name.to_str()).unwrap_or_default();

    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--bins", "--package", "kv", "--package", "checker"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--profile", if profile == "debug" { "dev" } else { profile }])
        .stderr(Stdio::inherit());
    if parent_name.starts_with(&format!("{ARCH}-")) {
        cargo.args(["--target", parent_name]);
        cargo.arg("--target-dir").arg(parent.parent().expect("a target directory"));
    } else {
        cargo.arg("--target-dir").arg(parent);
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "cargo cannot build the programs");
    output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Message>(line).ok()?.executable)
        .collect()
}
