//! Where a database is: what the connection's settings say, judged.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::Url;

use crate::connector::{Class, Connection, Failure};

/// Which language a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
    /// MariaDB too.
    MySql,
}

#[derive(Debug, Clone)]
pub(super) enum Place {
    File(PathBuf),
    Server(Server),
}

#[derive(Debug, Clone)]
pub(super) struct Server {
    pub kind: Kind,
    pub host: String,
    pub port: u16,
    pub user: String,
    pub database: String,
    /// A socket of this machine instead of host and port: PostgreSQL's folder, MariaDB's file.
    pub socket: Option<PathBuf>,
    pub tls: bool,
}

impl Place {
    pub fn of(connection: &Connection) -> Result<Place, Failure> {
        let text = |key: &str| connection.settings.get(key).and_then(Value::as_str);
        let wrong = |why: &str| {
            let name = &connection.name;
            let how = "sqlite:PATH, postgres://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE";
            Failure::new(Class::Held, "sql.url", format!("`url` of the connection `{name}` {why}; write {how}"))
        };
        let url = text("url").unwrap_or_default();
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(':') {
                return Err(wrong("names no file"));
            }
            return Ok(Place::File(connection.dir.join(path)));
        }
        // The parser's message could repeat a password.
        let url = Url::parse(url).map_err(|_| wrong("is not a URL"))?;
        let (kind, usual) = match url.scheme() {
            "postgres" | "postgresql" => (Kind::Postgres, 5432),
            "mysql" | "mariadb" => (Kind::MySql, 3306),
            _ => return Err(wrong("names a database that this Millstream does not speak to")),
        };
        if url.password().is_some() {
            return Err(wrong("holds a password, which belongs into the credential `password`"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has options; they are settings of their own"));
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (user, database) = (decoded(url.username()), decoded(url.path().trim_start_matches('/')));
        let host = url.host_str().unwrap_or_default().to_owned();
        let socket = text("socket").map(|path| connection.dir.join(path));
        if user.is_empty() || database.is_empty() || (host.is_empty() && socket.is_none()) {
            return Err(wrong("lacks a user, a host or a database"));
        }
        Ok(Place::Server(Server {
            kind,
            host,
            port: url.port().unwrap_or(usual),
            user,
            database,
            // What stays within this machine's kernel needs no encryption.
            tls: socket.is_none() && text("tls") != Some("off"),
            socket,
        }))
    }

    pub fn kind(&self) -> Kind {
        match self {
            Place::File(_) => Kind::Sqlite,
            Place::Server(server) => server.kind,
        }
    }

    /// For messages.
    pub fn shown(&self) -> String {
        match self {
            Place::File(path) => path.display().to_string(),
            Place::Server(server) => match &server.socket {
                Some(socket) => socket.display().to_string(),
                None => format!("{}:{}", server.host, server.port),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::connector::Limits;

    fn of(url: &str) -> Result<Place, Failure> {
        Place::of(&Connection {
            name: "db".into(),
            connector: "sql".into(),
            settings: json!({"url": url}),
            credentials: BTreeMap::new(),
            base_url: None,
            token_url: None,
            limits: Limits::default(),
            breaker: None,
            dir: "/project".into(),
        })
    }

    #[test]
    fn a_url_says_where_and_never_holds_a_password() {
        let Ok(Place::Server(server)) = of("postgres://ada%40home@db.example.com/crm%20eu") else { panic!() };
        assert_eq!((server.user.as_str(), server.database.as_str(), server.port), ("ada@home", "crm eu", 5432));
        assert!(server.tls && server.kind == Kind::Postgres);
        assert_eq!(of("mariadb://a@h:3307/d").unwrap().shown(), "h:3307");
        assert_eq!(of("sqlite:leads.db").unwrap().shown(), "/project/leads.db");
        for wrong in [
            "postgres://a:geheim@h/d",
            "postgres://a@h/d?sslmode=disable",
            "postgres://h/d",
            "mysql://a@h/",
            "oracle://a@h/d",
            "x",
        ] {
            let failure = of(wrong).unwrap_err();
            assert_eq!(failure.code, "sql.url", "{wrong}");
            assert!(!failure.message.contains("geheim"), "{failure:?}");
        }
    }
}
