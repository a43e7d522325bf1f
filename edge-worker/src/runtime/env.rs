//! The worker's environment: its variables, and the Analytics Engine dataset.

use std::cell::OnceCell;

use http::{HeaderMap, HeaderName};
use wasm_bindgen::{JsCast, JsValue};
use worker::js_sys::{self, Reflect};
use worker::{Env, web_sys};

use crate::client;
use crate::json::Json;

/// Returns the client's country: the one that the field of a trusted proxy states if there is such
/// a field, else the platform's.
pub(crate) fn country(request: &web_sys::Request, headers: &HeaderMap, field: Option<&HeaderName>) -> String {
    match field {
        Some(name) => client::country(headers.get(name).and_then(|value| value.to_str().ok())),
        None => {
            let cf = Reflect::get(request, &"cf".into());
            let stated = cf.and_then(|cf| Reflect::get(&cf, &"country".into()));
            client::country(stated.ok().and_then(|stated| stated.as_string()).as_deref())
        }
    }
}

/// Returns the text of a variable.
pub(crate) fn text_variable(env: &Env, name: &str) -> Option<String> {
    Reflect::get(env, &name.into()).ok()?.as_string()
}

/// Returns the JSON value of a variable: a JSON text, or the tables that `wrangler.toml` declares.
/// `None` if it is absent or empty. A text that is not JSON is returned as [`Json::Text`].
pub(crate) fn json_variable(env: &Env, name: &str) -> Option<Json> {
    let value = Reflect::get(env, &name.into()).ok().filter(|value| !value.is_undefined())?;
    match value.as_string() {
        Some(text) if text.trim().is_empty() => None,
        Some(text) => Some(js_sys::JSON::parse(&text).map_or(Json::Text(text), |value| to_json(&value))),
        None => Some(to_json(&value)),
    }
}

fn to_json(value: &JsValue) -> Json {
    if let Some(value) = value.as_bool() {
        Json::Bool(value)
    } else if let Some(number) = value.as_f64() {
        Json::Number(number)
    } else if let Some(text) = value.as_string() {
        Json::Text(text)
    } else if js_sys::Array::is_array(value) {
        Json::List(js_sys::Array::from(value).iter().map(|item| to_json(&item)).collect())
    } else if value.is_object() {
        let members = js_sys::Object::entries(value.unchecked_ref());
        let member = |entry: JsValue| {
            let entry: &js_sys::Array = entry.unchecked_ref();
            (entry.get(0).as_string().unwrap_or_default(), to_json(&entry.get(1)))
        };
        Json::Object(members.iter().map(member).collect())
    } else {
        Json::Null
    }
}

thread_local! {
    /// Whether a dataset is bound, which does not change while the isolate lives.
    static HAS_DATASET: OnceCell<bool> = const { OnceCell::new() };
}

/// Returns the Workers Analytics Engine dataset that is bound as `ANALYTICS`.
pub(crate) fn dataset(env: &Env) -> Option<JsValue> {
    let read = || Reflect::get(env, &"ANALYTICS".into()).ok().filter(JsValue::is_object);
    HAS_DATASET.with(|has| *has.get_or_init(|| read().is_some())).then(read).flatten()
}

/// Writes a data point. Costs no I/O; errors are ignored.
pub(crate) fn write_data_point(dataset: &JsValue, indexes: &[&str], blobs: &[&str], doubles: &[f64]) {
    let Ok(write) = Reflect::get(dataset, &"writeDataPoint".into()) else { return };
    let texts = |texts: &[&str]| texts.iter().map(|text| JsValue::from(*text)).collect::<js_sys::Array>();
    let numbers: js_sys::Array = doubles.iter().map(|number| JsValue::from(*number)).collect();
    let point = js_sys::Object::new();
    for (name, values) in [("indexes", texts(indexes)), ("blobs", texts(blobs)), ("doubles", numbers)] {
        let _ = Reflect::set(&point, &name.into(), &values);
    }
    if let Some(write) = write.dyn_ref::<js_sys::Function>() {
        let _ = write.call1(dataset, &point);
    }
}
