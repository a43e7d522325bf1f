//! Forms in pages, read as far as the recipes' pages need it.

/// A form of a page.
pub(crate) struct Form {
    /// The URL that it is sent to, if it names one.
    pub(crate) action: Option<String>,
    is_multipart: bool,
    /// The names and values that a browser sends unchanged.
    hidden: Vec<(String, String)>,
}

/// The separator of the parts of a form with files.
const BOUNDARY: &str = "----boundary-of-the-recipes";

impl Form {
    /// Returns the first form of a page.
    pub(crate) fn first(page: &str) -> Option<Self> {
        let (_, form) = page.split_once("<form")?;
        let form = form.split("</form>").next()?;
        let (tag, inside) = form.split_once('>')?;
        let inputs = inside.split("<input").skip(1).filter_map(|input| input.split('>').next());
        let hidden = inputs.filter(|input| attribute(input, "type").as_deref() == Some("hidden"));
        let pair = |input| Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_default()));
        Some(Self {
            action: attribute(tag, "action"),
            is_multipart: attribute(tag, "enctype").is_some_and(|kind| kind == "multipart/form-data"),
            hidden: hidden.filter_map(pair).collect(),
        })
    }

    /// Returns the content type and the body of the form with these values.
    pub(crate) fn body(&self, fields: &[(&str, &str)]) -> (String, String) {
        let hidden = self.hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all = hidden.chain(fields.iter().copied());
        if self.is_multipart {
            let parts = all.map(|(name, value)| {
                format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
            });
            let body = format!("{}--{BOUNDARY}--\r\n", parts.collect::<String>());
            (format!("multipart/form-data; boundary={BOUNDARY}"), body)
        } else {
            let pairs = all.map(|(name, value)| format!("{}={}", escape(name), escape(value)));
            ("application/x-www-form-urlencoded".to_owned(), pairs.collect::<Vec<_>>().join("&"))
        }
    }
}

/// Returns the value of an attribute of a tag, if it is quoted.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let tag = tag.to_ascii_lowercase().find(&format!(" {name}=")).map(|at| &tag[at + name.len() + 2..])?;
    let quote = tag.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let value = tag[1..].split(quote).next()?;
    let characters = [("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">")];
    let value = characters.iter().fold(value.to_owned(), |value, (name, is)| value.replace(name, is));
    Some(value.replace("&amp;", "&"))
}

fn escape(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(byte).collect()
}
