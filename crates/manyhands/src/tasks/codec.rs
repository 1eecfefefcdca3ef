//! How a task's input and output become bytes, and values again.
//!
//! What serde describes is written by postcard, one value after the other: the *header*. A
//! `Vec<u8>` (a *blob*) is not: the header holds its length, and its bytes follow the header as
//! they are, so that each is copied once on its way into shared memory and once out of it. Both
//! sides know from the types whether there are blobs; only then the header's own length comes
//! first, in eight bytes.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arena::SpanGuard;

const LENGTH: usize = size_of::<u64>();

/// Why a value did not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It cannot be written.
    Encode(String),
    /// The bytes are not such a value.
    Decode(String),
}

fn not_a_value(error: &dyn std::fmt::Display) -> Failure {
    Failure::Decode(error.to_string())
}

/// Bytes to read values from, wherever they are.
#[derive(Debug)]
pub enum Source<'a> {
    /// In private memory.
    Bytes(&'a [u8]),
    /// In another process's arena.
    Span(&'a SpanGuard),
}

impl<'a> Source<'a> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Span(span) => span.len(),
        }
    }

    /// The bytes from `at` on, to be read more than once: in private memory, as nothing may
    /// refer to shared bytes.
    fn bytes(&self, at: usize, len: usize) -> Result<Cow<'a, [u8]>, Failure> {
        match self {
            Self::Bytes(bytes) => at
                .checked_add(len)
                .and_then(|end| bytes.get(at..end))
                .map(Cow::Borrowed)
                .ok_or_else(too_short),
            Self::Span(_) => self.vec(at, len).map(Cow::Owned),
        }
    }

    fn vec(&self, at: usize, len: usize) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Bytes(_) => Ok(self.bytes(at, len)?.into_owned()),
            Self::Span(span) => span
                .part_to_vec(at, len)
                .map_err(|error| not_a_value(&error)),
        }
    }
}

fn too_short() -> Failure {
    Failure::Decode("it is too short".into())
}

/// Where postcard writes to.
struct Growing<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Growing<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

fn write<T: Serialize + ?Sized>(value: &T, to: &mut Vec<u8>) -> Result<(), Failure> {
    postcard::serialize_with_flavor::<T, _, ()>(value, Growing(to))
        .map_err(|error| Failure::Encode(error.to_string()))
}

/// Collects a task's arguments.
#[derive(Debug, Default)]
pub struct Encoder<'a> {
    header: Vec<u8>,
    blobs: Vec<&'a [u8]>,
    failed: Option<Failure>,
}

impl<'a> Encoder<'a> {
    /// Adds a value by serde.
    pub fn serde<T: Serialize + ?Sized>(&mut self, value: &T) {
        if self.failed.is_none() {
            self.failed = write(value, &mut self.header).err();
        }
    }

    /// Adds bytes as they are.
    pub fn blob(&mut self, bytes: &'a [u8]) {
        self.serde(&(bytes.len() as u64));
        self.blobs.push(bytes);
    }

    /// Gives all of it to `send`, in parts to be put one after the other.
    pub(crate) fn send<R>(self, send: impl FnOnce(&[&[u8]]) -> R) -> Result<R, Failure> {
        if let Some(failure) = self.failed {
            return Err(failure);
        }
        if self.blobs.is_empty() {
            return Ok(send(&[&self.header]));
        }
        let length = (self.header.len() as u64).to_le_bytes();
        let mut parts: Vec<&[u8]> = vec![&length, &self.header];
        parts.extend(self.blobs);
        Ok(send(&parts))
    }
}

/// A task's output.
#[derive(Debug, Default)]
pub struct Encoded {
    header: Vec<u8>,
    blob: Option<Vec<u8>>,
}

impl Encoded {
    /// Something that serde describes.
    pub fn serde<T: Serialize + ?Sized>(value: &T) -> Result<Self, Failure> {
        let mut header = Vec::new();
        write(value, &mut header)?;
        Ok(Self { header, blob: None })
    }

