//! The cluster link: frames, sessions, publishing and following heads.
