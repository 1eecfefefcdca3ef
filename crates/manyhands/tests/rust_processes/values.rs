//! What functions can be tasks, and what can travel.

use std::collections::BTreeMap;

use manyhands::{Error, Kind, Pool, Task, task};
use serde::{Deserialize, Serialize};

use super::watchdog;

/// A task with attributes of all sorts.
#[task]
#[inline]
#[must_use]
#[allow(clippy::too_many_arguments)]
pub fn many(
    mut a: u8,
    (b, c): (u16, u32),
    _: u64,
    d: Vec<u8>,
    e: Option<String>,
    f: [i8; 3],
    g: Vec<u8>,
    #[allow(unused_variables)] h: char,
) -> (Vec<u8>, String) {
    a += 1;
    let text = format!("{a} {b} {c} {e:?} {f:?} {} {}", d.len(), g.len());
    (g, text)
}

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
enum Shape {
    Circle { radius: f64 },
    Named(BTreeMap<String, Vec<Shape>>),
    Nothing,
}

#[task]
fn around(shape: Shape) -> Result<Box<Shape>, Shape> {
    match shape {
        Shape::Nothing => Err(shape),
        other => Ok(Box::new(other)),
    }
}

type Bytes = Vec<u8>;

#[task]
fn reversed(mut bytes: Bytes) -> Result<Bytes, String> {
    if bytes.is_empty() {
        return Err("nothing to reverse".into());
    }
    bytes.reverse();
    Ok(bytes)
}

#[task]
fn fibonacci(n: u64) -> u64 {
    // A task calls itself, and others, as the functions that they are.
    if n < 2 {
        n
    } else {
        fibonacci(n - 1) + fibonacci(n - 2)
    }
}

#[task]
async fn calls_another(n: u64) -> u64 {
    fibonacci(n) + Box::pin(adds(n, 1)).await
}

#[task]
async fn adds(a: u64, b: u64) -> u64 {
    a + b
}

mod r#type {
    #[manyhands::task]
    pub fn r#match(r#fn: String) -> String {
        r#fn + "!"
    }
}

/// Names that generated code uses as well.
mod names {
    fn run(n: u64) -> u64 {
        n + 1
    }

    fn direct(n: u64) -> u64 {
        n + 2
    }

    const REGISTRATION: u64 = 3;

    #[manyhands::task]
    pub fn value(input: u64, from: u64, to: u64, output: u64) -> u64 {
        run(input) + direct(from) + to + output + REGISTRATION
    }
}

macro_rules! adders {
    ($($name:ident: $type:ty;)*) => {
        $(#[task]
        fn $name(a: $type, b: $type) -> $type {
            a + b
        })*
    };
}

adders! {
    add_bytes: u8;
    add_floats: f64;
}

#[test]
fn functions_of_any_shape_are_tasks() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let input = (
        1,
        (2, 3),
        4,
        vec![0; 500],
        Some("x".into()),
        [1, 2, 3],
        vec![7; 100_000],
        'h',
    );
    let (bytes, text) = pool.submit(many, input).wait().unwrap();
    assert_eq!(text, r#"2 2 3 Some("x") [1, 2, 3] 500 100000"#);
    assert!(bytes == vec![7; 100_000]);

    let name = String::from("all");
    let shape = Shape::Named([(name, vec![Shape::Circle { radius: 0.5 }])].into());
    assert_eq!(
        pool.submit(around, shape.clone()).wait().unwrap(),
        Ok(Box::new(shape))
    );
    let nothing = pool.submit(around, Shape::Nothing).wait().unwrap();
    assert_eq!(nothing, Err(Shape::Nothing));

    for len in [1, 1000, 10 << 20] {
        let back = pool.submit(reversed, vec![9; len]).wait().unwrap();
        assert!(back == Ok(vec![9; len]));
    }
    assert!(pool.submit(reversed, Vec::new()).wait().unwrap().is_err());

    assert_eq!(pool.submit(fibonacci, 15).wait().unwrap(), 610);
    assert_eq!(pool.submit(calls_another, 15).wait().unwrap(), 626);
    let text = pool.submit(r#type::r#match, "well".into()).wait().unwrap();
    assert_eq!(text, "well!");
    assert_eq!(pool.submit(names::value, (1, 2, 3, 4)).wait().unwrap(), 16);
    assert_eq!(pool.submit(add_bytes, (1, 2)).wait().unwrap(), 3);
    assert_eq!(pool.submit(add_floats, (0.5, 1.0)).wait().unwrap(), 1.5);
}

#[test]
fn a_task_is_called_as_the_function_that_it_was() {
    assert_eq!(fibonacci(10), 55);
    let all: Vec<_> = (0..5).map(*fibonacci).collect();
    assert_eq!(all, [0, 1, 1, 2, 3]);
    assert_eq!(fibonacci::KIND, Kind::Function);
    assert_eq!(adds::KIND, Kind::Coroutine);
    assert!(r#type::r#match::NAME.ends_with("::match"));
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let sum = runtime.block_on(async { tokio::spawn(adds(1, 2)).await.unwrap() });
    assert_eq!(sum, 3);
}

#[test]
fn tasks_of_one_name_in_two_scopes_are_two_tasks() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let one = {
        #[task]
        fn which() -> u8 {
            1
        }
        pool.submit(which, ())
    };
    let two = {
        #[task]
        fn which() -> u8 {
            2
        }
        pool.submit(which, ())
    };
    assert_eq!((one.wait().unwrap(), two.wait().unwrap()), (1, 2));
}

/// Writes something else than it reads.
#[derive(Debug)]
struct Lopsided;

impl Serialize for Lopsided {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Lopsided {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|_| Self)
    }
}

/// Cannot be written.
#[derive(Debug, Deserialize)]
struct Mute;

impl Serialize for Mute {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("mute"))
    }
}

#[task]
fn takes(_: Lopsided) {}

#[task]
fn gives() -> Lopsided {
    Lopsided
}

#[task]
fn takes_mute(_: Mute) {}

#[task]
async fn gives_mute() -> Mute {
    Mute
}

#[test]
fn values_that_do_not_travel_are_errors_of_their_task() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let input = pool.submit(takes, Lopsided).wait().unwrap_err();
    assert!(
        matches!(
            &input,
            Error::Decode {
                what: "the task's input",
                ..
            }
        ),
        "{input:?}"
    );
    let text = input.to_string();
    let task = "the task's input (of `rust_processes::values::takes`)";
    assert!(text.starts_with(task), "{text}");
    let output = pool.submit(gives, ()).wait().unwrap_err();
    assert!(
        matches!(
            &output,
            Error::Decode {
                what: "the task's output",
                ..
            }
        ),
        "{output:?}"
    );
    let input = pool.submit(takes_mute, Mute).wait().unwrap_err();
    assert!(
        matches!(
            &input,
            Error::Encode {
                what: "the task's input",
                ..
            }
        ),
        "{input:?}"
    );
    let output = pool.submit(gives_mute, ()).wait().unwrap_err();
    assert!(
        matches!(
            &output,
            Error::Encode {
                what: "the task's output",
                ..
            }
        ),
        "{output:?}"
    );
    // A map goes on behind an input that cannot be sent.
    assert_eq!(pool.map(takes_mute, [Mute, Mute, Mute]).count(), 3);
}
