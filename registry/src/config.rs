//! The registry's flags, and what they mean.

use homeroom::config::{Config, ConfigErrors, ServiceArgs};

/// Where the registry listens when nobody says.
pub const PORT: u16 = 3000;

/// The flags of the `registry` binary.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "registry",
    version,
    about = "Knows which instances of which services are alive"
)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArgs,
}

impl Args {
    /// Checks the flags.
    ///
    /// # Errors
    /// Everything that is wrong with them, together.
    pub fn check(self) -> Result<Config, ConfigErrors> {
        Config::parse(&self.service, PORT)
    }
}
