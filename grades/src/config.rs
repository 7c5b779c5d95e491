//! The service's flags, and what they mean.

use homeroom::config::{ConfigErrors, StoringArgs, StoringConfig};

/// Where Grades listens when nobody says.
pub const PORT: u16 = 3002;

/// The flags of the `grades` binary.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "grades", version, about = "Keeps students and their grades")]
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
        StoringConfig::parse(self.service, "grades", PORT)
    }
}
