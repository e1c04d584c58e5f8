//! What `#[derive(Module)]` writes.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, Ident, Index, LitStr, Member, Path, Result, Type,
};

/// What `#[module(..)]` on a field says.
#[derive(Default)]
struct FieldOptions {
    skip: bool,
    name: Option<LitStr>,
}

/// A field that holds parameters, buffers or modules.
struct DerivedField<'a> {
    member: Member,
    name: String,
    ty: &'a Type,
}

/// The `impl Module` of a struct.
pub(crate) fn module(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        let what = if matches!(input.data, Data::Enum(_)) { "an enum" } else { "a union" };
        let message = format!(
            "`#[derive(Module)]` is for structs: the parameters of {what} are not the same from value \
             to value; write `impl Module` for it"
        );
        return Err(Error::new(input.ident.span(), message));
    };
    let krate = crate_path(&input.attrs)?;
    let parts = parts(&data.fields)?;
    let name = &input.ident;

    // As of the standard library's derives: a type parameter that a field has is a module.
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        if parts.iter().any(|part| mentions(part.ty, &parameter.ident)) {
            parameter.bounds.push(syn::parse_quote!(#krate::Module));
        }
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();

    let members: Vec<&Member> = parts.iter().map(|part| &part.member).collect();
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    // At the field's place, so that an error points there.
    let visit = parts.iter().map(|part| {
        let (member, name) = (&part.member, &part.name);
        quote_spanned!(part.ty.span()=> #krate::ModuleField::visit(&self.#member, #name, visit);)
    });
    let forward = format_ident!("forward", span = name.span());
    Ok(quote! {
        const _: () = {
            use #krate::Module as _;

            /// Without a method `forward` of the type's own the call below is ambiguous: it would
            /// otherwise be the trait's, which calls itself for ever.
            #[allow(dead_code)]
            trait WriteAMethodForwardForIt {
                fn forward(&self) {}
            }
            impl<T: ?Sized> WriteAMethodForwardForIt for T {}

            #[automatically_derived]
            impl #impl_generics #krate::Module for #name #type_generics #where_clause {
                fn forward(
                    &self,
                    x: &#krate::derive::Tensor,
                    cx: &#krate::Context,
                ) -> #krate::derive::Result<#krate::derive::Tensor> {
                    Self::#forward(self, x, cx)
                }

                fn parameters<'__visit>(&'__visit self, visit: &mut #krate::Visitor<'__visit>) {
                    let _ = &visit;
                    #(#visit)*
                }

                fn parameters_mut<'__visit>(&'__visit mut self, visit: &mut #krate::VisitorMut<'__visit>) {
                    let _ = &visit;
                    #(#krate::ModuleField::visit_mut(&mut self.#members, #names, visit);)*
                }
            }
        };
    })
}

/// The path of `striate_nn`: `#[module(crate = some::path)]` on the type, or what its crate depends on.
fn crate_path(attributes: &[Attribute]) -> Result<Path> {
    let mut path = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("module")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("crate") {
                path = Some(meta.value()?.call(Path::parse_mod_style)?);
                return Ok(());
            }
            Err(meta.error("expected `crate = path`; `skip` and `name` stand on fields"))
        })?;
    }
    Ok(path.unwrap_or_else(crate::path::striate_nn))
}

/// The fields that are shown, in their order.
fn parts(fields: &Fields) -> Result<Vec<DerivedField<'_>>> {
    let mut parts: Vec<DerivedField<'_>> = Vec::with_capacity(fields.len());
    for (place, field) in fields.iter().enumerate() {
        let options = FieldOptions::of(&field.attrs)?;
        if options.skip {
            continue;
        }
        let (member, own) = match &field.ident {
            Some(ident) => (Member::Named(ident.clone()), ident.unraw().to_string()),
            None => {
                let index = Index { index: place as u32, span: field.ty.span() };
                (Member::Unnamed(index), place.to_string())
            }
        };
        let name = options.name.as_ref().map_or(own, LitStr::value);
        if parts.iter().any(|other| other.name == name) {
            let span = options.name.map_or_else(|| field.span(), |name| name.span());
            return Err(Error::new(span, format!("another field is called `{name}`")));
        }
        parts.push(DerivedField { member, name, ty: &field.ty });
    }
    Ok(parts)
}

impl FieldOptions {
    fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut options = FieldOptions::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("module")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    options.skip = true;
                } else if meta.path.is_ident("name") {
                    options.name = Some(meta.value()?.parse()?);
                } else {
                    return Err(meta.error("expected `skip` or `name = \"..\"`"));
                }
                Ok(())
            })?;
            if options.skip && options.name.is_some() {
                let message = "a field that is skipped has no name";
                return Err(Error::new(attribute.span(), message));
            }
        }
        Ok(options)
    }
}

/// Whether a type names this type parameter.
fn mentions(ty: &Type, parameter: &Ident) -> bool {
    fn in_tokens(tokens: TokenStream, parameter: &Ident) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == *parameter,
            TokenTree::Group(group) => in_tokens(group.stream(), parameter),
            _ => false,
        })
    }
    in_tokens(ty.to_token_stream(), parameter)
}
