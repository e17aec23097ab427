//! Ethernet addresses as text.

/// `02:00:00:00:00:01`
pub(super) fn text(mac: &[u8]) -> String {
    let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

/// The address in a text. `None` when it is none.
pub(super) fn parse(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next()?;
        let is_hex = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| is_hex)?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_bytes_are_an_address() {
        let mac = "02:00:00:0a:00:ff";
        assert_eq!(parse(mac).map(|mac| text(&mac)).as_deref(), Some(mac));
        for wrong in [
            "",
            "02:00:00:0a:00",
            "02:00:00:0a:00:ff:00",
            "2:0:0:a:0:ff",
            "02:00:00:0a:00:+f",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
