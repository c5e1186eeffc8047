//! What is wrong with a database, told so that an operator knows where to look.
//!
//! Codes are those of SQLite's result codes (the low byte is the primary one) and of Postgres'
//! appendix of error codes.

use std::fmt;
use std::io::{self, ErrorKind};

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use super::{AppendError, StorageError};

/// What keeps a database from doing what it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// Its disk, or its quota, is full.
    Full,
    /// It, or its file system, takes no writes.
    ReadOnly,
    /// Its disk fails: what was being written may be there or not.
    Disk,
    /// There is no way to it now.
    Unreachable,
    /// It does not answer in time.
    Slow,
    /// Somebody else holds what is needed for too long.
    Busy,
    /// It has no memory, file descriptors or connections left.
    Exhausted,
    /// It does not let this node in, or not do this.
    Denied,
    /// What it holds is not what was stored.
    Damaged,
    /// Its tables, or events, are of another version.
    Unfit,
    /// Acknowledged events are not in it any more.
    Lost,
    /// It answers that it does not do this.
    Refused,
    /// Anything else.
    Failed,
}

impl Fault {
    /// Returns whether what failed so was refused beforehand, so that none of it is there.
    pub fn is_refusal(self) -> bool {
        match self {
            Self::Full | Self::ReadOnly | Self::Busy | Self::Exhausted | Self::Denied => true,
            Self::Unfit | Self::Lost | Self::Refused => true,
            Self::Disk | Self::Unreachable | Self::Slow | Self::Damaged | Self::Failed => false,
        }
    }

    /// Sorts an error of the library that speaks to the database.
    pub(super) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::of_database(&**error),
            sqlx::Error::Io(error) => Self::of_system(error),
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::Unreachable,
            sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => Self::Unreachable,
            _ => Self::Failed,
        }
    }

    fn of_system(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full,
            ErrorKind::FileTooLarge => Self::Full,
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            ErrorKind::PermissionDenied => Self::Denied,
            ErrorKind::OutOfMemory => Self::Exhausted,
            ErrorKind::TimedOut => Self::Slow,
            _ => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Self::Exhausted,
                Some(rustix::io::Errno::IO) => Self::Disk,
                _ => Self::Unreachable,
            },
        }
    }

    fn of_database(error: &dyn DatabaseError) -> Self {
        let Some(code) = error.code() else { return Self::Refused };
        match error.try_downcast_ref::<PgDatabaseError>() {
            Some(_) => Self::of_sqlstate(&code),
            None => code.parse().map_or(Self::Refused, Self::of_result_code),
        }
    }

    /// Sorts a result code of SQLite.
    fn of_result_code(code: i32) -> Self {
        match code & 0xff {
            3 | 23 => Self::Denied,   // PERM, AUTH
            5 | 6 | 15 => Self::Busy, // BUSY, LOCKED, PROTOCOL
            7 => Self::Exhausted,     // NOMEM
            8 => Self::ReadOnly,      // READONLY
            10 => Self::Disk,         // IOERR
            11 | 26 => Self::Damaged, // CORRUPT, NOTADB
            13 => Self::Full,         // FULL
            14 => Self::Unreachable,  // CANTOPEN
            17 => Self::Unfit,        // SCHEMA
            _ => Self::Refused,
        }
    }

    /// Sorts an error code of Postgres.
    fn of_sqlstate(code: &str) -> Self {
        match code {
            "53100" => Self::Full,
            // Of a standby, or of a server that was told to take no writes.
            "25006" => Self::ReadOnly,
            "57014" => Self::Slow,
            "40001" | "40P01" | "55P03" | "55006" => Self::Busy,
            "42501" => Self::Denied,
            "3D000" | "3F000" => Self::Unreachable,
            "42P01" | "42703" | "42883" => Self::Unfit,
            _ => match code.get(..2) {
                Some("53") => Self::Exhausted,
                Some("08" | "57") => Self::Unreachable,
                Some("58" | "F0") => Self::Disk,
                Some("28") => Self::Denied,
                Some("XX") => Self::Damaged,
                _ => Self::Refused,
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "no space left on device",
            Self::ReadOnly => "the database is read-only",
            Self::Disk => "input/output error of its disk",
            Self::Unreachable => "the database cannot be reached",
            Self::Slow => "the database does not answer in time",
            Self::Busy => "somebody else holds the database for too long",
            Self::Exhausted => "the database is out of memory, files or connections",
            Self::Denied => "the database denies access",
            Self::Damaged => "the database is damaged",
            Self::Unfit => "the database holds what this version cannot read",
            Self::Lost => "the database has lost acknowledged events",
            Self::Refused => "the database refuses it",
            Self::Failed => "the database failed",
        })
    }
}

impl StorageError {
    /// Returns what is wrong with the database.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Database(error) => Fault::of(error),
            Self::Migrate(sqlx::migrate::MigrateError::Execute(error)) => Fault::of(error),
            Self::Migrate(_) | Self::Schema(_) => Fault::Unfit,
            Self::Damaged { .. } => Fault::Damaged,
        }
    }
}

impl AppendError {
    /// Returns what is wrong with the log.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Conflict { .. } => Fault::Busy,
            Self::Storage(error) => error.fault(),
            Self::Unreadable(_) => Fault::Unfit,
            Self::Lost { .. } => Fault::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_sqlite_are_sorted_by_their_low_byte() {
        let cases = [
            (13, Fault::Full),
            (8, Fault::ReadOnly),
            (1032, Fault::ReadOnly),
            (10, Fault::Disk),
            (778, Fault::Disk),
            (1034, Fault::Disk),
            (5, Fault::Busy),
            (517, Fault::Busy),
            (11, Fault::Damaged),
            (26, Fault::Damaged),
            (14, Fault::Unreachable),
            (7, Fault::Exhausted),
            (1, Fault::Refused),
            (19, Fault::Refused),
        ];
        for (code, fault) in cases {
            assert_eq!(Fault::of_result_code(code), fault, "{code}");
        }
    }

    #[test]
    fn codes_of_postgres_are_sorted_alone_or_by_their_class() {
        let cases = [
            ("53100", Fault::Full),
            ("53200", Fault::Exhausted),
            ("53300", Fault::Exhausted),
            ("53400", Fault::Exhausted),
            ("25006", Fault::ReadOnly),
            ("57014", Fault::Slow),
            ("57P01", Fault::Unreachable),
            ("57P03", Fault::Unreachable),
            ("08006", Fault::Unreachable),
            ("58030", Fault::Disk),
            ("58P01", Fault::Disk),
            ("XX000", Fault::Damaged),
            ("XX001", Fault::Damaged),
            ("55P03", Fault::Busy),
            ("28P01", Fault::Denied),
            ("42501", Fault::Denied),
            ("42P01", Fault::Unfit),
            ("23505", Fault::Refused),
            ("é", Fault::Refused),
        ];
        for (code, fault) in cases {
            assert_eq!(Fault::of_sqlstate(code), fault, "{code}");
        }
    }

    #[test]
    fn errors_of_the_system_are_sorted_by_what_they_say_of_the_disk() {
        let cases = [
            (28, Fault::Full),
            (122, Fault::Full),
            (27, Fault::Full),
            (30, Fault::ReadOnly),
            (5, Fault::Disk),
            (24, Fault::Exhausted),
            (13, Fault::Denied),
            (111, Fault::Unreachable),
        ];
        for (number, fault) in cases {
            let error = StorageError::from(sqlx::Error::Io(io::Error::from_raw_os_error(number)));
            assert_eq!(error.fault(), fault, "{number}");
        }
    }
}
