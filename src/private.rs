//! Files that only their owner can read: keys, tokens, secrets.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Says what is wrong if others can read or write the file; one that is not there is nobody's.
///
/// # Errors
/// A sentence for a person, with the command that mends it.
pub fn check(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(file) if file.permissions().mode() & 0o077 != 0 => Err(format!(
            "{shown} can be read by others; run `chmod 600 {shown}`, and if they may have read it, replace what is in it"
        )),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{shown}: {error}")),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Replaces `path` whole: after a crash it is the old file or the new one, never half of either. Durable on return.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    // What a crash left behind may have other rights.
    match fs::remove_file(fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(fresh, path)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => fs::File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_that_others_can_read_or_write_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        assert_eq!(super::check(&path), Ok(()));
        std::fs::write(&path, "x").unwrap();
        for (mode, fine) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false), (0o601, false)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(super::check(&path).is_ok(), fine, "{mode:o}");
        }
        assert!(super::check(&path).unwrap_err().contains(&format!("chmod 600 {}", path.display())));
    }

    #[test]
    fn a_file_is_replaced_whole_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.json");
        super::write(&path, b"old and long").unwrap();
        super::write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
