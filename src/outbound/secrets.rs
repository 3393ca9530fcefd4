//! Where the values of credentials come from, at the time of each call: a change works from the next call on.

use std::path::Path;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::connector::{Class, Connection, Failure, SecretSource};
use crate::vault::Vault;

/// Resolves credentials. Cheap to clone.
#[derive(Clone, Default)]
pub struct Secrets {
    vault: Option<Arc<Vault>>,
}

impl Secrets {
    /// With `None` no credential can be in the vault.
    pub fn new(vault: Option<Arc<Vault>>) -> Secrets {
        Secrets { vault }
    }

    /// Where tokens are kept; none in a process that keeps nothing.
    pub(super) fn vault(&self) -> Option<&Arc<Vault>> {
        self.vault.as_ref()
    }

    /// The value of the connection's credential `name`; a missing one holds the run until a person supplies it.
    pub async fn resolve(&self, connection: &Connection, name: &str) -> Result<SecretString, Failure> {
        let missing = |place: String, now: String| {
            let of = &connection.name;
            let what = format!("the credential `{name}` of the connection `{of}` is missing: {place}; {now}");
            Failure::new(Class::Held, "secret.missing", what)
        };
        let Some(source) = connection.credentials.get(name) else {
            let place = "connections.yaml does not name it".to_owned();
            return Err(missing(place, format!("add `{name}: {{secret: NAME}}` to its credentials")));
        };
        self.find(source, &connection.dir).await.map_err(|(place, now)| missing(place, now))
    }

    /// The value at `source`, relative paths starting at `dir`; or what is wrong there, and what to do.
    ///
    /// Line ends at its end are not part of it, wherever it is from: an editor, `echo` or a mounted file put them there.
    /// Blanks are: a password may end with one.
    pub async fn find(&self, source: &SecretSource, dir: &Path) -> Result<SecretString, (String, String)> {
        self.found(source, dir).await.map(|found| {
            let text = found.expose_secret();
            let line = text.trim_end_matches(['\r', '\n']);
            if line.len() == text.len() { found } else { SecretString::from(line) }
        })
    }

    async fn found(&self, source: &SecretSource, dir: &Path) -> Result<SecretString, (String, String)> {
        match source {
            SecretSource::Secret(key) => {
                let found = self.vault.as_ref().map(|vault| vault.get(key)).transpose();
                let found = found.map_err(|error| (error.to_string(), "set it anew".to_owned()))?;
                found.flatten().ok_or_else(|| {
                    (format!("the vault has no secret `{key}`"), format!("run `millstream secret set {key}`"))
                })
            }
            SecretSource::Env(key) => std::env::var(key).map(SecretString::from).map_err(|_| {
                let place = format!("the environment variable `{key}` is not set");
                (place, "set it and start Millstream anew".to_owned())
            }),
            SecretSource::File(path) => {
                let path = dir.join(path);
                match tokio::fs::read_to_string(&path).await {
                    Ok(text) => Ok(SecretString::from(text)),
                    Err(error) => {
                        let place = format!("the file {} could not be read ({error})", path.display());
                        Err((place, "write the value there".to_owned()))
                    }
                }
            }
        }
    }

    /// The same, but `None` where connections.yaml does not name the credential.
    pub async fn optional(&self, connection: &Connection, name: &str) -> Result<Option<SecretString>, Failure> {
        if connection.credentials.contains_key(name) {
            self.resolve(connection, name).await.map(Some)
        } else {
            Ok(None)
        }
    }
}
