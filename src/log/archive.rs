//! Files of the log on the disk: written under another name first, so that a file of that name is whole,
//! and readable by their owner alone. Archives are compressed; whoever reads finds out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::failpoint;

/// How a file in gzip's format begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file that is not in its place yet.
pub struct Draft {
    sink: Sink,
    temporary: PathBuf,
    path: PathBuf,
}

enum Sink {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}

impl Draft {
    /// Begins a file as it is.
    ///
    /// # Errors
    ///
    /// It cannot be made beside its place.
    pub fn plain(path: &Path) -> io::Result<Self> {
        let (file, temporary) = create(path)?;
        Ok(Self { sink: Sink::Plain(file), temporary, path: path.to_owned() })
    }

    /// Begins a compressed file.
    ///
    /// # Errors
    ///
    /// It cannot be made beside its place.
    pub fn gzip(path: &Path) -> io::Result<Self> {
        let (file, temporary) = create(path)?;
        let sink = Sink::Gzip(Box::new(GzEncoder::new(file, Compression::default())));
        Ok(Self { sink, temporary, path: path.to_owned() })
    }

    /// Puts the file in its place: durable, with its name, when it returns.
    ///
    /// # Errors
    ///
    /// It cannot be written; then there is no file of that name, or the one of before.
    pub fn commit(self) -> io::Result<()> {
        let file = match self.sink {
            Sink::Plain(file) => file,
            Sink::Gzip(encoder) => encoder.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        failpoint::hit("export.synced");
        fs::rename(&self.temporary, &self.path)?;
        failpoint::hit("export.renamed");
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Plain(file) => file.write(bytes),
            Sink::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Plain(file) => file.flush(),
            Sink::Gzip(encoder) => encoder.flush(),
        }
    }
}

/// Makes the file under its other name; what an attempt before has left there goes.
fn create(path: &Path) -> io::Result<(BufWriter<File>, PathBuf)> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    Ok((BufWriter::new(file), temporary))
}

/// Opens a file, compressed or not.
///
/// # Errors
///
/// It cannot be read.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let mut first = Vec::new();
    File::open(path)?.take(GZIP.len() as u64).read_to_end(&mut first)?;
    let file = BufReader::new(File::open(path)?);
    Ok(match first == GZIP {
        true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        false => Box::new(file),
    })
}
