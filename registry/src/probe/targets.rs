//! Which hosts the registry dials, and for whom: whoever registers an address makes the registry connect to it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use homeroom::model::Address;
use ipnet::IpNet;
use tokio::{net::lookup_host, time::timeout};

/// How long a registration waits for its name to be resolved; the probe looks it up again.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(1);

/// The hosts that may be dialled.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Whether only this machine reaches the registry.
    on_loopback: bool,
    networks: Vec<IpNet>,
}

/// Why there is no host to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoHost {
    /// The name is not found, now.
    NotFound(String),
    /// It leads only to hosts that may not be dialled: one of them.
    NotAllowed(IpAddr),
}

impl Targets {
    /// What a registry may dial that listens on this host, and is allowed these networks.
    pub fn new(listens: IpAddr, networks: Vec<IpNet>) -> Self {
        Self {
            on_loopback: listens.to_canonical().is_loopback(),
            networks,
        }
    }

    /// Whether this host may be dialled for this registrant: it is the registrant's own, or of a network that anybody
    /// may have probed.
    pub fn allow(&self, host: IpAddr, registrant: Option<IpAddr>) -> bool {
        let host = host.to_canonical();
        (self.on_loopback && host.is_loopback())
            || registrant == Some(host)
            || self.networks.iter().any(|network| network.contains(&host))
            || (registrant.is_some_and(is_this_machine) && is_this_machine(host))
    }

    /// Looks an address up, once. What it answers may be dialled; looking up again may lead elsewhere.
    ///
    /// # Errors
    /// Why there is nothing to dial.
    pub(crate) async fn resolve(
        &self,
        address: &Address,
        registrant: Option<IpAddr>,
    ) -> Result<Vec<SocketAddr>, NoHost> {
        let hosts = lookup_host(address.as_str()).await;
        let hosts: Vec<_> = hosts.map_err(|error| NoHost::NotFound(error.to_string()))?.collect();
        let (allowed, others): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|host| self.allow(host.ip(), registrant));
        match others.first() {
            Some(other) if allowed.is_empty() => Err(NoHost::NotAllowed(other.ip().to_canonical())),
            None if allowed.is_empty() => Err(NoHost::NotFound("the name has no address".to_owned())),
            _ => Ok(allowed),
        }
    }

    /// The host that keeps an address from being registered; `None` when it may be, also while it is not found.
    pub(crate) async fn refused(&self, address: &Address, registrant: Option<IpAddr>) -> Option<IpAddr> {
        match timeout(LOOKUP_PATIENCE, self.resolve(address, registrant)).await {
            Ok(Err(NoHost::NotAllowed(host))) => Some(host),
            _ => None,
        }
    }
}

/// Whether an address is one of this machine. Asks the kernel which address it would send from: to itself it sends from
/// the same one. Nothing is sent. (That one can bind it proves less: with `ip_nonlocal_bind` one can bind any.)
fn is_this_machine(host: IpAddr) -> bool {
    let any: IpAddr = match host {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let sends_from = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((host, 1))?;
        socket.local_addr()
    };
    host.is_loopback() || sends_from().is_ok_and(|from| from.ip() == host && !host.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn targets(listens: &str, networks: &[&str]) -> Targets {
        let networks = networks.iter().map(|text| text.parse().expect("a network"));
        Targets::new(ip(listens), networks.collect())
    }

    #[test]
    fn a_registrant_may_have_itself_probed_and_nobody_else() {
        let targets = targets("192.0.2.1", &[]);
        let registrant = Some(ip("198.51.100.7"));
        assert!(targets.allow(ip("198.51.100.7"), registrant));
        assert!(
            targets.allow(ip("::ffff:198.51.100.7"), registrant),
            "the same, written otherwise"
        );
        for other in ["198.51.100.8", "127.0.0.1", "::1", "169.254.169.254", "10.0.0.1"] {
            assert!(!targets.allow(ip(other), registrant), "{other}");
            assert!(!targets.allow(ip(other), None), "{other} for nobody");
        }
    }

    #[test]
    fn a_registry_on_loopback_probes_loopback() {
        let targets = targets("127.0.0.1", &[]);
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(targets.allow(ip(loopback), None), "{loopback}");
        }
        assert!(!targets.allow(ip("198.51.100.7"), None));
    }

    #[test]
    fn networks_may_be_allowed_to_anybody() {
        let targets = targets("192.0.2.1", &["10.0.0.0/8", "2001:db8::/32"]);
        for allowed in ["10.255.0.1", "::ffff:10.0.0.1", "2001:db8::7"] {
            assert!(targets.allow(ip(allowed), Some(ip("198.51.100.7"))), "{allowed}");
        }
        assert!(!targets.allow(ip("11.0.0.1"), Some(ip("198.51.100.7"))));
    }

    #[test]
    fn a_registrant_on_this_machine_may_name_any_address_of_it() {
        let targets = targets("192.0.2.1", &[]);
        for loopback in ["127.0.0.1", "127.0.0.2", "::1"] {
            assert!(targets.allow(ip(loopback), Some(ip("127.0.0.1"))), "{loopback}");
        }
        // Kept for documentation: no machine has it.
        assert!(!targets.allow(ip("203.0.113.9"), Some(ip("127.0.0.1"))));
    }

    #[tokio::test]
    async fn only_hosts_that_may_be_dialled_are_answered() {
        let closed = targets("192.0.2.1", &[]);
        let open = targets("192.0.2.1", &["127.0.0.0/8", "::1/128"]);
        let address: Address = "localhost:7".parse().expect("an address");
        let hosts = open.resolve(&address, None).await.expect("every machine knows it");
        assert!(!hosts.is_empty() && hosts.iter().all(|host| host.ip().is_loopback() && host.port() == 7));
        assert!(matches!(
            closed.resolve(&address, None).await,
            Err(NoHost::NotAllowed(_))
        ));
        assert!(closed.refused(&address, None).await.is_some());
    }

    #[tokio::test]
    async fn a_name_that_is_not_found_is_not_refused() {
        let targets = targets("192.0.2.1", &[]);
        let address: Address = "nowhere.invalid:7".parse().expect("an address");
        assert_eq!(targets.refused(&address, None).await, None);
    }
}
