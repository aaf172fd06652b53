//! Decompression under three bounds: size, ratio, and the memory budget. The same for every door.

use std::io::{self, Read};

use bytes::Bytes;

use crate::budget::Reservation;
use crate::config::Config;
use crate::error::Error;

/// Below this output any ratio is accepted: a small body of one repeated line is no bomb.
const RATIO_FLOOR_BYTES: usize = 1 << 20;
const STEP_BYTES: usize = 64 << 10;
const STEP_BYTES_MAX: usize = 4 << 20;
/// 8 MiB windows: what every zstd level up to 19 makes, and what RFC 8878 asks decoders to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
    /// The block format, not the framed one; of remote write only.
    Snappy,
}

impl Encoding {
    /// The encoding named by a `Content-Encoding` header, or `None` for one we do not accept.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        }
    }
}

/// The body as it was before compression.
pub(crate) fn inflate(
    encoding: Encoding,
    body: Bytes,
    config: &Config,
    held: &mut Reservation,
) -> Result<Bytes, Error> {
    let wire_bytes = body.len();
    let broken = |cause: &io::Error| broken(encoding, wire_bytes, cause);
    match encoding {
        Encoding::Identity if wire_bytes > config.decoded_bytes_max => Err(too_large(config)),
        Encoding::Identity => Ok(body),
        Encoding::Gzip => {
            let reader = flate2::read::MultiGzDecoder::new(&body[..]);
            read_bounded(reader, wire_bytes, config, held)?.map_err(|cause| broken(&cause))
        }
        Encoding::Zstd => {
            let mut reader = zstd::stream::read::Decoder::with_buffer(&body[..])
                .map_err(|cause| broken(&cause))?;
            reader.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|cause| broken(&cause))?;
            read_bounded(reader, wire_bytes, config, held)?.map_err(|cause| broken(&cause))
        }
        Encoding::Snappy => snappy(&body, config, held),
    }
}

/// A block says how large it is before anything is made of it.
fn snappy(body: &[u8], config: &Config, held: &mut Reservation) -> Result<Bytes, Error> {
    let broken = |cause: snap::Error| {
        broken(Encoding::Snappy, body.len(), &io::Error::new(io::ErrorKind::InvalidData, cause))
    };
    let bytes = snap::raw::decompress_len(body).map_err(broken)?;
    if bytes > config.decoded_bytes_max {
        return Err(too_large(config));
    }
    held.grow(bytes)?;
    let out = snap::raw::Decoder::new().decompress_vec(body).map_err(broken)?;
    Ok(out.into())
}

/// Reads to the end in steps, so that a bomb is noticed one step after it passed a bound. The outer error is a bound
/// that was passed, the inner one a stream that is broken.
fn read_bounded(
    mut reader: impl Read,
    wire_bytes: usize,
    config: &Config,
    held: &mut Reservation,
) -> Result<Result<Bytes, io::Error>, Error> {
    let ratio_bytes_max =
        wire_bytes.saturating_mul(config.inflate_ratio_max).max(RATIO_FLOOR_BYTES);
    let (mut out, mut filled) = (Vec::new(), 0);
    loop {
        if filled == out.len() {
            let more = out.len().clamp(STEP_BYTES, STEP_BYTES_MAX);
            held.grow(more)?;
            out.resize(filled + more, 0);
        }
        let read = match reader.read(&mut out[filled..]) {
            Ok(read) => read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Ok(Err(cause)),
        };
        filled += read;
        if filled > config.decoded_bytes_max {
            return Err(too_large(config));
        }
        if filled > ratio_bytes_max {
            return Err(Error::TooLarge(format!(
                "the body inflates to more than {} times its {wire_bytes} bytes, which no telemetry does; \
                 send it uncompressed, or raise `inflate_ratio_max`",
                config.inflate_ratio_max
            )));
        }
        if read == 0 {
            out.truncate(filled);
            return Ok(Ok(out.into()));
        }
    }
}

