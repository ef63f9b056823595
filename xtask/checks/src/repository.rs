//! Reading the repository: its texts, and what lies at its top level.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

/// A text of the repository.
pub(crate) struct TextFile {
    /// Relative to the root of the repository, with `/`.
    pub path: String,
    pub text: String,
}

/// Every file below the directories whose name ends in `extension`, in a fixed order.
pub(crate) fn read_all(
    root: &Path,
    directories: &[&str],
    extension: &str,
) -> anyhow::Result<Vec<TextFile>> {
    let mut files = Vec::new();
    let mut pending: Vec<_> = directories.iter().map(|name| root.join(name)).collect();
    pending.retain(|directory| directory.exists());
    while let Some(directory) = pending.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let is_ours = name != "target" && !name.as_encoded_bytes().starts_with(b".");
            if entry.file_type()?.is_dir() && is_ours {
                pending.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let relative = path.strip_prefix(root).unwrap_or(&path);
                files.push(TextFile {
                    path: relative.display().to_string(),
                    text: fs::read_to_string(&path)
                        .with_context(|| format!("cannot read {}", path.display()))?,
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The names at the top level of the repository: those that git knows, so that nobody's own notes
/// get in the way, or all but `target` where this is not a git checkout.
pub(crate) fn top_level(root: &Path) -> anyhow::Result<Vec<String>> {
    let listing = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    if let Ok(listing) = listing
        && listing.status.success()
        && !listing.stdout.is_empty()
    {
        let mut names: Vec<_> = String::from_utf8_lossy(&listing.stdout)
            .split_terminator('\0')
            .filter_map(|path| path.split('/').next())
            .map(str::to_owned)
            .collect();
        names.dedup();
        return Ok(names);
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "target" {
            names.push(name);
        }
    }
    Ok(names)
}
