//! Bodies: JSON, forms and multipart forms as documents (reference gateway-2, section B.4).

use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::call::{ARGUMENTS_MAX, Call};
use super::error::ApiError;
use super::{form, infer, multipart};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::entity::Kind;

/// A decoded body.
pub(super) struct Body {
    document: Document,
    /// Whether values are texts whose meaning the schema tells.
    is_form: bool,
}

impl Body {
    /// Decodes the body of a call; no body at all is an empty document.
    pub(super) fn read(call: &Call) -> Result<Self, ApiError> {
        let body = &call.body;
        if call.headers.get_all(CONTENT_TYPE).iter().nth(1).is_some() {
            let text = "Multiple Content-Type headers not allowed";
            return Err(ApiError::BadRequest(text.into()));
        }
        match call.content_type() {
            None if body.is_empty() => Ok(Self { document: Document::new(), is_form: false }),
            Some(ty) if ty.starts_with("application/json") => {
                Ok(Self { document: json(body)?, is_form: false })
            }
            Some(ty) if ty.starts_with("application/x-www-form-urlencoded") => {
                let fields = form_urlencoded::parse(body).into_owned();
                Self::of_fields(fields.map(|(name, value)| (name, value.into())).collect())
            }
            Some(ty) if ty.starts_with("multipart/form-data") => {
                if body.is_empty() {
                    return Self::of_fields(Vec::new());
                }
                let fields = multipart::boundary(ty).and_then(|b| multipart::decode(body, b));
                let fields = fields.ok_or_else(|| {
                    ApiError::BadRequest("Cannot parse multipart/form-data body".into())
                })?;
                Self::of_fields(fields)
            }
            _ => Err(ApiError::UnsupportedMedia),
        }
    }

    /// Makes the body that a JSON object is.
    pub(super) fn of_json(document: Document) -> Self {
        Self { document, is_form: false }
    }

    fn of_fields(fields: Vec<(String, Value)>) -> Result<Self, ApiError> {
        if fields.len() > ARGUMENTS_MAX {
            return Err(ApiError::BadRequest("Too many arguments".into()));
        }
        Ok(Self { document: form::decode(fields), is_form: true })
    }

    /// Returns whether the body is a form, whose values only a schema can tell.
    pub(super) fn is_form(&self) -> bool {
        self.is_form
    }

    /// Returns the document as one of a kind; `stored_plugin` is the name of the plugin that a
    /// patch is for.
    pub(super) fn document(
        &self,
        catalog: &Catalog,
        kind: Kind,
        stored_plugin: Option<&str>,
    ) -> Document {
        let mut document = self.document.clone();
        match self.is_form {
            true => infer::infer(catalog, kind, &mut document, stored_plugin),
            false => infer::settle_empty(catalog, kind, &mut document),
        }
        document
    }

    /// Returns the document as it was sent.
    pub(super) fn into_plain(self) -> Document {
        self.document
    }
}

fn json(body: &[u8]) -> Result<Document, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(document)) => Ok(document),
        _ => Err(ApiError::BadRequest("Cannot parse JSON body".into())),
    }
}
