//! What cannot be a task, and how the user is told. All that is wrong with a function is said at
//! once.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Error, FnArg, Ident, ItemFn, Lifetime, PatIdent, ReturnType, Safety, Type};

/// Every reason why the function cannot be a task.
pub(crate) fn check(function: &ItemFn) -> Result<(), Error> {
    let mut found = Found(None);
    let signature = &function.sig;
    if let Some(part) = &signature.constness {
        found.add(part, "a task cannot be a `const fn`; leave out `const`");
    }
    if matches!(signature.safety, Safety::Unsafe(_)) {
        found.add(
            &signature.safety,
            "a task cannot be an `unsafe fn`: a worker calls it with whatever was submitted; \
             check the arguments in a safe function, and use an `unsafe` block there",
        );
    }
    if let Some(part) = &signature.abi {
        found.add(
            part,
            "a task cannot be an `extern` function; wrap it in a plain one",
        );
    }
    if let Some(part) = &signature.variadic {
        found.add(part, "a task cannot be variadic; take a `Vec`");
    }
    if !signature.generics.params.is_empty() {
        found.add(
            &signature.generics,
            "a task cannot be generic: a worker process finds it by its name, so its types must \
             be concrete; write a task for each type, which may call one generic function",
        );
    } else if let Some(part) = &signature.generics.where_clause {
        found.add(
            part,
            "a task cannot have a `where` clause: its types must be concrete",
        );
    }
    for input in &signature.inputs {
        match input {
            FnArg::Receiver(receiver) => found.add(
                receiver,
                "a task cannot be a method: a worker process has no `self`; write a free \
                 function, and pass what it needs as arguments",
            ),
            FnArg::Typed(argument) => {
                Types {
                    found: &mut found,
                    place: Place::Argument,
                }
                .visit_type(&argument.ty);
                let mut names = Names {
                    found: &mut found,
                    task: &signature.ident,
                };
                names.visit_pat(&argument.pat);
            }
        }
    }
    if let ReturnType::Type(_, output) = &signature.output {
        Types {
            found: &mut found,
            place: Place::Result,
        }
        .visit_type(output);
    }
    found.0.map_or(Ok(()), Err)
}

/// Looks for the task's own name in a pattern.
struct Names<'a> {
    found: &'a mut Found,
    task: &'a Ident,
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_pat_ident(&mut self, part: &'ast PatIdent) {
        if part.ident == *self.task {
            self.found.add(
                &part.ident,
                "an argument of a task cannot have the task's own name, which stands for the task \
                 here; call one of them otherwise",
            );
        }
        visit::visit_pat_ident(self, part);
    }
}

struct Found(Option<Error>);

impl Found {
    fn add(&mut self, part: &impl Spanned, text: &str) {
        let error = Error::new(part.span(), text);
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }
}

#[derive(Clone, Copy)]
enum Place {
    Argument,
    Result,
}

/// Looks through one type, however deep.
struct Types<'a> {
    found: &'a mut Found,
    place: Place,
}

impl Types<'_> {
    fn borrows(&mut self, part: &impl Spanned) {
        let text = match self.place {
            Place::Argument => {
                "a task cannot borrow its arguments, which travel to another process; take an \
                 owned value (`String` for `&str`, `Vec<T>` for `&[T]`)"
            }
            Place::Result => {
                "a task cannot return a borrow, as its result travels to another process; return \
                 an owned value (`String` for `&str`, `Vec<T>` for `&[T]`)"
            }
        };
        self.found.add(part, text);
    }
}

impl<'ast> Visit<'ast> for Types<'_> {
    fn visit_type(&mut self, part: &'ast Type) {
        match part {
            Type::Reference(_) => self.borrows(part),
            Type::ImplTrait(_) => self.found.add(
                part,
                "a task's types must be concrete: a worker process decodes the arguments, and \
                 the caller the result, by their types; name the type instead of `impl Trait`",
            ),
            Type::Never(_) => self.found.add(
                part,
                "a task must be able to end with a result; to run until it is stopped, let it \
                 return `()`",
            ),
            Type::FnPtr(_) | Type::Ptr(_) => self.found.add(
                part,
                "an address means nothing in another process; pass what it stands for",
            ),
            _ => visit::visit_type(self, part),
        }
    }

    fn visit_lifetime(&mut self, part: &'ast Lifetime) {
        if part.ident != "static" {
            self.borrows(part);
        }
    }
}
