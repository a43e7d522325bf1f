//! Scopes: what an invalidation covers, as readable text and as the hash that the layers compare.

mod hash;
mod into_scopes;

pub use hash::ScopeHash;
pub(crate) use hash::within_depth;
pub use into_scopes::IntoScopes;

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::keys::datum_of;
use crate::keys::prefix::tops;
use crate::tags::fold::folds_above;
use crate::{ParseError, Prefix, Tag, TargetKey};

/// The set of entries that an invalidation covers.
///
/// The text form is used in the journal and in purge messages: `key:…`, `prefix:…:`, `tag:…`,
/// `tags:…,…`, `path:host/path` or `all`.
///
/// A key or prefix of any schema version names the same datum, and its scope is written with
/// version 1 ([`datum_of`]). Processes of two versions therefore obey each other's invalidations,
/// although neither reads the other's values.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::Scope;
/// let scope: Scope = "tag:category:7".parse().unwrap();
/// assert_eq!(scope.to_string(), "tag:category:7");
/// assert_eq!(scope.to_token(), "category:7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scope {
    /// One datum, by the text of its key, in every version of the schema. Created by
    /// [`Scope::key`].
    Key(Box<str>),
    /// A datum and every datum below it, in every version of the schema.
    Prefix(Prefix),
    /// Everything that carries the tag.
    Tag(Tag),
    /// Everything that carries all of these tags: two or more, sorted, each once. Created by
    /// [`Scope::all_tags`].
    AllTags(Box<[Tag]>),
    /// A URL path and every path below it, as [`Scope::path`] normalises it.
    Path(Box<str>),
    /// Everything.
    All,
}

impl Scope {
    /// Returns the scope of one key, by its text of any schema version.
    ///
    /// ```
    /// use shared_keys::Scope;
    /// let (old, new) = (Scope::key("shop:v1:{user:42}"), Scope::key("shop:v2:{user:42}"));
    /// assert_eq!((&old, old.to_string().as_str()), (&new, "key:shop:v1:{user:42}"));
    /// ```
    #[must_use]
    pub fn key(text: &str) -> Self {
        Self::Key(datum_of(text).into())
    }

    /// Returns the scopes of a key: the key itself, and each prefix that covers it.
    /// [`ScopeHash::of_key`] returns their hashes.
    ///
    /// ```
    /// # extern crate shared_keys as origin_sdk;
    /// use origin_sdk::Scope;
    /// let scopes = Scope::of_key("shop:v1:{flags}");
    /// let texts: Vec<_> = scopes.iter().map(ToString::to_string).collect();
    /// assert_eq!(texts[..2], ["key:shop:v1:{flags}", "prefix:shop:"]);
    /// assert_eq!(texts[2..], ["prefix:shop:v1:", "prefix:shop:v1:{flags}:"]);
    /// ```
    #[must_use]
    pub fn of_key(text: &str) -> Vec<Self> {
        let datum = datum_of(text);
        let prefixes = tops(&datum).map(|top| Self::Prefix(Prefix::from_top(top)));
        core::iter::once(Self::key(&datum)).chain(prefixes).collect()
    }

    /// Returns the scope of everything that carries all of the tags. To cover everything that
    /// carries any of them, use a list of [`Scope::Tag`]s instead.
    ///
    /// The origin's layers apply it exactly. The edge compares single hashes, so there it covers
    /// everything that carries the alphabetically first tag: more than necessary, which is safe.
    ///
    /// ```
    /// # extern crate shared_keys as origin_sdk;
    /// use origin_sdk::{Scope, Tag};
    /// let tags = ["colour:red", "category:7"].map(|text| Tag::new(text).unwrap());
    /// assert_eq!(Scope::all_tags(tags).unwrap().to_string(), "tags:category:7,colour:red");
    /// ```
    ///
    /// # Errors
    /// Fails if there is no tag: every entry carries all of no tags, and that is never the
    /// intention.
    pub fn all_tags(tags: impl IntoIterator<Item = Tag>) -> Result<Self, ParseError> {
        let mut sorted: Vec<Tag> = Vec::new();
        for tag in tags {
            if let Err(place) = sorted.binary_search(&tag) {
                sorted.insert(place, tag);
            }
        }
        match sorted.len() {
            0 => Err(ParseError::new("one or more tags", 0, "")),
            1 => Ok(Self::Tag(sorted.remove(0))),
            _ => Ok(Self::AllTags(sorted.into())),
        }
    }

