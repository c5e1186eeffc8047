//! The Admin API under a public fuzzer: schemathesis makes calls of what `/openapi.json` says,
//! and no answer may be a 5xx or differ from what the document promises.
//!
//! It needs Python 3 and fetches the fuzzer once, into a folder below `target/`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cargo::{self, Failed};

/// What is fetched.
const PACKAGES: &[&str] = &["schemathesis==4.32.5", "openapi-spec-validator==0.9.0"];

/// How many calls are made unless told otherwise.
const CALLS: u64 = 20_000;

/// What every answer is held to. The phase `coverage`, which tries each field's bounds in turn, is
/// left out: it makes several hundred calls for each operation (`-- --phases=coverage` asks for it).
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

/// How schemathesis runs. `/status/dns` answers nothing but 501, as it should.
const OPTIONS: &[&str] = &[
    "--suppress-health-check=all",
    "--continue-on-failure",
    "--exclude-path=/status/dns",
    "--warnings=off",
    "--no-color",
];

/// How many sequences of calls are made, in each of which one call uses what another made.
const STORIES: u64 = 300;

/// How long the control plane may take to start.
const START_WITHIN: Duration = Duration::from_secs(30);

/// What the developer asks for.
struct Wanted {
    calls: u64,
    seed: u64,
    /// More arguments of schemathesis.
    more: Vec<String>,
}

/// Runs the fuzzer until enough calls were made.
pub(crate) fn run(args: &[String]) -> Result<(), Failed> {
    let wanted = Wanted::read(args)?;
    cargo::run(&["build", "--locked", "--bin", "hybridctl"])?;
    let directory = cargo::root().join("target/fuzz-api");
    fs::create_dir_all(&directory).map_err(|error| failed("cannot make a folder", &error))?;
    let tools = Tools::fetch(&directory)?;
    let node = Node::start(&directory)?;
    let document = directory.join("openapi.json");
    let text = node.get("/openapi.json")?;
    fs::write(&document, &text).map_err(|error| failed("cannot write the document", &error))?;
    tools.run("openapi-spec-validator", &[document.display().to_string()])?;

    // First calls that follow from each other, so that much is there when the rest comes.
    let fuzz = |phases: &str, each: u64, round: u64| {
        let mut arguments = vec![
            "run".to_owned(),
            document.display().to_string(),
            format!("--url=http://{}", node.address),
            format!("--phases={phases}"),
            format!("--checks={CHECKS}"),
            format!("--max-examples={each}"),
            format!("--seed={}", wanted.seed + round),
        ];
        arguments.extend(OPTIONS.iter().map(|option| (*option).to_owned()));
        arguments.extend(wanted.more.iter().cloned());
        tools.run("schemathesis", &arguments)
    };
    fuzz("stateful", STORIES, 0)?;
    // Each operation has a name; some take fewer calls than allowed, so there are rounds.
    let operations = text.matches("\"operationId\"").count().max(1) as u64;
    let mut round = 1;
    loop {
        let made = node.count("/status", "total_requests")?;
        if made >= wanted.calls {
            let events = node.count("/", "seq")?;
            eprintln!(
                "fuzz-api: {made} calls on {operations} operations, {events} of them accepted \
                 writes; none was answered wrongly"
            );
            return Ok(());
        }
        let each = ((wanted.calls - made) / operations).max(1);
        eprintln!(
            "fuzz-api: {made} of {} calls made, up to {each} for each operation",
            wanted.calls
        );
        fuzz("fuzzing", each, round)?;
        if node.count("/status", "total_requests")? == made {
            return Err(Failed("schemathesis makes no more calls".into()));
        }
        round += 1;
    }
}

