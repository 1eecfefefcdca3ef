//! What `#[task]` makes of a function.
//!
//! The function becomes a unit struct of the same name: a value that can be passed around, that
//! carries the function's types, and that dereferences to the function itself, so that it can
//! still be called. The struct's traits are written out with concrete types, which lets the
//! methods of `manyhands::__private` be chosen by type (a `Vec<u8>` travels as it is).
//!
//! Variables in the generated code have names that no task has: a pattern with a task's name would
//! mean that task.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, ItemFn, Path, ReturnType, Type};

use crate::check::check;

pub(crate) fn task(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let manyhands = path_of_the_crate(arguments)?;
    let function: ItemFn = syn::parse2(item).map_err(|error| {
        let text = format!("`#[task]` belongs on a function with a body ({error})");
        Error::new(error.span(), text)
    })?;
    check(&function)?;
    Ok(expand(&manyhands, function))
}

/// `#[task]`, or `#[task(crate = path)]` for those who use the crate by another name.
fn path_of_the_crate(arguments: TokenStream) -> Result<Path, Error> {
    if arguments.is_empty() {
        return Ok(syn::parse_quote!(::manyhands));
    }
    let mut path = None;
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("crate") {
            path = Some(meta.value()?.call(Path::parse_mod_style)?);
            return Ok(());
        }
        Err(meta.error(
            "`#[task]` takes only `crate = path`; limits are given where a task is submitted, \
             by `pool.options()`",
        ))
    });
    syn::parse::Parser::parse2(parser, arguments)?;
    Ok(path.unwrap_or_else(|| syn::parse_quote!(::manyhands)))
}

/// Attributes that belong to the struct, those that belong to the function, and those of both.
fn share_out(attributes: Vec<Attribute>) -> [Vec<Attribute>; 3] {
    let mut shares = [Vec::new(), Vec::new(), Vec::new()];
    for attribute in attributes {
        let is = |name: &str| attribute.path().is_ident(name);
        let share = if is("doc") || is("deprecated") || is("must_use") {
            0
        } else if is("cfg") || is("allow") || is("warn") || is("deny") || is("forbid") {
            2
        } else {
            1
        };
        shares[share].push(attribute);
    }
    shares
}

/// Errors about a type are shown at it; names in the generated code are looked up as in the rest.
fn at(of: &Type) -> Span {
    of.span().resolved_at(Span::call_site())
}

