//! Which addresses may be connected to: the heart of the guard against server-side request forgery.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Admits addresses of the public Internet, and those that were allowed by name of their network.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

impl AddressPolicy {
    /// A policy that admits, beside the public Internet, what lies in `allowed`.
    pub fn new(mut allowed: Vec<IpNet>) -> Self {
        allowed.sort();
        allowed.dedup();
        Self { allowed }
    }

    /// Whether a connection to `address` may be made.
    ///
    /// An IPv6 address that only carries an IPv4 address (mapped, compatible, NAT64, 6to4) is judged as the IPv4
    /// address that it leads to.
    pub fn admits(&self, address: IpAddr) -> bool {
        let target = match address {
            IpAddr::V6(address) => embedded(address).map_or(IpAddr::V6(address), IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        let listed = |address: &IpAddr| self.allowed.iter().any(|network| network.contains(address));
        listed(&address) || listed(&target) || is_public(target)
    }
}

/// The IPv4 address inside an IPv6 address that leads to one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        // ::ffff:a.b.c.d mapped (RFC 4291), ::ffff:0:a.b.c.d translated (RFC 2765), ::a.b.c.d compatible (RFC 4291).
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] => Some(join(high, low)),
        [0, 0, 0, 0, 0, 0] if high != 0 => Some(join(high, low)),
        // 64:ff9b::/96 NAT64 (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0] => Some(join(high, low)),
        // 2002::/16 6to4 (RFC 3056).
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// Whether an address is globally reachable, by IANA's special-purpose registries (RFC 6890 and its updates), which
/// also hold the metadata services of the clouds: they are link-local, private or listed here one by one.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !within_v4(address),
        // Only global unicast, 2000::/3, is public: that leaves out loopback, unspecified, unique local, link-local,
        // site-local and multicast addresses, and local NAT64 prefixes (64:ff9b:1::/48).
        IpAddr::V6(address) => address.segments()[0] & 0xe000 == 0x2000 && !within_v6(address),
    }
}

fn within_v4(address: Ipv4Addr) -> bool {
    const RESERVED: [([u8; 4], u8); 17] = [
        ([0, 0, 0, 0], 8),        // this network; 0.0.0.0 connects to the machine itself
        ([10, 0, 0, 0], 8),       // private
        ([100, 64, 0, 0], 10),    // shared address space of carriers
        ([127, 0, 0, 0], 8),      // loopback
        ([168, 63, 129, 16], 32), // Azure's wire server
        ([169, 254, 0, 0], 16),   // link-local, metadata services
        ([172, 16, 0, 0], 12),    // private
        ([192, 0, 0, 0], 24),     // protocol assignments
        ([192, 0, 2, 0], 24),     // documentation
        ([192, 31, 196, 0], 24),  // AS112
        ([192, 52, 193, 0], 24),  // AMT
        ([192, 88, 99, 0], 24),   // 6to4 relays
        ([192, 168, 0, 0], 16),   // private
        ([198, 18, 0, 0], 15),    // benchmarks
        ([198, 51, 100, 0], 24),  // documentation
        ([203, 0, 113, 0], 24),   // documentation
        ([224, 0, 0, 0], 3),      // multicast, reserved, broadcast
    ];
    RESERVED
        .iter()
        .any(|(network, bits)| Ipv4Net::new_assert(Ipv4Addr::from(*network), *bits).contains(&address))
}

fn within_v6(address: Ipv6Addr) -> bool {
    const RESERVED: [([u16; 3], u8); 4] = [
        ([0x2001, 0, 0], 23),         // protocol assignments, Teredo, benchmarks, ORCHID
        ([0x2001, 0xdb8, 0], 32),     // documentation
        ([0x2620, 0x4f, 0x8000], 48), // AS112
        ([0x3fff, 0, 0], 20),         // documentation
    ];
    RESERVED.iter().any(|([a, b, c], bits)| {
        Ipv6Net::new_assert(Ipv6Addr::new(*a, *b, *c, 0, 0, 0, 0, 0), *bits).contains(&address)
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("93.184.216.34", true)]
    #[case("1.1.1.1", true)]
    #[case("172.32.0.1", true)]
    #[case("100.128.0.1", true)]
    #[case("2606:4700:4700::1111", true)]
    #[case("::ffff:8.8.8.8", true)]
    #[case("64:ff9b::808:808", true)]
    #[case("2002:808:808::1", true)]
    #[case("0.0.0.0", false)]
    #[case("0.1.2.3", false)]
    #[case("10.0.0.1", false)]
    #[case("100.64.0.1", false)]
    #[case("127.0.0.1", false)]
    #[case("127.255.255.254", false)]
    #[case("168.63.129.16", false)]
    #[case("169.254.169.254", false)]
    #[case("172.31.255.255", false)]
    #[case("192.0.0.192", false)]
    #[case("192.0.2.1", false)]
    #[case("192.168.1.1", false)]
    #[case("198.19.0.1", false)]
    #[case("224.0.0.1", false)]
    #[case("240.0.0.1", false)]
    #[case("255.255.255.255", false)]
    #[case("::", false)]
    #[case("::1", false)]
    #[case("::7f00:1", false)]
    #[case("::ffff:127.0.0.1", false)]
    #[case("::ffff:0:127.0.0.1", false)]
    #[case("64:ff9b::a9fe:a9fe", false)]
    #[case("64:ff9b:1::a9fe:a9fe", false)]
    #[case("2002:7f00:1::", false)]
    #[case("2001::1", false)]
    #[case("2001:db8::1", false)]
    #[case("3fff::1", false)]
    #[case("fc00::1", false)]
    #[case("fd00:ec2::254", false)]
    #[case("fe80::1", false)]
    #[case("fec0::1", false)]
    #[case("ff02::1", false)]
    #[case("5f00::1", false)]
    fn admits_the_public_internet_alone(#[case] address: &str, #[case] admitted: bool) {
        assert_eq!(AddressPolicy::default().admits(address.parse().unwrap()), admitted);
    }

    #[test]
    fn an_allowed_network_is_admitted_however_its_address_is_written() {
        let policy = AddressPolicy::new(vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for admitted in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"] {
            assert!(policy.admits(admitted.parse().unwrap()), "{admitted}");
        }
        for refused in ["10.2.2.3", "::ffff:10.2.2.3", "fc00::1", "127.0.0.1"] {
            assert!(!policy.admits(refused.parse().unwrap()), "{refused}");
        }
    }
}
