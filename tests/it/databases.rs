//! Real servers of PostgreSQL and MariaDB in a folder of their own, on a free port of 127.0.0.1, run by a user without
//! rights and stopped by their ids; and a wire to them that breaks where a test says.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The password of `ada`.
pub const PASSWORD: &str = "geheim-und-lang";

pub struct Database {
    child: Child,
    pub folder: tempfile::TempDir,
    pub port: u16,
}

impl Drop for Database {
    fn drop(&mut self) {
        // Not -9: PostgreSQL's own children end with it.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) && !matches!(self.child.try_wait(), Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

/// The program, as a user without rights where the tests run as root: neither server starts otherwise.
fn command(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {said}");
}

/// A folder that this user and the server's may use.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["one.cert.pem", "one.key.pem"] {
        let to = folder.path().join(name);
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name), &to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
    if is_root() {
        run(Command::new("chown").args(["-R", "nobody:nogroup"]).arg(folder.path()));
    }
    folder
}

fn log(folder: &Path) -> std::fs::File {
    std::fs::File::create(folder.join("log")).unwrap()
}

impl Database {
    /// PostgreSQL of this system, with the role `ada` and the database `postgres`, with and without TLS.
    pub fn postgres() -> Database {
        let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed; tests/run does that");
        let programs: PathBuf = versions.map(|entry| entry.unwrap().path().join("bin")).max().unwrap();
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let mut made = command(&programs.join("initdb"));
        made.args(["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--username=ada"]);
        run(made.arg("--pwfile").arg(path("password")).arg("--pgdata").arg(path("data")).current_dir(folder.path()));
        let port = free_port();
        let set = |name: &str, value: String| ["-c".to_owned(), format!("{name}={value}")];
        let mut server = command(&programs.join("postgres"));
        server.arg("-D").arg(path("data")).args(["-p", &port.to_string(), "-k", &folder.path().display().to_string()]);
        server.args(set("listen_addresses", "127.0.0.1".into())).args(set("fsync", "off".into()));
        server.args(set("ssl", "on".into())).args(set("ssl_cert_file", path("one.cert.pem").display().to_string()));
        server.args(set("ssl_key_file", path("one.key.pem").display().to_string()));
        Database::started(server, folder, port)
    }

    /// MariaDB of this system, with the user `ada` and the database `crm`, with and without TLS.
    pub fn mariadb() -> Database {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let install = Path::new("/usr/bin/mariadb-install-db");
        assert!(install.exists(), "MariaDB is installed; tests/run does that");
        let data = format!("--datadir={}", path("data").display());
        let mut made = command(install);
        made.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal", &data]);
        // Two at once would take each other's temporary files away.
        run(made.current_dir(folder.path()).env("TMPDIR", folder.path()));
        let first = path("first.sql");
        let sql = format!(
            // A statement a line: of a line with several, the first is run.
            "CREATE DATABASE crm;\n\
             CREATE USER ada IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON crm.* TO ada;\n\
             CREATE USER encrypted IDENTIFIED BY '{PASSWORD}' REQUIRE SSL;\nGRANT ALL ON crm.* TO encrypted;\n"
        );
        std::fs::write(&first, sql).unwrap();
        let port = free_port();
        let mut server = command(Path::new("/usr/sbin/mariadbd"));
        server.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", &data]);
        server.args([
            format!("--port={port}"),
            format!("--socket={}", path("socket").display()),
            format!("--tmpdir={}", folder.path().display()),
            format!("--pid-file={}", path("pid").display()),
            format!("--init-file={}", first.display()),
            format!("--ssl-cert={}", path("one.cert.pem").display()),
            format!("--ssl-key={}", path("one.key.pem").display()),
            "--innodb-flush-log-at-trx-commit=0".into(),
            "--innodb-buffer-pool-size=16M".into(),
        ]);
        Database::started(server, folder, port)
    }

    fn started(mut server: Command, folder: tempfile::TempDir, port: u16) -> Database {
        let log = log(folder.path());
        let child =
            server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).current_dir(folder.path()).spawn();
        let mut database = Database { child: child.unwrap(), folder, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = || std::fs::read_to_string(database.folder.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "it did not start: {}", said());
            if let Ok(Some(ended)) = database.child.try_wait() {
                panic!("it ended ({ended}): {}", said());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        database
    }
}

/// What the wire does with a connection once a text has gone to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The server's answers are swallowed.
    Silence = 1,
    /// Both sides see it end, a moment after the text went on.
    Cut = 2,
}

/// Carries connections to a server.
pub struct Wire {
    pub port: u16,
    rule: Arc<Mutex<Rule>>,
}

/// Which text, and what then.
type Rule = Option<(Vec<u8>, Then)>;

impl Wire {
    pub fn to(port: u16) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Wire { port: listener.local_addr().unwrap().port(), rule: Arc::default() };
        let rule = wire.rule.clone();
        std::thread::spawn(move || {
            for inside in listener.incoming().flatten() {
                let outside = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)));
                let Ok(outside) = outside else { continue };
                let state = Arc::new(AtomicU8::new(0));
                let (there, back) = (pair(&inside, &outside), pair(&outside, &inside));
                let (rule, seen) = (rule.clone(), state.clone());
                std::thread::spawn(move || {
                    carry(there, |bytes| {
                        if let Some((text, then)) = &*rule.lock().unwrap()
                            && bytes.windows(text.len()).any(|window| window == text)
                        {
                            seen.store(*then as u8, Ordering::SeqCst);
                        }
                        Some(true)
                    })
                });
                std::thread::spawn(move || {
                    carry(back, |_| match state.load(Ordering::SeqCst) {
                        0 => Some(true),
                        1 => Some(false),
                        _ => None,
                    })
                });
            }
        });
        wire
    }

    /// From now on, until [`Wire::heals`].
    pub fn once(&self, text: &str, then: Then) {
        *self.rule.lock().unwrap() = Some((text.as_bytes().to_vec(), then));
    }

    pub fn heals(&self) {
        *self.rule.lock().unwrap() = None;
    }
}

fn pair(from: &TcpStream, to: &TcpStream) -> (TcpStream, TcpStream) {
    (from.try_clone().unwrap(), to.try_clone().unwrap())
}

/// `passes` says whether bytes go on, are swallowed, or end the connection.
fn carry((mut from, mut to): (TcpStream, TcpStream), passes: impl Fn(&[u8]) -> Option<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        match passes(&buffer[..count]) {
            Some(true) if to.write_all(&buffer[..count]).is_ok() => {}
            Some(false) => {}
            _ => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
