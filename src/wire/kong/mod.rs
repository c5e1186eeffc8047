//! Kong's own dialect of the cluster link: `/v1/outlet`, as Kong 2.5 to 3.9 speak it
//! (reference hybrid.md, sections 4 to 6).

pub mod compat;
pub mod table;