    /// Returns the scope of a URL path, given as `host/path` without a query. It covers all
    /// responses at and below the path, of both schemes.
    ///
    /// The path is normalised like a [`TargetKey`] and ends at a segment: `/api/pro` does not cover
    /// `/api/products`. A path of more than 64 segments covers all that is below its 64th.
    ///
    /// ```
    /// use shared_keys::{Scope, TargetKey};
    /// let scope = Scope::path("Shop.example/api/%70roducts/").unwrap();
    /// assert_eq!(scope.to_string(), "path:shop.example/api/products");
    ///
    /// let response = TargetKey::parse("https://shop.example/api/products/7?page=2").unwrap();
    /// assert!(response.scopes().contains(&scope.hash()));
    /// assert!(!response.scopes().contains(&Scope::path("shop.example/api/pro").unwrap().hash()));
    /// ```
    ///
    /// # Errors
    /// Fails if it has no host, or has a scheme, a query or a fragment.
    pub fn path(text: &str) -> Result<Self, ParseError> {
        if let Some(at) = text.find(['?', '#']) {
            return Err(ParseError::new(
                "the end of the path (a scope has no query and no fragment)",
                at,
                text,
            ));
        }
        let host = text.split('/').next().unwrap_or_default();
        // The URL parser drops these wherever they stand.
        let is_dropped = |character: char| matches!(character, '\t' | '\n' | '\r');
        let before = host.trim_end_matches(is_dropped);
        let behind = text[host.len()..].chars().filter(|&character| !is_dropped(character));
        if before.ends_with(':') && behind.take(2).eq("//".chars()) {
            return Err(ParseError::new("`host/path` without the scheme of the URL", before.len() - 1, text));
        }
        // Rejects what the URL parser would drop or read in another way.
        let is_host = !host.is_empty() && !host.contains(['@', '\\']);
        let normal = |scheme: &str| {
            let target = TargetKey::parse(&[scheme, text].concat()).ok()?;
            target.as_str().strip_prefix(scheme).map(String::from)
        };
        // Removes the default port of either scheme, however it is written.
        let has_port_80 = |path: &str| path.split('/').next().is_some_and(|host| host.ends_with(":80"));
        let path = is_host.then(|| normal("https://")).flatten();
        let path = path.and_then(|path| if has_port_80(&path) { normal("http://") } else { Some(path) });
        let path = path.ok_or_else(|| ParseError::new("`host/path` of a URL", 0, text))?;
        Ok(Self::Path(path.trim_end_matches('/').into()))
    }

    /// Returns the scope that asks the edge to *refill*: to fetch again in the background the pages
    /// that are requested often and that the purge has ended. It stands beside the scopes that are
    /// invalidated.
    ///
    /// It is a tag that nothing carries, so its own record invalidates nothing, and a worker of an
    /// older version accepts it without a refill.
    ///
    /// ```
    /// use shared_keys::Scope;
    /// assert_eq!(Scope::refill().to_string(), "tag:__strata_refill");
    /// ```
    #[must_use]
    pub fn refill() -> Self {
        Self::Tag(Tag::from_template(String::from("__strata_refill")))
    }

    /// Returns the hash that the layers compare.
    #[must_use]
    pub fn hash(&self) -> ScopeHash {
        match self {
            Self::Key(text) => ScopeHash::key(text),
            Self::Prefix(prefix) => ScopeHash::prefix(prefix.top()),
            Self::Tag(tag) => ScopeHash::tag(tag.as_str()),
            Self::AllTags(tags) => ScopeHash::all_tags(&joined(tags)),
            Self::Path(path) => ScopeHash::path(path),
            Self::All => ScopeHash::all(),
        }
    }

