//! The token of request debugging: the one that is set, or one of this process. It is told in a file
//! of the prefix, and in no log, which more people read.

use crate::clock::Clock;
use crate::pki::file::{Access, replace};
use crate::proxy::debug::Token;
use crate::settings::Settings;

/// The token where the settings say none: the same for all proxies of a process.
pub(super) struct OwnToken(Token);

impl OwnToken {
    /// Makes one that nobody can guess.
    pub(super) fn new(clock: &Clock) -> Self {
        Self(Token::new(&clock.id().to_string()))
    }

    /// Returns the token in force; none where nothing is debugged.
    pub(super) fn or_set(&self, settings: &Settings) -> Option<Token> {
        let debugging = settings.proxy.request_debug.as_ref()?;
        Some(debugging.token.as_deref().map_or_else(|| self.0.clone(), Token::new))
    }

    /// Writes the token in force where operators look for it.
    pub(super) fn tell(&self, settings: &Settings) {
        let Some(token) = self.or_set(settings) else { return };
        let file = settings.prefix.request_debug_token();
        match replace(&file, token.reveal(), Access::Private) {
            Ok(()) => tracing::info!(
                file = %file.display(), "[request-debug] the token for request debugging is in a file"
            ),
            Err(error) => tracing::error!(
                file = %file.display(), error = &error as &dyn std::error::Error,
                "cannot write the token for request debugging"
            ),
        }
    }
}
