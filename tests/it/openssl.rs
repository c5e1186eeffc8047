//! Certificates made by the real `openssl`, as its manuals and Kong's tell people to.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a machine without it is told.
pub(crate) const MISSING: &str = "openssl must be installed (Debian: apt-get install openssl)";

/// Runs `openssl` in a directory.
#[track_caller]
pub(crate) fn run(directory: &Path, arguments: &[&str]) {
    let ran = Command::new("openssl").args(arguments).current_dir(directory).output();
    let ran = ran.expect(MISSING);
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// The arguments that make a key of a kind.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    Ec,
    Rsa,
}

impl Key {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ec => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::Rsa => &["-newkey", "rsa:2048"],
        }
    }
}

/// An authority, or an intermediate.
pub(crate) struct Authority {
    directory: PathBuf,
    name: String,
    /// Whether its certificate goes along with those that it issues.
    is_intermediate: bool,
}

impl Authority {
    /// Makes a root.
    pub(crate) fn root(directory: &Path, name: &str, key: Key) -> Self {
        let (file, subject) = (format!("{name}.crt"), format!("/CN={name}"));
        let key_file = format!("{name}.key");
        let mut arguments = vec!["req", "-x509", "-new", "-nodes", "-days", "30"];
        arguments.extend(key.arguments());
        arguments.extend(["-keyout", &key_file, "-out", &file, "-subj", &subject]);
        run(directory, &arguments);
        Self { directory: directory.to_owned(), name: name.to_owned(), is_intermediate: false }
    }

    /// Makes an intermediate of it.
    pub(crate) fn intermediate(&self, name: &str, key: Key) -> Self {
        self.issue(name, name, key, "basicConstraints=critical,CA:TRUE\n", 30);
        Self { directory: self.directory.clone(), name: name.to_owned(), is_intermediate: true }
    }

    /// Returns the file of its certificate.
    pub(crate) fn file(&self) -> String {
        self.path("crt")
    }

    /// Issues a pair with these extensions (none makes an X.509 version 1 certificate), and returns
    /// the names of its files.
    pub(crate) fn issue(
        &self,
        file: &str,
        name: &str,
        key: Key,
        extensions: &str,
        days: u32,
    ) -> (String, String) {
        self.issue_with(file, name, key, extensions, days, &["-CAcreateserial"])
    }

    /// Does the same with a serial number of one's own.
    pub(crate) fn issue_numbered(
        &self,
        file: &str,
        name: &str,
        serial: u32,
        key: Key,
        extensions: &str,
        days: u32,
    ) -> (String, String) {
        let serial = serial.to_string();
        self.issue_with(file, name, key, extensions, days, &["-set_serial", &serial])
    }

    fn issue_with(
        &self,
        file: &str,
        name: &str,
        key: Key,
        extensions: &str,
        days: u32,
        serial: &[&str],
    ) -> (String, String) {
        let directory = self.directory.as_path();
        let path =
            |extension: &str| directory.join(format!("{file}.{extension}")).display().to_string();
        let (certificate, key_file, request) = (path("crt"), path("key"), path("csr"));
        let subject = format!("/CN={name}");
        let mut arguments = vec!["req", "-new", "-nodes"];
        arguments.extend(key.arguments());
        arguments.extend(["-keyout", &key_file, "-out", &request, "-subj", &subject]);
        run(directory, &arguments);

        let (own, own_key, days) = (self.file(), self.path("key"), days.to_string());
        let mut arguments = vec!["x509", "-req", "-in", &request, "-CA", &own, "-CAkey", &own_key];
        arguments.extend(["-out", &certificate, "-days", &days]);
        arguments.extend(serial);
        let extension_file = path("ext");
        if !extensions.is_empty() {
            std::fs::write(&extension_file, extensions).unwrap();
            arguments.extend(["-extfile", &extension_file]);
        }
        run(directory, &arguments);
        if self.is_intermediate {
            let chain = [&certificate, &own].map(|file| std::fs::read_to_string(file).unwrap());
            std::fs::write(&certificate, chain.concat()).unwrap();
        }
        (certificate, key_file)
    }

    fn path(&self, extension: &str) -> String {
        self.directory.join(format!("{}.{extension}", self.name)).display().to_string()
    }
}

/// Makes a self-signed pair for shared mode and returns the names of its files.
pub(crate) fn shared(directory: &Path, file: &str, key: Key) -> (String, String) {
    let path =
        |extension: &str| directory.join(format!("{file}.{extension}")).display().to_string();
    let (certificate, key_file) = (path("crt"), path("key"));
    let mut arguments = vec!["req", "-x509", "-new", "-nodes", "-days", "90"];
    arguments.extend(key.arguments());
    arguments.extend(["-keyout", &key_file, "-out", &certificate, "-subj", "/CN=kong_clustering"]);
    run(directory, &arguments);
    (certificate, key_file)
}
