//! Evaluates a case: a function per subject, which calls `shared-keys` with the input. A rejected
//! input gives `null`.

use core::time::Duration;

use serde_json::{Value, json};
use shared_keys::purge::{
    Nonce, PurgeMessage, PurgeRecord, Secret, SignedParts, sign, sign_without_host, verify,
};
use shared_keys::{
    Applied, CacheGroup, ContentHash, Directives, Key, Lifetime, NoVarySearch, Normaliser, ParseError,
    Position, Prefix, QueryRules, Record, Scope, ScopeHash, Stamp, Tag, TagSet, TargetKey, VariantKey,
    VaryFields, VaryRules, scopes_from_header, slot,
};

shared_keys::keys! {
    app "shop" version 1;

    /// A user's profile.
    key User { user: String } = "user:{user}";
    /// A page of a user's orders.
    key UserOrders { user: String, page: u64 } = "user:{user}:orders:{page}" under User { user } tags [Customer { user }];
    /// Everything that shows a customer.
    tag Customer { user: String } = "customer:{user}";
}

/// The output of a case, or the reason why it could not be evaluated.
type Evaluated = Result<Value, String>;

/// Returns the output of `shared-keys` for an input.
///
/// # Errors
/// Fails if the subject is unknown in that version, or if the input lacks a member.
pub fn evaluate(subject: &str, version: u64, input: &Value) -> Evaluated {
    match (subject, version) {
        ("cache-groups", 1) => cache_groups(input),
        ("cache-tags", 1) => cache_tag(input),
        ("directives", 1) => directives(input),
        ("edge-hashes", 1) => edge_hashes(input),
        ("keys", 1) => key(input),
        ("lifetimes", 1) => lifetime(input),
        ("no-vary-search", 1) => no_vary_search(input),
        ("normalisers", 1) => normaliser(input),
        ("positions", 1) => position(input),
        ("prefixes", 1) => prefix(input),
        ("purge-messages", 1) => purge_message(input),
        ("purge-signatures", 1) => purge_signature(input, sign_without_host),
        ("purge-signatures", 2) => purge_signature(input, sign),
        ("purge-verdicts", 1 | 2) => purge_verdict(input),
        ("query-keys", 1) => query_key(input),
        ("records", 1) => record(input),
        ("scopes", 1) => scope(input),
        ("slots", 1) => text(input, "key").map(|key| json!(slot(key))),
        ("tag-headers", 1) => tag_header(input),
        ("tags", 1) => {
            text(input, "tag").map(|tag| Tag::new(tag).map_or(Value::Null, |tag| json!(tag.to_token())))
        }
        // Until version 2, parameters were sorted unless a rule kept their order.
        ("target-rules", 1) => target_rules(input, input["in_order"] != true),
        ("target-rules", 2) => target_rules(input, input["sorted"] == true),
        ("targets", 1) => target(input, &QueryRules::default().sorted()),
        ("targets", 2) => target(input, &QueryRules::default()),
        ("variants", 1) => variant(input, &QueryRules::default().sorted()),
        ("variants", 2) => variant(input, &QueryRules::default()),
        ("vary-values", 1) => vary_value(input),
        ("verdicts", 1) => verdict(input),
        _ => Err(format!("no such subject: {subject} {version}")),
    }
}

fn scope(input: &Value) -> Evaluated {
    let Ok(scope) = text(input, "scope")?.parse::<Scope>() else { return Ok(Value::Null) };
    Ok(json!({ "text": scope.to_string(), "hash": scope.hash().to_string(), "token": scope.to_token() }))
}

/// Returns the hashes under which the edge files a record of the scope.
fn edge_hashes(input: &Value) -> Evaluated {
    let Ok(scope) = text(input, "scope")?.parse::<Scope>() else { return Ok(Value::Null) };
    Ok(scope.edge_hashes().iter().map(ToString::to_string).collect())
}

/// Renders a typed key: text, slot, scopes, the tokens of its tags, and whether it parses back.
fn key(input: &Value) -> Evaluated {
    let key = UserOrders { user: text(input, "user")?.to_owned(), page: number(input, "page")? };
    let text = key.to_text();
    let scopes: Value = ScopeHash::of_key(&text).iter().map(ToString::to_string).collect();
    let tags: Value = key.tags().iter().map(Tag::to_token).collect();
    let reads_back = UserOrders::parse(&text).is_ok_and(|parsed| parsed == key);
    Ok(json!({ "text": text, "slot": slot(&text), "scopes": scopes, "tags": tags, "reads_back": reads_back }))
}

/// Renders the header of keys and tags in at most `max_bytes`.
fn tag_header(input: &Value) -> Evaluated {
    let Ok(tags) = texts(input, "tags")?.into_iter().map(Tag::new).collect::<Result<Vec<_>, _>>() else {
        return Ok(Value::Null);
    };
    let mut set = TagSet::default();
    texts(input, "keys")?.into_iter().for_each(|key| set.insert_key(key));
    tags.iter().for_each(|tag| set.insert_tag(tag));
    let max_bytes = usize::try_from(number(input, "max_bytes")?).map_err(|error| error.to_string())?;
    Ok(set
        .to_header(max_bytes)
        .map_or(Value::Null, |header| json!({ "value": header.value, "folded": header.folded })))
}

