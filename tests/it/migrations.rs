//! `migrations`, and the commands about the log, against either database.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::harness::Directory;
use crate::postgres::Schema;

/// A node's settings in the environment of commands.
struct Node {
    directory: Directory,
    env: Vec<(String, String)>,
}

impl Node {
    fn new(env: Vec<(String, String)>) -> Self {
        Self { directory: Directory::new(), env }
    }

    fn prefix(&self) -> PathBuf {
        self.directory.path().join("node")
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command.env_clear().env("KONG_PREFIX", self.prefix());
        for name in ["PROXY", "ADMIN", "STATUS"] {
            command.env(format!("KONG_{name}_LISTEN"), "127.0.0.1:0");
        }
        command.envs(self.env.iter().cloned()).current_dir(self.directory.path());
        command.args(line.split_whitespace()).output().unwrap()
    }

    /// Runs a command that must end so, and returns what it said.
    #[track_caller]
    fn says(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let said = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {said}{complained}");
        said + &complained
    }
}

const NEEDS_BOOTSTRAP: &str = "Database needs bootstrapping or is older than Kong 1.0.\n\n\
     To start a new installation from scratch, run 'kong migrations bootstrap'.";

#[test]
fn tables_are_made_listed_and_dropped_in_kongs_words() {
    for env in [Schema::new().env(), vec![("KONG_DATABASE".to_owned(), "sqlite".to_owned())]] {
        let node = Node::new(env);
        node.says("prepare", 0);
        assert_eq!(node.says("migrations list", 3), format!("{NEEDS_BOOTSTRAP}\n"));
        let refused = node.says("migrations up", 1);
        assert!(refused.contains("run 'kong migrations bootstrap'"), "{refused}");
        assert_eq!(
            node.says("migrations reset -y", 1),
            "Database not bootstrapped, nothing to reset\n"
        );
        let said = node.says("migrations bootstrap", 0);
        assert!(said.starts_with("Bootstrapping database...\n"), "{said}");
        assert!(said.contains("log migrated up to: 001_log (executed)\n"), "{said}");
        assert!(said.ends_with("Database is up-to-date\n"), "{said}");
        assert_eq!(node.says("migrations bootstrap", 0), "Database already bootstrapped\n");
        assert_eq!(node.says("migrations up -q", 0), "");
        assert_eq!(node.says("migrations up", 0), "Database is already up-to-date\n");
        assert_eq!(node.says("migrations finish", 0), "No pending migrations to finish\n");
        let listed = node.says("migrations list", 0);
        assert_eq!(
            listed,
            "Executed migrations:\n  log: 001_log, 002_admin_tokens, 003_promotions, 004_compaction, \
             005_fleet\n"
        );
        let status = node.says("migrations status", 0);
        assert!(status.contains(r#""needs_bootstrap":false"#), "{status}");
        assert!(node.says("migrations reset", 1).contains("--yes"));
        let said = node.says("migrations reset --yes", 0);
        assert_eq!(said, "Resetting database...\nDatabase successfully reset\n");
        node.says("migrations list", 3);
    }
}

#[test]
fn a_node_does_not_start_on_tables_that_are_not_there() {
    let node = Node::new(Schema::new().env());
    let refused = node.says("start", 1);
    assert!(refused.contains(NEEDS_BOOTSTRAP), "{refused}");
    assert!(node.says("start --run-migrations", 0).contains("Kong started"));
    node.says("stop", 0);
}

#[test]
fn without_a_database_nothing_is_to_be_made() {
    let node = Node::new(vec![("KONG_DATABASE".to_owned(), "off".to_owned())]);
    assert_eq!(node.says("migrations bootstrap", 0), "Database already bootstrapped\n");
}

#[test]
fn commands_about_the_log_work_on_postgres() {
    let node = Node::new(Schema::new().env());
    node.says("migrations bootstrap", 0);
    let write = |name: &str, host: &str| {
        let text = format!("_format_version: '3.0'\nservices:\n- name: a\n  host: {host}\n");
        std::fs::write(node.directory.path().join(name), text).unwrap();
    };
    write("blue.yml", "blue");
    write("green.yml", "green");
    node.says("config db_import blue.yml", 0);
    node.says("config db_import green.yml", 0);
    node.says("log show", 0);
    let replayed = node.says("log replay --to 1", 0);
    assert!(replayed.contains("blue"), "{replayed}");
    node.says("rollback 1 --reason back", 0);
    node.says("config db_export now.yml", 0);
    let exported = std::fs::read_to_string(node.directory.path().join("now.yml")).unwrap();
    assert!(exported.contains("blue"), "{exported}");
    node.says("log verify", 0);
    node.says("snapshot list", 0);
    node.says("snapshot diff 1 2", 0);
    node.says("snapshot export -o config.json.gz", 0);
    node.says("token create --role admin --name ci", 0);
    assert!(node.says("token list", 0).contains("ci"));
    node.says("token revoke ci", 0);
}

#[test]
fn a_database_that_cannot_be_reached_is_named_and_no_password_shown() {
    let mut env = Schema::new().env();
    env.retain(|(name, _)| name != "KONG_PG_PORT");
    env.push(("KONG_PG_PORT".to_owned(), "1".to_owned()));
    env.push(("KONG_PG_PASSWORD".to_owned(), "hunter2".to_owned()));
    let node = Node::new(env);
    for line in ["--vv start", "log show", "migrations list"] {
        let said = node.says(line, 1);
        assert!(said.contains("postgres"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
