//! The seccomp filters of the images (`seccomp.img`).
//!
//! A filter in the images may be any program. So the filter of config.json becomes the first one of
//! each process that has a filter, unless it is that already.

use anyhow::{Context, Result, ensure};
use libc::SECCOMP_FILTER_FLAG_TSYNC;
use prost::Message;

/// The name of the image.
pub(crate) const NAME: &str = "seccomp.img";

/// Two numbers that say what the file is, and the length of the message that follows.
const MAGIC: [u8; 8] = [0x19, 0x43, 0x56, 0x54, 0x49, 0x30, 0x41, 0x64];

/// `seccomp_entry` of CRIU's `images/seccomp.proto`.
#[derive(Clone, PartialEq, Message)]
struct Filters {
    #[prost(message, repeated, tag = "1")]
    filters: Vec<Filter>,
}

#[derive(Clone, PartialEq, Message)]
struct Filter {
    /// `struct sock_filter` for each instruction.
    #[prost(bytes = "vec", required, tag = "1")]
    program: Vec<u8>,
    /// The index of the filter that was installed before. Absent for the first one.
    #[prost(uint32, optional, tag = "2")]
    previous: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    flags: Option<u32>,
}

/// The content of the image in which each process has the filter `program` first. `None` if that
/// is so in `image`.
///
/// # Errors
/// When the image has another form.
pub(crate) fn with_first(image: &[u8], program: &[u8], flags: u32) -> Result<Option<Vec<u8>>> {
    let message = image.strip_prefix(&MAGIC).and_then(|rest| {
        let (length, message) = rest.split_first_chunk()?;
        message.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)
    });
    let message = message.context("it is not an image with filters")?;
    let Filters { mut filters } = Filters::decode(message)?;
    // CRIU writes them in order. It would follow a circle forever.
    let is_before = |(item, filter): (usize, &Filter)| {
        filter
            .previous
            .is_none_or(|previous| (previous as usize) < item)
    };
    ensure!(
        filters.iter().enumerate().all(is_before),
        "its filters are in no order"
    );
    let listed = filters.len();
    for item in 0..listed {
        let next = u32::try_from(filters.len())?;
        let filter = &mut filters[item];
        if filter.previous.is_some() || filter.program == program {
            continue;
        }
        filter.previous = Some(next);
        let of_threads = filter.flags.unwrap_or_default() & SECCOMP_FILTER_FLAG_TSYNC as u32;
        filters.push(Filter {
            program: program.to_vec(),
            previous: None,
            flags: Some(flags | of_threads),
        });
    }
    if filters.len() == listed {
        return Ok(None);
    }
    let message = Filters { filters }.encode_to_vec();
    let length = u32::try_from(message.len())?.to_le_bytes();
    Ok(Some([&MAGIC[..], &length, &message].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(filters: &[(&[u8], Option<u32>)]) -> Vec<u8> {
        let filters = filters.iter().map(|(program, previous)| Filter {
            program: program.to_vec(),
            previous: *previous,
            flags: Some(1),
        });
        let message = Filters {
            filters: filters.collect(),
        };
        let message = message.encode_to_vec();
        let length = (message.len() as u32).to_le_bytes();
        [&MAGIC[..], &length, &message].concat()
    }

    #[test]
    fn the_filter_comes_before_all_others() {
        let (ours, one, two): (&[u8], &[u8], &[u8]) = (b"oursours", b"one.one.", b"two.two.");
        let found = image(&[(one, None), (two, Some(0)), (two, None)]);
        let expected = image(&[
            (one, Some(3)),
            (two, Some(0)),
            (two, Some(4)),
            (ours, None),
            (ours, None),
        ]);
        assert_eq!(with_first(&found, ours, 0).unwrap(), Some(expected));
        let found = image(&[(ours, None), (one, Some(0))]);
        assert_eq!(with_first(&found, ours, 0).unwrap(), None);
    }

    #[test]
    fn other_images_are_refused() {
        let circle = image(&[(b"one.one.", Some(1)), (b"two.two.", Some(0))]);
        let missing = image(&[(b"one.one.", Some(7))]);
        let mut short = image(&[(b"one.one.", None)]);
        short.pop();
        for image in [circle, missing, short, Vec::new(), vec![0xff; 100]] {
            assert!(with_first(&image, b"oursours", 0).is_err());
        }
    }
}