impl Wanted {
    fn read(args: &[String]) -> Result<Self, Failed> {
        let mut wanted = Self { calls: CALLS, seed: 1, more: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let target = match arg.as_str() {
                "--calls" => &mut wanted.calls,
                "--seed" => &mut wanted.seed,
                "--" => {
                    wanted.more = args.cloned().collect();
                    break;
                }
                _ => return Err(Failed(format!("unknown argument {arg}"))),
            };
            let number = args.next().and_then(|number| number.parse().ok());
            *target = number.ok_or_else(|| Failed(format!("{arg} needs a number")))?;
        }
        Ok(wanted)
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failed {
    Failed(format!("{what}: {error}"))
}

/// The programs that were fetched.
struct Tools(PathBuf);

impl Tools {
    fn fetch(directory: &Path) -> Result<Self, Failed> {
        let tools = Self(directory.join("venv/bin"));
        let stamp = directory.join("venv/packages");
        let wanted = PACKAGES.join("\n");
        if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
            return Ok(tools);
        }
        let venv = directory.join("venv").display().to_string();
        start(Command::new("python3").args(["-m", "venv", &venv]))?;
        let mut install = Command::new(tools.0.join("pip"));
        start(install.args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))?;
        fs::write(stamp, wanted).map_err(|error| failed("cannot write to the venv", &error))?;
        Ok(tools)
    }

    fn run(&self, program: &str, args: &[String]) -> Result<(), Failed> {
        start(Command::new(self.0.join(program)).args(args))
    }
}

/// Runs a command and fails when it does.
fn start(command: &mut Command) -> Result<(), Failed> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.current_dir(cargo::root().join("target/fuzz-api")).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("{name} failed ({status})"))),
        Err(error) => Err(failed(&format!("cannot start {name}"), &error)),
    }
}

/// A control plane in a prefix of its own; both go with this value.
struct Node {
    process: Child,
    prefix: PathBuf,
    address: SocketAddr,
}

impl Node {
    fn start(directory: &Path) -> Result<Self, Failed> {
        let prefix = directory.join(format!("prefix-{}", std::process::id()));
        let _ = fs::remove_dir_all(&prefix);
        fs::create_dir_all(&prefix).map_err(|error| failed("cannot make a prefix", &error))?;
        let program = cargo::root().join("target/debug/hybridctl");
        let pair = [prefix.join("cluster.crt"), prefix.join("cluster.key")];
        start(
            Command::new(&program).args(["hybrid", "gen_cert"]).args(&pair).stdout(Stdio::null()),
        )?;
        let (address, cluster) = (free_address()?, free_address()?);
        let log = fs::File::create(directory.join("control-plane.log"))
            .map_err(|error| failed("cannot write a log", &error))?;
        let mut command = Command::new(&program);
        command.args(["run", "-p"]).arg(&prefix).stdout(Stdio::null()).stderr(log);
        let settings = [
            ("KONG_ROLE", "control_plane".to_owned()),
            ("KONG_ADMIN_LISTEN", address.to_string()),
            ("KONG_CLUSTER_LISTEN", cluster.to_string()),
            ("KONG_STATUS_LISTEN", "off".to_owned()),
            ("KONG_CLUSTER_CERT", pair[0].display().to_string()),
            ("KONG_CLUSTER_CERT_KEY", pair[1].display().to_string()),
            ("KONG_ADMIN_ERROR_LOG", "/dev/stderr".to_owned()),
        ];
        let process = command.envs(settings).spawn();
        let process = process.map_err(|error| failed("cannot start the control plane", &error))?;
        let node = Self { process, prefix, address };
        let deadline = Instant::now() + START_WITHIN;
        while node.get("/status").is_err() {
            if Instant::now() > deadline {
                return Err(Failed("the control plane does not answer".into()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(node)
    }

    /// Returns the body of an answer that is a success.
    fn get(&self, path: &str) -> Result<String, Failed> {
        let wrong = |error: std::io::Error| failed(&format!("GET {path}"), &error);
        let mut stream = TcpStream::connect(self.address).map_err(wrong)?;
        let address = self.address;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
            .map_err(wrong)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(wrong)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
            _ => Err(Failed(format!("GET {path} was not answered well: {answer}"))),
        }
    }

    /// Returns a number that an answer has under a name.
    fn count(&self, path: &str, name: &str) -> Result<u64, Failed> {
        let answer = self.get(path)?;
        let digits = answer
            .split_once(&format!("\"{name}\":"))
            .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        let count = digits.and_then(|digits| digits.parse().ok());
        count.ok_or_else(|| Failed(format!("{path} does not tell {name}")))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.prefix);
    }
}

/// Returns an address that nobody listens on now.
fn free_address() -> Result<SocketAddr, Failed> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map_err(|error| failed("cannot find a free port", &error))
}
