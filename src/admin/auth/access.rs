//! Which role a request needs.

use http::Method;

use crate::domain::catalog::Catalog;
use crate::domain::role::AdminRole;

/// Writes of entities that are on no entity's path.
const EDITORS: &[&str] = &["/batch", "/config"];

/// Returns the role that a request needs. Everything that is not known to read or to write entities
/// is an administrator's: a new endpoint is closed until somebody opens it here.
pub(in crate::admin) fn needed(catalog: &Catalog, method: &Method, path: &str) -> AdminRole {
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
        return AdminRole::Viewer;
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let validates = path.starts_with("/schemas/") && path.ends_with("/validate");
    // The segment as it was sent, since that is how a place is found.
    let first = path.split('/').nth(1).unwrap_or_default();
    if validates || EDITORS.contains(&path) || catalog.by_path(first).is_some() {
        AdminRole::Editor
    } else {
        AdminRole::Admin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_less_is_an_administrators() {
        let catalog = Catalog::new(Vec::new());
        for (method, path, role) in [
            ("GET", "/services", AdminRole::Viewer),
            ("HEAD", "/events", AdminRole::Viewer),
            ("POST", "/services", AdminRole::Editor),
            ("POST", "/services/", AdminRole::Editor),
            ("PUT", "/services/a/routes/b", AdminRole::Editor),
            ("DELETE", "/upstreams/u/targets/t", AdminRole::Editor),
            ("PUT", "/upstreams/u/targets/t/healthy", AdminRole::Editor),
            ("POST", "/batch", AdminRole::Editor),
            ("POST", "/config", AdminRole::Editor),
            ("POST", "/schemas/services/validate", AdminRole::Editor),
            ("POST", "/schemas/plugins/validate/", AdminRole::Editor),
            ("POST", "/rollback", AdminRole::Admin),
            ("POST", "/freeze", AdminRole::Admin),
            ("PUT", "/debug/node/log-level/debug", AdminRole::Admin),
            ("PUT", "/debug/services/validate", AdminRole::Admin),
            ("DELETE", "/cache", AdminRole::Admin),
            ("POST", "/", AdminRole::Admin),
            ("POST", "", AdminRole::Admin),
            ("POST", "/new", AdminRole::Admin),
            ("BREW", "/rollback", AdminRole::Admin),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(needed(&catalog, &method, path), role, "{method} {path}");
        }
    }
}
