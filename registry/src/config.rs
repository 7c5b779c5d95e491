//! The registry's flags, and what they mean.

use homeroom::config::{self, ConfigErrors};

/// Where the registry listens when nobody says.
pub const PORT: u16 = 3000;

/// The flags of the `registry` binary.
#[derive(Debug, Clone, Default, clap::Parser)]
#[command(
    name = "registry",
    version,
    about = "Knows which instances of which services are alive"
)]
pub struct Args {
    /// What all services share.
    #[command(flatten)]
    pub service: config::Args,
}

/// What the registry needs to know to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What all services share.
    pub service: config::Config,
}

impl AsRef<config::Config> for Config {
    fn as_ref(&self) -> &config::Config {
        &self.service
    }
}

impl TryFrom<&Args> for Config {
    type Error = ConfigErrors;

    fn try_from(args: &Args) -> Result<Self, ConfigErrors> {
        Ok(Self {
            service: config::Config::parse(&args.service, PORT)?,
        })
    }
}
