//! Without the feature `tokio`, submitting an `async fn` is refused; none arrives here.

use std::io;

use super::Worker;

pub(super) fn serve(_worker: &Worker) -> io::Result<()> {
    Err(io::Error::other("the feature `tokio` of manyhands is off"))
}
