//! Fresh secrets from the machine's random generator.

use aws_lc_rs::rand::fill;

/// The system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no randomness")]
pub struct NoRandomness;

/// Returns 256 random bits that nobody can guess.
///
/// # Errors
/// Fails only when the system has no randomness to give.
pub fn fresh() -> Result<[u8; 32], NoRandomness> {
    let mut bytes = [0; 32];
    fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
