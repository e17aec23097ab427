//! Addresses of buses (D-Bus specification, "Server Addresses").

/// The path of the socket on which systemd itself listens, without a bus between, ends so.
const PRIVATE: &str = "/systemd/private";

/// A socket on which systemd can be reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Socket {
    Path(String),
    Abstract(String),
}

impl Socket {
    /// Whether systemd itself is at the other end. It then needs neither the name of a service
    /// nor *Hello*.
    pub(super) fn is_private(&self) -> bool {
        matches!(self, Socket::Path(path) if path.ends_with(PRIVATE))
    }

    /// The sockets that an address lists, in the order in which to try them. Other kinds of
    /// addresses, such as TCP, are left out.
    pub(super) fn parse(address: &str) -> Vec<Socket> {
        let one = |entry: &str| {
            let parts = entry.strip_prefix("unix:")?.split(',');
            let mut parts = parts.filter_map(|part| part.split_once('='));
            parts.find_map(|(key, value)| match key {
                "path" => Some(Socket::Path(unescape(value)?)),
                "abstract" => Some(Socket::Abstract(unescape(value)?)),
                _ => None,
            })
        };
        address.split(';').filter_map(one).collect()
    }
}

/// The address of the socket at `path`.
pub(in crate::cgroups::systemd) fn of_path(path: &str) -> String {
    let mut address = "unix:path=".to_owned();
    for byte in path.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'/' | b'.' | b'\\' => {
                address.push(char::from(byte));
            }
            _ => address.push_str(&format!("%{byte:02x}")),
        }
    }
    address
}

/// Replaces `%2f` by the byte. `None` when an escape is malformed.
fn unescape(value: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), value.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = rest.get(2..)?;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_sockets() {
        let path = |path: &str| Socket::Path(path.to_owned());
        for (address, expected) in [
            ("unix:path=/run/a,guid=12", vec![path("/run/a")]),
            ("unix:guid=1,path=/run/a%20b", vec![path("/run/a b")]),
            (
                "tcp:host=x;unix:abstract=n;unix:path=/b",
                vec![Socket::Abstract("n".to_owned()), path("/b")],
            ),
            ("unix:path=/a%2", vec![]),
            ("unix:path=/a%zz", vec![]),
            ("unix:tmpdir=/tmp", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(Socket::parse(address), expected, "{address}");
        }
        for text in ["/run/user/1/bus", "/a b;c,d=e%", "/\u{e9}"] {
            assert_eq!(Socket::parse(&of_path(text)), [path(text)]);
        }
        assert!(path("/run/systemd/private").is_private());
        assert!(!path("/run/dbus/system_bus_socket").is_private());
    }
}
