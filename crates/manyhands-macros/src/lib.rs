//! The `#[task]` attribute of [manyhands]; use it as `manyhands::task`, where it is documented.
//!
//! [manyhands]: https://docs.rs/manyhands

mod check;
mod expand;

use proc_macro::TokenStream;

/// Makes a task of a function: see `manyhands::task`.
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::task(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