fn cache_tag(input: &Value) -> Evaluated {
    let scopes = scopes_from_header(text(input, "header")?).map(|hash| hash.to_string());
    Ok(scopes.collect())
}

/// Returns the tags and scopes of the groups that a field of the response for a URL lists.
fn cache_groups(input: &Value) -> Evaluated {
    let Ok(target) = TargetKey::parse(text(input, "url")?) else { return Ok(Value::Null) };
    let Some(groups) = CacheGroup::parse_field(text(input, "field")?.as_bytes()) else {
        return Ok(Value::Null);
    };
    let tags: Vec<Tag> = groups.iter().map(|group| group.tag(&target)).collect();
    let scopes: Value = tags.iter().map(|tag| Scope::Tag(tag.clone()).hash().to_string()).collect();
    let tags: Value = tags.iter().map(Tag::as_str).collect();
    Ok(json!({ "field": CacheGroup::to_field(&groups), "tags": tags, "scopes": scopes }))
}

/// Returns the field's normal form, the key of the URL's equivalents, and the key of its marker.
fn no_vary_search(input: &Value) -> Evaluated {
    let Ok(target) = TargetKey::parse(text(input, "url")?) else { return Ok(Value::Null) };
    let Some(variation) = NoVarySearch::parse_field(text(input, "field")?.as_bytes()) else {
        return Ok(Value::Null);
    };
    let equivalent = target.equivalent(&variation, 255).map(|key| key.to_string());
    Ok(json!({ "field": variation.to_field(), "key": equivalent, "marker": target.search_marker() }))
}

fn prefix(input: &Value) -> Evaluated {
    let key = text(input, "key")?;
    let Ok(prefix) = text(input, "prefix")?.parse::<Prefix>() else { return Ok(Value::Null) };
    let by_scope = ScopeHash::of_key(key).contains(&Scope::Prefix(prefix.clone()).hash());
    Ok(json!({ "covers": prefix.covers(key), "scope_covers": by_scope }))
}

fn position(input: &Value) -> Evaluated {
    let Ok(position) = text(input, "text")?.parse::<Position>() else { return Ok(Value::Null) };
    Ok(json!({ "text": position.to_string(), "hex": hex(position.to_bytes()) }))
}

fn target(input: &Value, rules: &QueryRules) -> Evaluated {
    let Ok(target) = TargetKey::with_rules(text(input, "url")?, rules) else { return Ok(Value::Null) };
    let scopes: Value = target.scopes().iter().map(ToString::to_string).collect();
    Ok(json!({ "target": target.as_str(), "scopes": scopes }))
}

/// Returns the key of a QUERY with a content and the fields about it, in their order.
fn query_key(input: &Value) -> Evaluated {
    let target = TargetKey::parse(text(input, "url")?).map_err(|error| error.to_string())?;
    let fields = input["fields"].as_array().into_iter().flatten();
    let fields = fields.filter_map(|field| Some((field[0].as_str()?, field[1].as_str()?.as_bytes())));
    let content = ContentHash::new(fields, text(input, "content")?.as_bytes());
    Ok(json!(target.of_query(number(input, "generation")?, content).as_str()))
}

fn variant(input: &Value, rules: &QueryRules) -> Evaluated {
    let target = TargetKey::with_rules(text(input, "url")?, rules).map_err(|error| error.to_string())?;
    let Some(vary) = VaryFields::parse([text(input, "vary")?]) else { return Ok(Value::Null) };
    let field = |name: &str| input["fields"][name].as_str().map(str::to_owned);
    Ok(json!(VariantKey::new(&target, &vary, &VaryRules::default(), field).as_str()))
}

fn vary_value(input: &Value) -> Evaluated {
    Ok(json!(VaryRules::default().normal(text(input, "field")?, input["value"].as_str())))
}

/// Normalises a value: `{"kind":"coding","list":["br"],"value":…}`. The output is in a list, since
/// it may be `null`.
fn normaliser(input: &Value) -> Evaluated {
    let list = || texts(input, "list");
    let normaliser = match text(input, "kind")? {
        "verbatim" => Ok(Normaliser::verbatim()),
        "dropped" => Ok(Normaliser::dropped()),
        "lower-case-list" => Ok(Normaliser::lower_case_list()),
        "coding" => Normaliser::coding(list()?),
        "language" => Normaliser::language(list()?),
        "media-type" => Normaliser::media_type(list()?),
        "cookies" => Normaliser::cookies(list()?),
        _ => return Err(format!("expected a kind of normaliser in {input}")),
    };
    Ok(normaliser.map_or(Value::Null, |normaliser| json!([normaliser.normal(input["value"].as_str())])))
}

