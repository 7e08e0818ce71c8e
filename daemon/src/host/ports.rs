//! Who listens on a port, by `/proc/net/{tcp,tcp6,udp,udp6}` and the open files of each process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use berth_format::service::Protocol;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use super::{HostError, PortHolder};

/// `TCP_LISTEN` of the kernel's `tcp_states.h`.
const LISTENING: &str = "0A";
/// `TCP_CLOSE`, which is what a UDP socket without a peer is in.
const UNCONNECTED: &str = "07";

/// See [`super::Host::port_holder`]. SCTP is not looked at: Docker binds nothing for it.
pub fn holder(
    ip: Option<IpAddr>,
    port: u16,
    protocol: Protocol,
) -> Result<Option<PortHolder>, HostError> {
    let (tables, state) = match protocol {
        Protocol::Tcp => (["/proc/self/net/tcp", "/proc/self/net/tcp6"], LISTENING),
        Protocol::Udp => (["/proc/self/net/udp", "/proc/self/net/udp6"], UNCONNECTED),
        Protocol::Sctp => return Ok(None),
    };
    for table in tables {
        for (address, inode) in listeners(Path::new(table), port, state)? {
            let taken = match conflict(ip, address.ip()) {
                Conflict::No => false,
                Conflict::Yes => true,
                Conflict::UnlessV6Only(ip) => is_taken(SocketAddr::new(ip, port), protocol),
            };
            if taken {
                let owner = owner(inode);
                return Ok(Some(PortHolder {
                    address,
                    pid: owner.as_ref().map(|(pid, _)| *pid),
                    program: owner.and_then(|(_, program)| program),
                }));
            }
        }
    }
    Ok(None)
}

enum Conflict {
    No,
    Yes,
    /// A socket on `[::]` takes IPv4 as well, unless it said `IPV6_V6ONLY`, which `/proc` hides.
    UnlessV6Only(IpAddr),
}

fn conflict(wanted: Option<IpAddr>, held: IpAddr) -> Conflict {
    let Some(wanted) = wanted else {
        return Conflict::Yes;
    };
    let same_family = wanted.is_ipv4() == held.is_ipv4();
    if same_family && (wanted == held || wanted.is_unspecified() || held.is_unspecified()) {
        Conflict::Yes
    } else if wanted.is_ipv4() && held == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        Conflict::UnlessV6Only(wanted)
    } else {
        Conflict::No
    }
}

/// Tries, without listening, so that no client ever connects to this. Only "in use" counts.
fn is_taken(address: SocketAddr, protocol: Protocol) -> bool {
    let kind = if protocol == Protocol::Udp {
        SocketType::DGRAM
    } else {
        SocketType::STREAM
    };
    let tried = socket(AddressFamily::INET, kind, None).and_then(|socket| {
        // Else connections that ended a moment ago would count.
        sockopt::set_socket_reuseaddr(&socket, protocol == Protocol::Tcp)?;
        bind(&socket, &address)
    });
    tried == Err(Errno::ADDRINUSE)
}

/// Local address and socket inode of each line with that port and state.
fn listeners(table: &Path, port: u16, state: &str) -> Result<Vec<(SocketAddr, u64)>, HostError> {
    let fail = |error: &std::io::Error| HostError::io("read", table, error);
    let file = match File::open(table) {
        // A kernel without IPv6.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| fail(&error))?,
    };
    let mut found = Vec::new();
    for line in BufReader::new(file).lines().skip(1) {
        let line = line.map_err(|error| fail(&error))?;
        let (address, in_state, inode) = parse(&line).ok_or_else(|| HostError::Unexpected {
            op: "read",
            path: table.to_owned(),
            problem: format!("this line is not understood: {line}"),
        })?;
        if address.port() == port && in_state == state {
            found.push((address, inode));
        }
    }
    Ok(found)
}

/// proc(5): `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...`
fn parse(line: &str) -> Option<(SocketAddr, &str, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(parse_ip(address)?, port), state, inode))
}

/// Words of 32 bits, each printed as a number of this machine's byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |text: Option<&str>| Some(u32::from_str_radix(text?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(Some(hex))?))),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(hex.get(at * 8..at * 8 + 8))?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// The process with the lowest id that has the socket open: of a server and its workers, the server.
fn owner(inode: u64) -> Option<(u32, Option<String>)> {
    let link = format!("socket:[{inode}]");
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.into_iter().find(|pid| holds(*pid, &link)).map(|pid| {
        let program = fs::read(format!("/proc/{pid}/comm")).ok();
        (
            pid,
            program.map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned()),
        )
    })
}

/// Processes come and go while this looks: what cannot be read is not the owner.
fn holds(pid: u32, link: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .filter_map(Result::ok)
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| target == Path::new(link)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_listener_is_found_with_its_program() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for ip in [None, Some(ANY), Some(LOOPBACK)] {
            let found = holder(ip, address.port(), Protocol::Tcp).unwrap().unwrap();
            assert_eq!(found.address, address);
            assert_eq!(found.pid, Some(std::process::id()));
            let comm = fs::read_to_string("/proc/self/comm").unwrap();
            assert_eq!(found.program.as_deref(), Some(comm.trim()));
        }
    }

    #[test]
    fn another_address_protocol_or_moment_is_free() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let other = Some(IpAddr::from([127, 0, 0, 2]));
        assert_eq!(holder(other, port, Protocol::Tcp).unwrap(), None);
        assert_eq!(holder(Some(LOOPBACK), port, Protocol::Udp).unwrap(), None);
        assert_eq!(holder(Some(LOOPBACK), port, Protocol::Sctp).unwrap(), None);
        drop(listener);
        assert_eq!(holder(None, port, Protocol::Tcp).unwrap(), None);
    }

    #[test]
    fn a_dual_stack_listener_holds_ipv4_and_a_v6_only_one_does_not() {
        for only_v6 in [false, true] {
            let six = socket(AddressFamily::INET6, SocketType::STREAM, None).unwrap();
            sockopt::set_ipv6_v6only(&six, only_v6).unwrap();
            bind(&six, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
            rustix::net::listen(&six, 1).unwrap();
            let listener = TcpListener::from(six);
            let port = listener.local_addr().unwrap().port();
            let six = Some(IpAddr::V6(Ipv6Addr::LOCALHOST));
            assert!(holder(six, port, Protocol::Tcp).unwrap().is_some());
            for ip in [ANY, LOOPBACK] {
                let found = holder(Some(ip), port, Protocol::Tcp).unwrap();
                assert_eq!(found.is_none(), only_v6, "{ip} with IPV6_V6ONLY {only_v6}");
            }
        }
    }

    #[test]
    fn a_bound_udp_socket_holds_its_port() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(holder(Some(ANY), port, Protocol::Udp).unwrap().is_some());
        assert_eq!(holder(Some(ANY), port, Protocol::Tcp).unwrap(), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_are_read_as_the_kernel_writes_them() {
        let four = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     \
                    0        0 23456 1 0000000000000000 100 0 0 10 0";
        let six = "   0: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 \
                   0A 00000000:00000000 00:00000000 00000000  0        0 77 1 0000000000000000";
        assert_eq!(
            parse(four),
            Some(("127.0.0.1:8080".parse().unwrap(), "0A", 23456))
        );
        assert_eq!(
            parse(six),
            Some(("127.0.0.1:80".parse().unwrap(), "0A", 77))
        );
        for cut in 0..60 {
            assert_eq!(parse(&four[..cut]), None, "{cut} bytes");
        }
    }
}
