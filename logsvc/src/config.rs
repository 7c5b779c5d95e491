//! The service's flags, and what they mean.

use homeroom::config::{ConfigErrors, StoringArgs, StoringConfig};

/// Where Log listens when nobody says.
pub const PORT: u16 = 3001;

/// The flags of the `logsvc` binary.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "logsvc",
    version,
    about = "Keeps everybody's log entries and finds them again"
)]
pub struct Args {
    #[command(flatten)]
    service: StoringArgs,
}

impl Args {
    /// Checks the flags.
    ///
    /// # Errors
    /// Everything that is wrong with them, together.
    pub fn check(self) -> Result<StoringConfig, ConfigErrors> {
        StoringConfig::parse(self.service, "log", PORT)
    }
}