fn expand(manyhands: &Path, mut function: ItemFn) -> TokenStream {
    let private = quote!(#manyhands::__private);
    let [outer, inner, both] = share_out(std::mem::take(&mut function.attrs));
    let visibility = std::mem::replace(&mut function.vis, syn::Visibility::Inherited);
    let name = function.sig.ident.clone();
    let text = name.to_string();
    let text = text.strip_prefix("r#").unwrap_or(&text).to_owned();
    let body = Ident::new("__manyhands_body", Span::mixed_site());
    function.sig.ident = body.clone();
    function.attrs = inner;
    function.attrs.extend(both.iter().cloned());

    let types: Vec<Type> = function
        .sig
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(argument) => Some((*argument.ty).clone()),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let output: Type = match &function.sig.output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, output) => (**output).clone(),
    };
    let values: Vec<Ident> = (0..types.len())
        .map(|index| format_ident!("__manyhands_value_{index}", span = Span::mixed_site()))
        .collect();
    // One argument is the input; none or several are a tuple.
    let (input, pattern) = match (&types[..], &values[..]) {
        ([one], [value]) => (quote!(#one), quote!(#value)),
        _ => (quote!((#(#types,)*)), quote!((#(#values,)*))),
    };
    let puts = types.iter().zip(&values).map(|(of, value)| {
        quote_spanned! {at(of)=>
            (&#private::Slot::<#of>::NEW).how().put(#value, __manyhands_to);
        }
    });
    let takes = types.iter().zip(&values).map(|(of, value)| {
        quote_spanned! {at(of)=>
            let #value: #of = (&#private::Slot::<#of>::NEW).how().take(&mut __manyhands_from)?;
        }
    });
    let takes = quote!(#(#takes)*);
    let blobs = types.iter().map(|of| {
        quote_spanned! {at(of)=> || (&#private::Slot::<#of>::NEW).how().has_blob() }
    });
    let blobs = quote!(false #(#blobs)*);
    let sendable = types.iter().chain([&output]).map(|of| {
        quote_spanned! {at(of)=> #private::can_travel::<#of>(); }
    });
    let give = quote_spanned! {at(&output)=>
        (&#private::Slot::<#output>::NEW).how().give(__manyhands_value)
    };
    let take_output = quote_spanned! {at(&output)=>
        let __manyhands_blob = (&#private::Slot::<#output>::NEW).how().has_blob();
        let mut __manyhands_from = #private::Decoder::new(__manyhands_output, __manyhands_blob)?;
        (&#private::Slot::<#output>::NEW).how().take(&mut __manyhands_from)
    };
    let use_how = quote!(use #private::{HowBytes as _, HowResult as _, HowSerde as _};);

    let is_async = function.sig.asyncness.is_some();
    let (called, direct, run, kind) = if is_async {
        let future = quote!(
            ::std::pin::Pin<::std::boxed::Box<
                dyn ::std::future::Future<Output = #output> + ::std::marker::Send
            >>
        );
        (
            quote!(#private::Called::Future(::std::boxed::Box::pin(#body(#(#values),*)))),
            quote! {
                type Target = fn(#(#types),*) -> #future;
                fn deref(&self) -> &Self::Target {
                    fn direct(#(#values: #types),*) -> #future {
                        ::std::boxed::Box::pin(#body(#(#values),*))
                    }
                    const DIRECT: fn(#(#types),*) -> #future = direct;
                    &DIRECT
                }
            },
            quote! {
                fn run(
                    __manyhands_input: &#private::Source<'_>,
                ) -> ::std::result::Result<#private::Running, #private::Failure> {
                    #use_how
                    let #pattern = <#name as #manyhands::Task>::decode_input(__manyhands_input)?;
                    ::std::result::Result::Ok(::std::boxed::Box::pin(async move {
                        let __manyhands_value: #output = #body(#(#values),*).await;
                        #give
                    }))
                }
            },
            format_ident!("Coroutine"),
        )
    } else {
        (
            quote!(#private::Called::Value(#body(#(#values),*))),
            quote! {
                type Target = fn(#(#types),*) -> #output;
                fn deref(&self) -> &Self::Target {
                    const DIRECT: fn(#(#types),*) -> #output = #body;
                    &DIRECT
                }
            },
            quote! {
                fn run(
                    __manyhands_input: &#private::Source<'_>,
                ) -> ::std::result::Result<#private::Encoded, #private::Failure> {
                    #use_how
                    let #pattern = <#name as #manyhands::Task>::decode_input(__manyhands_input)?;
                    let __manyhands_value: #output = #body(#(#values),*);
                    #give
                }
            },
            format_ident!("Function"),
        )
    };

    quote! {
        #(#outer)*
        #(#both)*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #name;

        #(#both)*
        #[allow(deprecated, clippy::unused_unit, clippy::let_unit_value, clippy::unit_arg)]
        const _: () = {
            // The names below are not seen from in here.
            #function

            const _: () = {
            #[automatically_derived]
            impl ::std::ops::Deref for #name {
                #direct
            }

            #run

            static REGISTRATION: #private::Registration = #private::Registration::new(
                ::std::concat!(::std::module_path!(), "::", #text),
                ::std::concat!(
                    ::std::module_path!(), "::", #text,
                    "@", ::std::file!(), ":", ::std::line!(), ":", ::std::column!(),
                ),
                #private::Run::#kind(run),
            );

            #private::inventory::submit! { #private::Entry(&REGISTRATION) }

            #[automatically_derived]
            impl #manyhands::Task for #name {
                type Input = #input;
                type Output = #output;
                const NAME: &'static str = ::std::concat!(::std::module_path!(), "::", #text);
                const KIND: #manyhands::Kind = #manyhands::Kind::#kind;

                fn registration() -> &'static #private::Registration {
                    #[allow(unused)]
                    fn types_that_can_travel() {
                        #(#sendable)*
                    }
                    &REGISTRATION
                }

                fn call(#pattern: Self::Input) -> #private::Called<Self::Output> {
                    #called
                }

                fn encode<'a>(__manyhands_input: &'a Self::Input, __manyhands_to: &mut #private::Encoder<'a>) {
                    #use_how
                    let #pattern = __manyhands_input;
                    #(#puts)*
                }

                fn decode_input(
                    __manyhands_input: &#private::Source<'_>,
                ) -> ::std::result::Result<Self::Input, #private::Failure> {
                    #use_how
                    let mut __manyhands_from = #private::Decoder::new(__manyhands_input, #blobs)?;
                    #takes
                    ::std::result::Result::Ok(#pattern)
                }

                fn decode(
                    __manyhands_output: &#private::Source<'_>,
                ) -> ::std::result::Result<Self::Output, #private::Failure> {
                    #use_how
                    #take_output
                }
            }
            };
        };
    }
}