fn too_large(config: &Config) -> Error {
    Error::TooLarge(format!(
        "the decompressed body is larger than {} bytes; send smaller batches, or raise `decoded_bytes_max`",
        config.decoded_bytes_max
    ))
}

fn broken(encoding: Encoding, wire_bytes: usize, cause: &io::Error) -> Error {
    Error::Malformed(format!(
        "the body of {wire_bytes} bytes is not whole {name}: {cause}; compress it again, or name the encoding it has",
        name = encoding.name()
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::budget::Budget;

    pub(crate) fn gzip(data: &[u8]) -> Bytes {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(data).unwrap();
        out.finish().unwrap().into()
    }

    fn zstd(data: &[u8]) -> Bytes {
        zstd::encode_all(data, 3).unwrap().into()
    }

    fn snappy(data: &[u8]) -> Bytes {
        snap::raw::Encoder::new().compress_vec(data).unwrap().into()
    }

    #[test]
    fn a_snappy_block_that_claims_too_much_is_refused_unread() {
        let config = Config::default();
        for body in [&[0xff, 0xff, 0xff, 0xff, 0x0f, 0][..], &[0xff; 12], &[], &[5, 0, 1]] {
            let refused = run(Encoding::Snappy, Bytes::copy_from_slice(body), &config);
            assert!(matches!(refused, Err(Error::Malformed(_) | Error::TooLarge(_))), "{body:?}");
        }
    }

    fn run(encoding: Encoding, body: Bytes, config: &Config) -> Result<Bytes, Error> {
        let mut held = Budget::new(usize::MAX, store::Memory::new(1 << 30)).reserve(0).unwrap();
        inflate(encoding, body, config, &mut held)
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let config = Config::default();
        let data: Vec<u8> = (0..500_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for (encoding, body) in [(Encoding::Gzip, gzip(&data)), (Encoding::Zstd, zstd(&data))] {
            assert_eq!(run(encoding, body, &config).unwrap(), data);
        }
        assert!(run(Encoding::Zstd, zstd(&[]), &config).unwrap().is_empty());
        assert_eq!(run(Encoding::Snappy, snappy(&data), &config).unwrap(), data);
    }

    #[test]
    fn bombs_are_stopped_by_size_and_by_ratio() {
        let zeros = vec![0; 33 << 20];
        for (encoding, body) in [(Encoding::Gzip, gzip(&zeros)), (Encoding::Zstd, zstd(&zeros))] {
            let strict = Config { inflate_ratio_max: 500, ..Config::default() };
            let by_ratio = run(encoding, body.clone(), &strict).unwrap_err();
            assert!(by_ratio.to_string().contains("inflate_ratio_max"), "{by_ratio}");
            let loose = Config { inflate_ratio_max: usize::MAX, ..Config::default() };
            let by_size = run(encoding, body, &loose).unwrap_err();
            assert!(by_size.to_string().contains("decoded_bytes_max"), "{by_size}");
        }
    }

    #[test]
    fn a_bomb_is_refused_when_the_budget_is_full() {
        let budget = Budget::new(16 << 20, store::Memory::new(1 << 30));
        let _others = budget.reserve(15 << 20).unwrap();
        let mut held = budget.reserve(0).unwrap();
        let body = gzip(&vec![7; 8 << 20]);
        let loose = Config { inflate_ratio_max: usize::MAX, ..Config::default() };
        let refused = inflate(Encoding::Gzip, body, &loose, &mut held);
        assert!(matches!(refused, Err(Error::Busy { .. })));
    }

    #[test]
    fn truncated_and_flipped_bodies_are_malformed() {
        let data: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        for (encoding, body) in [(Encoding::Gzip, gzip(&data)), (Encoding::Zstd, zstd(&data))] {
            let half = body.slice(..body.len() / 2);
            assert!(matches!(run(encoding, half, &Config::default()), Err(Error::Malformed(_))));
            let other = Bytes::from_static(b"{\"resourceSpans\":[]}");
            assert!(matches!(run(encoding, other, &Config::default()), Err(Error::Malformed(_))));
        }
    }
}
