//! The data folder, `.millstream` unless told otherwise: keys, tokens, where the running server is, the store.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::private;

/// Where things lie in a data folder.
#[derive(Debug, Clone)]
pub struct Data(PathBuf);

/// Where the running server listens, left in `server.json` for the command line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Whereabouts {
    pub pid: u32,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    /// `https` if the public listener has a certificate.
    pub scheme: String,
}

impl Data {
    /// Opens the folder, making it for its owner alone if it is not there.
    ///
    /// # Errors
    /// What is wrong and what to do, if it cannot be made or others can read it.
    pub fn open(path: &Path) -> Result<Data, String> {
        let shown = path.display();
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| unusable(path, &error))?;
        let metadata = fs::metadata(path).map_err(|error| format!("the data folder {shown}: {error}"))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(format!("the data folder {shown} can be entered by others; run `chmod 700 {shown}`"));
        }
        Ok(Data(path.to_owned()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Asks the system whether files may be made in the folder. Whether there is room for them is another matter, which
    /// passes.
    ///
    /// # Errors
    /// What is wrong and what to do.
    pub fn check_writable(&self) -> Result<(), String> {
        use rustix::fs::{Access, AtFlags, CWD, accessat};
        let (all, store) = (Access::WRITE_OK | Access::EXEC_OK, self.0.join("store"));
        for folder in [&self.0, &store].into_iter().filter(|folder| folder.is_dir()) {
            accessat(CWD, folder, all, AtFlags::EACCESS).map_err(|error| unusable(folder, &error.into()))?;
        }
        Ok(())
    }

    /// The admin API's token, made on first use.
    ///
    /// # Errors
    /// A sentence for a person, if `admin.token` cannot be read or written, or others can read it.
    pub fn admin_token(&self) -> Result<SecretString, String> {
        let path = self.0.join("admin.token");
        let shown = path.display();
        private::check(&path)?;
        match fs::read_to_string(&path) {
            Ok(text) if text.trim().len() >= 32 => Ok(SecretString::from(text.trim().to_owned())),
            Ok(_) => Err(format!("{shown} holds no token; remove it and a new one is made")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0u8; 32];
                getrandom::fill(&mut bytes).map_err(|error| format!("no randomness for a new token: {error}"))?;
                let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                private::write(&path, token.as_bytes())
                    .map_err(|error| format!("{shown} could not be written: {error}"))?;
                Ok(SecretString::from(token))
            }
            Err(error) => Err(format!("{shown} could not be read: {error}")),
        }
    }

    /// Tells the command line where the server is.
    pub fn announce(&self, whereabouts: &Whereabouts) -> io::Result<()> {
        let text = serde_json::to_string(whereabouts).map_err(io::Error::other)?;
        private::write(&self.0.join("server.json"), text.as_bytes())
    }

    /// Takes that back.
    pub fn withdraw(&self) {
        let _ = fs::remove_file(self.0.join("server.json"));
    }

    /// Where a server said it is; it may be gone.
    pub fn whereabouts(&self) -> Option<Whereabouts> {
        serde_json::from_str(&fs::read_to_string(self.0.join("server.json")).ok()?).ok()
    }
}

/// As the journal says it of what it cannot use.
fn unusable(path: &Path, error: &io::Error) -> String {
    format!(
        "{}: E-STORE-001 the data folder cannot be used\n  {error}\n  see to its owner, its rights and the disk it is on, \
         or give Millstream another folder with --data",
        path.display()
    )
}
