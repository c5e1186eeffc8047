//! The rules of who may call the Admin API: this product's own, Kong has none.

use super::super::layout::{AdminClients, Role};
use super::super::listener::{self, Listener};
use super::super::pem::Holds;
use super::Rules;

impl Rules<'_> {
    /// An Admin API that others can reach asks who they are, unless the operator says otherwise.
    pub(super) fn admin_access(&mut self, role: Role) -> Option<AdminClients> {
        if !role.has_admin() {
            return None;
        }
        let values = self.values;
        let listeners = listener::parse("admin_listen", values.list("admin_listen"));
        // What cannot be read is told elsewhere.
        let listeners = listeners.unwrap_or_default();
        let exposed: Vec<_> = listeners.iter().filter(|it| !is_loopback(it)).collect();
        let open = addresses(exposed.iter().copied());
        let plain = addresses(exposed.iter().copied().filter(|it| !it.ssl));
        match (values.flag("admin_auth"), values.flag("admin_insecure")) {
            (true, _) if !plain.is_empty() => self.warnings.push(format!(
                "admin_listen {plain} has no ssl: tokens can be read on their way there"
            )),
            (false, false) if !open.is_empty() => self.error(format!(
                "admin_listen {open} is no loopback address and admin_auth is off, so whoever \
                 reaches it controls the gateway: set admin_auth = on (KONG_ADMIN_AUTH=on) and \
                 make a token by `hybridctl token create --role admin --name NAME`; or, where \
                 only trusted clients reach it, as with a container's port that is published on \
                 127.0.0.1 alone, set admin_insecure = on (KONG_ADMIN_INSECURE=on)"
            )),
            (false, true) if !open.is_empty() => self.warnings.push(format!(
                "admin_insecure is on: whoever reaches admin_listen {open} controls the gateway"
            )),
            _ => {}
        }
        let no_tokens = values.flag("admin_auth") && values.text("database") == Some("off");
        let clients = self.admin_clients();
        self.require(
            !no_tokens || values.text("admin_ssl_verify_client") != Some("off"),
            "admin_auth = on needs a database for its tokens; with database = off, let clients \
             show certificates (admin_ssl_verify_client)",
        );
        clients
    }

    fn admin_clients(&mut self) -> Option<AdminClients> {
        let values = self.values;
        let (ca_name, roles_name) = ("admin_ssl_client_certificate", "admin_ssl_client_roles");
        let required = match values.text("admin_ssl_verify_client") {
            Some("on") => true,
            Some("optional") => false,
            _ => {
                if !values.list(roles_name).is_empty() {
                    self.warnings
                        .push(format!("{roles_name} needs admin_ssl_verify_client: it is ignored"));
                }
                return None;
            }
        };
        self.require(
            values.flag("admin_auth"),
            "admin_auth = on is needed for admin_ssl_verify_client: without it a certificate \
             gives no role",
        );
        let mut roles = Vec::new();
        for entry in values.list(roles_name) {
            let split = entry.rsplit_once(':').filter(|(name, _)| !name.trim().is_empty());
            match split.and_then(|(name, role)| Some((name.trim(), role.trim().parse().ok()?))) {
                Some((name, role)) => roles.push((name.to_owned(), role)),
                None => self.error(format!(
                    "{roles_name}: invalid entry '{entry}': expected a certificate's common name, \
                     ':', and viewer, editor or admin"
                )),
            }
        }
        let Some(ca) = values.text(ca_name) else {
            self.error(format!("{ca_name} must be specified with admin_ssl_verify_client"));
            return None;
        };
        let ca = self.pem(ca_name, ca, Holds::Certificate)?;
        Some(AdminClients { ca, required, roles })
    }
}

fn is_loopback(listener: &Listener) -> bool {
    listener.addr.ip().to_canonical().is_loopback()
}

fn addresses<'a>(listeners: impl Iterator<Item = &'a Listener>) -> String {
    listeners.map(|it| it.addr.to_string()).collect::<Vec<_>>().join(", ")
}