/// Returns the key of a URL and a method under rules, and the query that is forwarded to the
/// origin.
fn target_rules(input: &Value, is_sorted: bool) -> Evaluated {
    let kept = if input["keep"].is_null() { None } else { Some(texts(input, "keep")?) };
    let dropped = if input["drop"].is_null() { Vec::new() } else { texts(input, "drop")? };
    let rules = QueryRules::default().dropping(dropped).and_then(|rules| match kept {
        Some(kept) => rules.keeping(kept),
        None => Ok(rules),
    });
    let Ok(mut rules) = rules else { return Ok(Value::Null) };
    if is_sorted {
        rules = rules.sorted();
    } else if input["exact"] == true {
        rules = rules.exact();
    }
    let url = text(input, "url")?;
    let Ok(target) = TargetKey::with_rules(url, &rules) else { return Ok(Value::Null) };
    let target = target.of_method(input["method"].as_str().unwrap_or("GET"));
    let query = url.split('#').next().and_then(|url| url.split_once('?')).map(|(_, query)| query);
    Ok(json!({ "target": target.as_str(), "query": rules.forwarded(query) }))
}

/// Parses a lifetime that a person wrote, and renders it.
fn lifetime(input: &Value) -> Evaluated {
    let Ok(lifetime) = text(input, "text")?.parse::<Lifetime>() else { return Ok(Value::Null) };
    Ok(json!(lifetime.to_directives()))
}

/// Returns the lifetime in a shared cache of `cache_control` or of a `targeted` field, or none, in
/// a list; `null` if the field is ignored.
fn directives(input: &Value) -> Evaluated {
    let directives = match input["targeted"].as_str() {
        Some(value) => Directives::from_targeted(value.as_bytes()),
        None => Some(Directives::from_cache_control([text(input, "cache_control")?.as_bytes()])),
    };
    let lifetime =
        |directives: Directives| json!([directives.lifetime().map(|lifetime| lifetime.to_directives())]);
    Ok(directives.map_or(Value::Null, lifetime))
}

fn verdict(input: &Value) -> Evaluated {
    let mut applied = Applied::new(10_000);
    for record in array(input, "records")? {
        applied.apply(parse::<Record>(record)?);
    }
    let scopes = array(input, "scopes")?.iter().map(|scope| parse::<Scope>(scope).map(|scope| scope.hash()));
    let scopes = scopes.collect::<Result<Vec<_>, _>>()?;
    Ok(json!(applied.verdict(scopes, parse::<Stamp>(&input["loaded_at"])?).as_str()))
}

fn record(input: &Value) -> Evaluated {
    Ok(text(input, "text")?.parse::<Record>().map_or(Value::Null, |record| json!(record.to_string())))
}

fn purge_message(input: &Value) -> Evaluated {
    let Ok(message) = PurgeMessage::parse(text(input, "body")?.as_bytes()) else { return Ok(Value::Null) };
    let record = |record: &PurgeRecord| {
        let position = record.position.map(|position| position.to_string());
        json!({ "scope": record.scope.to_string(), "mode": record.mode.as_str(), "position": position })
    };
    let records: Value = message.records.iter().map(record).collect();
    Ok(json!({ "records": records, "json": message.to_json() }))
}

type Sign = fn(&Secret, SignedParts<'_>, u64, &Nonce) -> String;

fn purge_signature(input: &Value, sign: Sign) -> Evaluated {
    let (Ok(secret), Ok(nonce)) =
        (Secret::new(text(input, "secret")?), text(input, "nonce")?.parse::<Nonce>())
    else {
        return Ok(Value::Null);
    };
    Ok(json!(sign(&secret, signed_parts(input)?, number(input, "time")?, &nonce)))
}

fn purge_verdict(input: &Value) -> Evaluated {
    let Ok(secret) = Secret::new(text(input, "secret")?) else { return Ok(Value::Null) };
    let (now, window) = (number(input, "now")?, Duration::from_secs(number(input, "window")?));
    let seen = |nonce: &Nonce| input["seen"] == nonce.as_str();
    let verified = verify(&secret, text(input, "header")?, signed_parts(input)?, now, window, seen);
    Ok(json!(verified.as_ref().map_or_else(|error| error.as_str(), Nonce::as_str)))
}

fn signed_parts(input: &Value) -> Result<SignedParts<'_>, String> {
    let body = text(input, "body")?.as_bytes();
    // Version 1 signs no host.
    let host = input["host"].as_str().unwrap_or_default();
    Ok(SignedParts { method: text(input, "method")?, host, path: text(input, "path")?, body })
}

fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value[name].as_str().ok_or_else(|| format!("expected a text {name} in {value}"))
}

fn number(value: &Value, name: &str) -> Result<u64, String> {
    value[name].as_u64().ok_or_else(|| format!("expected a whole number {name} in {value}"))
}

fn array<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>, String> {
    value[name].as_array().ok_or_else(|| format!("expected a list {name} in {value}"))
}

fn texts<'a>(value: &'a Value, name: &str) -> Result<Vec<&'a str>, String> {
    array(value, name)?
        .iter()
        .map(|item| item.as_str().ok_or_else(|| format!("expected texts in {name}")))
        .collect()
}

fn parse<T: core::str::FromStr<Err = ParseError>>(value: &Value) -> Result<T, String> {
    let text = value.as_str().ok_or_else(|| format!("expected a text, got {value}"))?;
    text.parse().map_err(|error: ParseError| error.to_string())
}
