//! What a request carries: JSON, a form, files, text or bytes, with the media type that says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::declared::{Body, Call};
use super::multipart::multipart;
use super::prepare::unrendered;
use super::{Class, Context, Failure};
use crate::mapping;

const INPUT: &str = "connector.input";

/// The body and its media type; `None` where the call carries none.
pub(super) fn of(call: &Call, context: &Context) -> Result<(Option<Vec<u8>>, Option<String>), Failure> {
    let render = |mapping: &mapping::Mapping| {
        let mut value = mapping.render(context).map_err(|error| unrendered(&error))?;
        if call.omit_missing
            && let Value::Object(object) = &mut value
        {
            object.retain(|_, value| !value.is_null());
        }
        Ok::<_, Failure>(value)
    };
    let (body, content_type) = match &call.body {
        Body::None => return Ok((None, None)),
        Body::Json(mapping) => (render(mapping)?.to_string().into_bytes(), "application/json".to_owned()),
        Body::Form(mapping) => {
            (body_text(&render(mapping)?)?.into_bytes(), "application/x-www-form-urlencoded".to_owned())
        }
        Body::Multipart(mapping) => {
            let fields = render(mapping)?;
            if !fields.is_object() {
                let what = "the fields of a multipart body are an object";
                return Err(Failure::new(Class::Permanent, "connector.form", what));
            }
            multipart(&fields, context.key(), INPUT)?
        }
        Body::Raw { content, base64, content_type } => {
            let text = context.text(content)?.unwrap_or_default();
            let (bytes, usual) = if *base64 {
                let bytes = STANDARD.decode(text.trim()).map_err(|error| {
                    let what = format!("what `{}` gives is not base64: {error}", content.source());
                    Failure::new(Class::Permanent, INPUT, what)
                })?;
                (bytes, "application/octet-stream")
            } else {
                (text.into_bytes(), "text/plain; charset=utf-8")
            };
            let set = content_type.as_ref().map(|template| context.text(template)).transpose()?.flatten();
            let content_type = set.unwrap_or_else(|| usual.to_owned());
            super::safe_header("Content-Type", &content_type)?;
            (bytes, content_type)
        }
    };
    Ok((Some(body), Some(content_type)))
}

/// An object as form fields; null is left out, a list repeats its field.
pub fn body_text(fields: &Value) -> Result<String, Failure> {
    let Value::Object(fields) = fields else {
        return Err(Failure::new(Class::Permanent, "connector.form", "a form or query is an object of fields"));
    };
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for text in values.iter().filter_map(plain_text) {
            form.append_pair(name, &text);
        }
    }
    Ok(form.finish())
}

/// A value where only text can stand; `None` for null.
pub fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}