    /// Returns the hash of a scope that entries carry and that covers at least as much: the first
    /// tag's hash for several tags, the scope's own hash otherwise. A layer that compares single
    /// hashes files a record under it.
    #[must_use]
    pub fn carried_hash(&self) -> ScopeHash {
        match self {
            Self::AllTags(tags) => ScopeHash::tag(first(tags)),
            other => other.hash(),
        }
    }

    /// Returns the token of this scope in `Cache-Tag`: the text of a plain tag, otherwise the hash.
    /// For several tags it is the token of the first.
    #[must_use]
    pub fn to_token(&self) -> String {
        match self {
            Self::Tag(tag) => tag.to_token(),
            Self::AllTags(tags) => tags.first().map(Tag::to_token).unwrap_or_default(),
            other => other.hash().to_token(),
        }
    }

    /// Returns the hashes under which the edge files a record of this scope: its
    /// [`Scope::carried_hash`], and for a key or prefix the *fold* of each prefix above it, which
    /// stands in a response's tags for the keys folded into that prefix.
    ///
    /// ```
    /// use shared_keys::{Scope, TagSet, scopes_from_header};
    /// let keys: Vec<String> = (0..1000).map(|id| format!("shop:v1:{{product:{id}}}")).collect();
    /// let mut tags = TagSet::default();
    /// keys.iter().for_each(|key| tags.insert_key(key));
    /// let header = tags.to_header(TagSet::MAX_HEADER_BYTES).unwrap();
    ///
    /// let product: Scope = "key:shop:v1:{product:7}".parse().unwrap();
    /// assert!(scopes_from_header(&header.value).any(|tag| product.edge_hashes().contains(&tag)));
    /// ```
    #[must_use]
    pub fn edge_hashes(&self) -> Vec<ScopeHash> {
        let mut hashes = Vec::from([self.carried_hash()]);
        match self {
            Self::Key(text) => hashes.extend(folds_above(&datum_of(text))),
            Self::Prefix(prefix) => hashes.extend(folds_above(&datum_of(prefix.top()))),
            Self::Tag(_) | Self::AllTags(_) | Self::Path(_) | Self::All => {}
        }
        hashes
    }

    /// Returns the tokens of [`Scope::edge_hashes`] in `Cache-Tag`, which a purge by tags must
    /// name.
    ///
    /// ```
    /// # extern crate shared_keys as origin_sdk;
    /// let tag: origin_sdk::Scope = "tag:category:7".parse().unwrap();
    /// assert_eq!(tag.edge_tokens(), ["category:7"]);
    /// ```
    #[must_use]
    pub fn edge_tokens(&self) -> Vec<String> {
        let folds = self.edge_hashes().into_iter().skip(1).map(ScopeHash::to_token);
        core::iter::once(self.to_token()).chain(folds).collect()
    }
}

const SORTED_TAGS: &str = "two or more tags, sorted, each once, with `,` and `%` in them escaped";

fn first(tags: &[Tag]) -> &str {
    tags.first().map_or("", Tag::as_str)
}

/// Joins the tags with commas, with `,` and `%` in them escaped.
fn joined(tags: &[Tag]) -> String {
    let mut text = String::new();
    for tag in tags {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&tag.as_str().replace('%', "%25").replace(',', "%2C"));
    }
    text
}

fn split_off(escaped: &str) -> Result<Tag, ParseError> {
    Tag::new(&escaped.replace("%2C", ",").replace("%25", "%"))
}

