//! Which types travel in which way, chosen by the compiler where `#[task]` is expanded.
//!
//! [`Slot<T>`] has a method `how` for any `T`, by [`HowSerde`] for `&Slot<T>`; for a few types it
//! has another one, for `Slot<T>` itself, which is nearer to the call `(&Slot::<T>::NEW).how()`
//! and so comes first. This works only where `T` is a concrete type, which the macro sees to.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Decoder, Encoded, Encoder, Failure};

/// Stands for a type.
pub struct Slot<T>(PhantomData<T>);

impl<T> Slot<T> {
    /// For any type.
    pub const NEW: Self = Self(PhantomData);
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

/// Only such types can be arguments and results of tasks.
pub fn can_travel<T: Serialize + DeserializeOwned + Send + 'static>() {}

/// Anything, by serde.
pub trait HowSerde {
    /// How it travels.
    fn how(&self) -> BySerde {
        BySerde
    }
}

impl<T> HowSerde for &Slot<T> {}

/// A `Vec<u8>`, as it is.
pub trait HowBytes {
    /// How it travels.
    fn how(&self) -> AsBytes {
        AsBytes
    }
}

impl HowBytes for Slot<Vec<u8>> {}

/// A `Vec<u8>` or an error.
pub trait HowResult {
    /// How it travels.
    fn how(&self) -> AsBytesOrError {
        AsBytesOrError
    }
}

impl<E> HowResult for Slot<Result<Vec<u8>, E>> {}

/// Written and read by serde.
#[derive(Clone, Copy, Debug)]
pub struct BySerde;

/// Bytes that travel as they are.
#[derive(Clone, Copy, Debug)]
pub struct AsBytes;

/// Bytes that travel as they are, or an error by serde.
#[derive(Clone, Copy, Debug)]
pub struct AsBytesOrError;

#[allow(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "three times the same four methods, called by generated code only"
)]
mod ways {
    use super::*;

    impl BySerde {
        pub fn has_blob(self) -> bool {
            false
        }

        pub fn put<T: Serialize>(self, value: &T, to: &mut Encoder<'_>) {
            to.serde(value);
        }

        pub fn take<T: DeserializeOwned>(self, from: &mut Decoder<'_>) -> Result<T, Failure> {
            from.serde()
        }

        pub fn give<T: Serialize>(self, value: T) -> Result<Encoded, Failure> {
            Encoded::serde(&value)
        }
    }

    impl AsBytes {
        pub fn has_blob(self) -> bool {
            true
        }

        pub fn put<'a>(self, value: &'a [u8], to: &mut Encoder<'a>) {
            to.blob(value);
        }

        pub fn take(self, from: &mut Decoder<'_>) -> Result<Vec<u8>, Failure> {
            from.blob()
        }

        pub fn give(self, value: Vec<u8>) -> Result<Encoded, Failure> {
            Encoded::with_blob(&(), value)
        }
    }

    impl AsBytesOrError {
        pub fn has_blob(self) -> bool {
            true
        }

        pub fn put<'a, E: Serialize>(self, value: &'a Result<Vec<u8>, E>, to: &mut Encoder<'a>) {
            to.serde(&value.as_ref().err());
            to.blob(value.as_ref().map_or(&[], Vec::as_slice));
        }

        pub fn take<E: DeserializeOwned>(
            self,
            from: &mut Decoder<'_>,
        ) -> Result<Result<Vec<u8>, E>, Failure> {
            let error: Option<E> = from.serde()?;
            let bytes = from.blob()?;
            Ok(error.map_or(Ok(bytes), Err))
        }

        pub fn give<E: Serialize>(self, value: Result<Vec<u8>, E>) -> Result<Encoded, Failure> {
            match value {
                Ok(bytes) => Encoded::with_blob(&None::<E>, bytes),
                Err(error) => Encoded::with_blob(&Some(error), Vec::new()),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::needless_borrow, reason = "written as the macro writes it")]
mod tests {
    use super::super::codec::Source;
    use super::*;

    #[test]
    fn bytes_are_told_from_all_else_by_their_type() {
        assert!((&Slot::<Vec<u8>>::NEW).how().has_blob());
        assert!((&Slot::<Result<Vec<u8>, String>>::NEW).how().has_blob());
        assert!(!(&Slot::<Vec<u16>>::NEW).how().has_blob());
        assert!(!(&Slot::<Option<Vec<u8>>>::NEW).how().has_blob());
    }

    #[test]
    fn bytes_or_an_error_come_back_as_either() {
        for value in [Ok(vec![1, 2, 3]), Err(String::from("no such page"))] {
            let how = (&Slot::<Result<Vec<u8>, String>>::NEW).how();
            let bytes = how
                .give(value.clone())
                .unwrap()
                .send(|parts| parts.concat());
            let source = Source::Bytes(&bytes);
            let mut decoder = Decoder::new(&source, true).unwrap();
            assert_eq!(how.take::<String>(&mut decoder).unwrap(), value);
        }
    }
}
