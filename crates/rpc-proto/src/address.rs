//! Where a server listens: a TCP host and port, or the path of a Unix socket.

// From `core`, which has addresses but no sockets.
use core::net::SocketAddr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The address of a server, as it is written on a command line.
///
/// ```
/// use std::net::{Ipv6Addr, SocketAddr};
/// use std::path::Path;
/// use rpc_proto::Address;
///
/// let tcp: Address = "[::1]:8080".parse()?;
/// let unix: Address = "unix:/run/ping.sock".parse()?;
/// assert_eq!(tcp.to_string(), "[::1]:8080");
/// assert_eq!(tcp, SocketAddr::from((Ipv6Addr::LOCALHOST, 8080)).into());
/// assert_eq!(unix, Path::new("/run/ping.sock").into());
/// # Ok::<(), rpc_proto::ParseAddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// `HOST:PORT`; the host may be a name, an IPv4 address or an IPv6 address in brackets.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl Address {
    /// A Unix socket at `path`.
    pub fn unix(path: impl AsRef<Path>) -> Address {
        Address::Unix(path.as_ref().to_owned())
    }
}

/// The text is neither `HOST:PORT` nor `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: expected HOST:PORT or unix:PATH")]
pub struct ParseAddressError(String);

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Address, ParseAddressError> {
        let refused = || ParseAddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(refused()) } else { Ok(Address::unix(path)) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || bare_ipv6 || port.parse::<u16>().is_err() {
            return Err(refused());
        }
        Ok(Address::Tcp(text.to_owned()))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address.to_string())
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Address {
        Address::unix(path)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Address {
        Address::Unix(path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host_and_port) => f.write_str(host_and_port),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