impl From<Tag> for Scope {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Prefix> for Scope {
    fn from(prefix: Prefix) -> Self {
        Self::from(&prefix)
    }
}

impl From<&Tag> for Scope {
    fn from(tag: &Tag) -> Self {
        Self::Tag(tag.clone())
    }
}

impl From<&Prefix> for Scope {
    fn from(prefix: &Prefix) -> Self {
        Self::Prefix(prefix.of_datum())
    }
}

impl From<&Scope> for Scope {
    fn from(scope: &Scope) -> Self {
        scope.clone()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(text) => write!(f, "key:{}", datum_of(text)),
            Self::Prefix(prefix) => write!(f, "prefix:{}", datum_of(prefix.as_str())),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::AllTags(tags) => write!(f, "tags:{}", joined(tags)),
            Self::Path(path) => write!(f, "path:{path}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Scope {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "all" {
            return Ok(Self::All);
        }
        let expected = || ParseError::new("`all`, `key:`, `prefix:`, `tag:`, `tags:` or `path:`", 0, text);
        let (kind, named) = text.split_once(':').ok_or_else(expected)?;
        match kind {
            "key" if named.is_empty() => Err(ParseError::new("a key", text.len(), text)),
            "key" => Ok(Self::key(named)),
            "prefix" => Ok(named.parse::<Prefix>()?.into()),
            "tag" => Ok(Self::Tag(Tag::new(named)?)),
            "tags" => {
                let scope = Self::all_tags(named.split(',').map(split_off).collect::<Result<Vec<_>, _>>()?)?;
                // A scope has one text.
                if scope.to_string() == text { Ok(scope) } else { Err(ParseError::new(SORTED_TAGS, 5, text)) }
            }
            "path" => Self::path(named),
            _ => Err(expected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_with_a_scheme_is_refused_and_one_with_a_colon_further_on_is_not() {
        for text in ["https://a.example/x", "a://b", "https:\n//a.example/x", "https:/\t/a.example/x"] {
            let error = Scope::path(text).unwrap_err();
            assert_eq!(
                (error.expected(), error.at()),
                ("`host/path` without the scheme of the URL", text.find(':').unwrap())
            );
        }
        for text in ["a.example/x://y", "a.example/x:\n////y"] {
            let scope = Scope::path(text).unwrap();
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
    }

    #[test]
    fn a_scope_is_refused_with_what_was_expected_and_where() {
        for (text, message) in [
            ("", "expected `all`, `key:`, `prefix:`, `tag:`, `tags:` or `path:` at byte 0 of \"\""),
            ("tag", "expected `all`, `key:`, `prefix:`, `tag:`, `tags:` or `path:` at byte 0 of \"tag\""),
            (
                "user:42",
                "expected `all`, `key:`, `prefix:`, `tag:`, `tags:` or `path:` at byte 0 of \"user:42\"",
            ),
            ("ALL", "expected `all`, `key:`, `prefix:`, `tag:`, `tags:` or `path:` at byte 0 of \"ALL\""),
            ("key:", "expected a key at byte 4 of \"key:\""),
            ("tag:", "expected a tag of 1 to 1,024 bytes at byte 0 of \"\""),
            ("tags:", "expected a tag of 1 to 1,024 bytes at byte 0 of \"\""),
            (
                "tags:b,a",
                "expected two or more tags, sorted, each once, with `,` and `%` in them escaped at byte 5 of \"tags:b,a\"",
            ),
            ("prefix:shop", "expected a key prefix that ends with `:` at byte 4 of \"shop\""),
            ("path:", "expected `host/path` of a URL at byte 0 of \"\""),
            ("path:/", "expected `host/path` of a URL at byte 0 of \"/\""),
            ("path://a.example/b", "expected `host/path` of a URL at byte 0 of \"//a.example/b\""),
            ("path:é.example/b", "expected `host/path` of a URL at byte 0 of \"é.example/b\""),
            ("path:ann@a.example/b", "expected `host/path` of a URL at byte 0 of \"ann@a.example/b\""),
            ("path:a b/c", "expected `host/path` of a URL at byte 0 of \"a b/c\""),
            (
                "path:a.example/b?c",
                "expected the end of the path (a scope has no query and no fragment) at byte 11 of \"a.example/b?c\"",
            ),
        ] {
            assert_eq!(text.parse::<Scope>().unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn a_path_is_normalised_as_the_responses_it_covers_are() {
        for (path, url) in [
            ("A.example/API/%7eann/", "http://a.example/API/~ann"),
            ("a.example", "https://a.example/"),
            ("a.example:443/x", "https://a.example/x"),
            ("a.example:80/x", "http://a.example/x"),
            ("a.example:080/x", "http://a.example/x"),
            ("a.example:8080/x", "http://a.example:8080/x?y"),
            ("a.example/x/../b", "https://a.example/b/c"),
        ] {
            let target = TargetKey::parse(url).unwrap();
            assert!(target.scopes().contains(&Scope::path(path).unwrap().hash()), "{path} {url}");
        }
    }

    #[test]
    fn the_edge_enters_a_record_of_a_key_under_the_prefixes_that_it_may_have_been_folded_into() {
        let scope: Scope = "key:shop:v1:{user:42}:orders".parse().unwrap();
        let folds = ["shop:v1", "shop:v1:{user", "shop:v1:{user:42}"].map(ScopeHash::fold);
        assert_eq!(scope.edge_hashes(), [&[scope.hash()], folds.as_slice()].concat());
        let prefix: Scope = "prefix:shop:v1:{user:42}:".parse().unwrap();
        assert_eq!(prefix.edge_hashes(), [&[prefix.hash()], &folds[..2]].concat());
        for text in ["tag:a:b:c", "path:a.example/b:c", "all", "key:a"] {
            assert_eq!(text.parse::<Scope>().unwrap().edge_hashes().len(), 1, "{text}");
        }
    }

    #[test]
    fn the_scopes_of_a_datum_are_the_same_in_every_schema_version() {
        let [old, new] = ["shop:v1:{user:42}:orders:3", "shop:v2:{user:42}:orders:3"];
        assert_eq!(
            (Scope::of_key(old), ScopeHash::of_key(old)),
            (Scope::of_key(new), ScopeHash::of_key(new))
        );
        for [old, new] in [
            [format!("key:{old}"), format!("key:{new}")],
            ["prefix:shop:v1:{user:42}:".into(), "prefix:shop:v2:{user:42}:".into()],
            ["prefix:shop:v1:".into(), "prefix:shop:v2:".into()],
        ] {
            let (old, new) = (old.parse::<Scope>().unwrap(), new.parse::<Scope>().unwrap());
            assert_eq!(
                (&old, old.edge_hashes(), old.edge_tokens()),
                (&new, new.edge_hashes(), new.edge_tokens())
            );
        }
        // A scope made from its parts means the same, whichever version it names.
        let prefix: Prefix = "shop:v2:{user:42}:".parse().unwrap();
        for (raw, made) in [
            (Scope::Key(new.into()), Scope::key(new)),
            (Scope::Prefix(prefix.clone()), Scope::from(prefix.clone())),
        ] {
            assert_eq!(
                (raw.hash(), raw.edge_hashes(), raw.to_string()),
                (made.hash(), made.edge_hashes(), made.to_string())
            );
        }
        assert!(prefix.covers(old) && !prefix.covers("shop:v1:{user:421}"));
    }

    proptest! {
        #[test]
        fn a_keys_scopes_and_their_hashes_agree(text in "[a-z:{}0-9]{0,30}") {
            let hashes: Vec<_> = Scope::of_key(&text).iter().map(Scope::hash).collect();
            prop_assert_eq!(hashes, ScopeHash::of_key(&text));
        }

        #[test]
        fn hostile_paths_never_panic(host in "([xX][nN]--)?[a-zA-Z0-9.:\\[\\]_-]{0,12}", path in "(/.{0,9})?") {
            if let Ok(scope) = Scope::path(&[host, path].concat()) {
                prop_assert_eq!(scope.to_string().parse(), Ok(scope));
            }
        }

        #[test]
        fn text_parses_to_a_scope_that_prints_and_parses_back(text in "(all|(key|prefix|tag|tags|path):[a-c,%]{0,4}|(key|prefix|tag|tags|path):.{0,20}|.{0,20})") {
            if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.to_string().parse(), Ok(scope));
            }
        }
    }
}
