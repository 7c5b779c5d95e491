//! Names and addresses: cheap to clone, valid once made.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use super::InvalidField;

const SERVICE_ALLOWED: &str = "must be lower-case labels of letters, digits and inner hyphens, joined by dots, \
    at most 63 characters a label and 253 in all, such as `billing.invoices`";
const ID_ALLOWED: &str = "must be 1 to 128 of the characters A-Z a-z 0-9 . _ : @ [ ] -";
const ADDRESS_ALLOWED: &str = "must be host:port, such as `10.0.0.7:8080` or `[::1]:8080`, with a port from 1 to 65535";

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidField;

            fn from_str(text: &str) -> Result<Self, InvalidField> {
                Self::parse("value", text)
            }
        }
    };
}

/// The name of a service: DNS labels (RFC 1123) in lower case, joined by dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// Parses a name given in `field`.
    ///
    /// # Errors
    /// What the field allows.
    pub fn parse(field: &str, text: &str) -> Result<Self, InvalidField> {
        let valid = text.len() <= 253 && text.split('.').all(is_label);
        if !valid {
            return Err(InvalidField::new(field, SERVICE_ALLOWED));
        }
        Ok(Self(text.into()))
    }
}

text_type!(ServiceName);

fn is_label(label: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

/// The id of an instance within its service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// Parses an id given in `field`.
    ///
    /// # Errors
    /// What the field allows.
    pub fn parse(field: &str, text: &str) -> Result<Self, InvalidField> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@[]-".contains(&byte);
        if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
            return Err(InvalidField::new(field, ID_ALLOWED));
        }
        Ok(Self(text.into()))
    }
}

text_type!(InstanceId);

/// Where something listens: `host:port`, the host a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Arc<str>);

impl Address {
    /// Parses an address given in `field`, of something that can be dialled: port 0 and unspecified hosts are not.
    ///
    /// # Errors
    /// What the field allows.
    pub fn parse(field: &str, text: &str) -> Result<Self, InvalidField> {
        let refused = || InvalidField::new(field, ADDRESS_ALLOWED);
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !port.parse::<u16>().is_ok_and(|port| port != 0) {
            return Err(refused());
        }
        if Host::parse(host).ok_or_else(refused)?.is_unspecified() {
            let allowed = "must be an address that others can dial, not the unspecified one";
            return Err(InvalidField::new(field, allowed));
        }
        Ok(Self(text.into()))
    }
}

text_type!(Address);

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Self(address.to_string().into())
    }
}

/// What stands in front of a port.
enum Host {
    Ip(IpAddr),
    Name,
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let ip = inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?;
            return Some(Self::Ip(ip.into()));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Some(Self::Ip(text.parse::<Ipv4Addr>().ok()?.into()));
        }
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        (text.len() <= 253 && text.split('.').all(label)).then_some(Self::Name)
    }

    fn is_unspecified(&self) -> bool {
        matches!(self, Self::Ip(ip) if ip.is_unspecified())
    }
}