    /// Something that serde describes, and bytes as they are; at the other end, the value is
    /// taken first.
    pub fn with_blob<T: Serialize + ?Sized>(value: &T, blob: Vec<u8>) -> Result<Self, Failure> {
        let mut encoded = Self::serde(value)?;
        write(&(blob.len() as u64), &mut encoded.header)?;
        encoded.blob = Some(blob);
        Ok(encoded)
    }

    /// Gives all of it to `send`, in parts to be put one after the other.
    pub(crate) fn send<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        match &self.blob {
            None => send(&[&self.header]),
            Some(blob) => {
                let length = (self.header.len() as u64).to_le_bytes();
                send(&[&length, &self.header, blob])
            }
        }
    }
}

/// Takes values out of bytes, in the order in which they were put in.
#[derive(Debug)]
pub struct Decoder<'a> {
    source: &'a Source<'a>,
    header: Cow<'a, [u8]>,
    at: usize,
    next_blob: usize,
}

impl<'a> Decoder<'a> {
    /// Begins; `has_blobs` follows from the types to come.
    ///
    /// # Errors
    /// The bytes are shorter than they claim to be.
    pub fn new(source: &'a Source<'a>, has_blobs: bool) -> Result<Self, Failure> {
        let (start, len) = if has_blobs {
            let length = source.bytes(0, LENGTH)?;
            let length = u64::from_le_bytes(length[..].try_into().map_err(|_| too_short())?);
            (LENGTH, usize::try_from(length).map_err(|_| too_short())?)
        } else {
            (0, source.len())
        };
        Ok(Self {
            header: source.bytes(start, len)?,
            at: 0,
            next_blob: start + len,
            source,
        })
    }

    /// Takes a value that serde describes.
    ///
    /// # Errors
    /// The bytes are no such value.
    pub fn serde<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let bytes = &self.header[self.at..];
        let (value, rest) =
            postcard::take_from_bytes(bytes).map_err(|error| not_a_value(&error))?;
        self.at = self.header.len() - rest.len();
        Ok(value)
    }

    /// Takes bytes as they are.
    ///
    /// # Errors
    /// There are not so many.
    pub fn blob(&mut self) -> Result<Vec<u8>, Failure> {
        let len = usize::try_from(self.serde::<u64>()?).map_err(|_| too_short())?;
        let bytes = self.source.vec(self.next_blob, len)?;
        self.next_blob += len;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(encoder: Encoder<'_>) -> Vec<u8> {
        encoder.send(|parts| parts.concat()).unwrap()
    }

    #[test]
    fn values_and_blobs_come_out_in_their_order() {
        let (one, two) = (vec![1; 1000], Vec::new());
        let mut encoder = Encoder::default();
        encoder.serde("before");
        encoder.blob(&one);
        encoder.serde(&7u64);
        encoder.blob(&two);
        let bytes = joined(encoder);
        let source = Source::Bytes(&bytes);
        let mut decoder = Decoder::new(&source, true).unwrap();
        assert_eq!(decoder.serde::<String>().unwrap(), "before");
        assert_eq!(decoder.blob().unwrap(), one);
        assert_eq!(decoder.serde::<u64>().unwrap(), 7);
        assert_eq!(decoder.blob().unwrap(), two);
    }

    #[test]
    fn what_is_cut_off_is_an_error_wherever_it_is_cut() {
        let blob = vec![9; 100];
        let mut encoder = Encoder::default();
        encoder.serde("text");
        encoder.blob(&blob);
        let whole = joined(encoder);
        for len in 0..whole.len() {
            let source = Source::Bytes(&whole[..len]);
            let read = Decoder::new(&source, true)
                .and_then(|mut decoder| Ok((decoder.serde::<String>()?, decoder.blob()?)));
            assert!(matches!(read, Err(Failure::Decode(_))), "{len} bytes");
        }
    }

    #[test]
    fn a_value_that_serde_refuses_to_write_is_an_error() {
        struct Refuses;
        impl Serialize for Refuses {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("not today"))
            }
        }
        let mut encoder = Encoder::default();
        encoder.serde(&Refuses);
        encoder.serde(&1u8);
        assert!(matches!(encoder.send(|_| ()), Err(Failure::Encode(_))));
        assert!(matches!(Encoded::serde(&Refuses), Err(Failure::Encode(_))));
    }
}
