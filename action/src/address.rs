//! Which addresses may be sent to: not those where a cloud keeps the credentials of its machines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Addresses allowed although they are link-local or serve metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed(Vec<(IpAddr, u8)>);

impl Allowed {
    /// Reads addresses such as `169.254.10.1` and nets such as `fe80::/10`.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, String> {
        let read = |text: &String| {
            let complaint = || {
                format!(
                    "action.allowed_addresses: {text:?} is no address; write 169.254.10.1 or fe80::/10"
                )
            };
            let (address, length) = match text.split_once('/') {
                Some((address, length)) => (address, Some(length)),
                None => (text.as_str(), None),
            };
            let address: IpAddr = address.parse().map_err(|_| complaint())?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let length = match length {
                None => most,
                Some(length) => length.parse().ok().filter(|n| *n <= most).ok_or_else(complaint)?,
            };
            Ok((address, length))
        };
        texts.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `address` may be sent to.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        !is_dangerous(address) || self.0.iter().any(|net| is_in(address, *net))
    }

    /// Refuses a URL whose host is an address that may not be sent to; names are checked when they are resolved.
    pub(crate) fn check(&self, url: &Url) -> Result<(), String> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        match host.parse::<IpAddr>() {
            Ok(address) if !self.allows(address) => Err(refused(address)),
            _ => Ok(()),
        }
    }
}

/// Why `address` is not sent to.
pub(crate) fn refused(address: IpAddr) -> String {
    format!(
        "{address} is link-local or serves metadata of a cloud: list it in action.allowed_addresses to send there all the same"
    )
}

fn is_dangerous(address: IpAddr) -> bool {
    const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
    const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    const ORACLE: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 192);
    const AMAZON: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_unspecified() || [ALIBABA, AZURE, ORACLE].contains(&v4)
        }
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6 == AMAZON,
    }
}

fn is_in(address: IpAddr, (net, length): (IpAddr, u8)) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 4),
        IpAddr::V6(v6) => (v6.to_bits(), 6),
    };
    let ((a, a_kind), (b, b_kind)) = (bits(address), bits(net));
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    a_kind == b_kind && (a ^ b) & mask == 0
}

/// The system's resolver, without the addresses that may not be sent to.
pub(crate) struct Resolver(pub(crate) Arc<Allowed>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let first = found.first().copied();
            let kept: Vec<SocketAddr> =
                found.into_iter().filter(|address| allowed.allows(address.ip())).collect();
            match first.filter(|_| kept.is_empty()) {
                Some(address) => Err(refused(address.ip()).into()),
                None => Ok(Box::new(kept.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(allowed: &[&str], address: &str) -> bool {
        let texts: Vec<String> = allowed.iter().map(|text| (*text).to_owned()).collect();
        Allowed::parse(&texts).unwrap().allows(address.parse().unwrap())
    }

    #[test]
    fn metadata_is_out_of_reach_unless_listed() {
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "::",
        ] {
            assert!(!allows(&[], address), "{address}");
        }
        for address in ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1"] {
            assert!(allows(&[], address), "{address}");
        }
        assert!(allows(&["169.254.169.254"], "169.254.169.254"));
        assert!(allows(&["169.254.0.0/16"], "169.254.3.4") && allows(&["fe80::/10"], "fe80::9"));
        assert!(!allows(&["169.254.0.0/24"], "169.254.3.4") && !allows(&["::/0"], "169.254.3.4"));
        for bad in ["x", "1.2.3.4/33", "1.2.3.4/", "/8"] {
            assert!(Allowed::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_with_addresses_are_checked() {
        let check = |url: &str| Allowed::default().check(&Url::parse(url).unwrap()).is_ok();
        assert!(check("http://localhost/") && check("http://[::1]:80/"));
        assert!(!check("http://169.254.169.254/latest") && !check("http://[fe80::1]/"));
        assert!(!check("http://2852039166/"), "the same address as one number");
    }

    #[tokio::test]
    async fn names_of_such_addresses_do_not_resolve() {
        let resolver = Resolver(Arc::new(Allowed::default()));
        let found = resolver.resolve("0.0.0.0".parse().unwrap()).await;
        assert!(found.err().unwrap().to_string().contains("action.allowed_addresses"));
        assert!(resolver.resolve("127.0.0.1".parse().unwrap()).await.is_ok());
    }
}
