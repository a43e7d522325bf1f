//! Proactive negotiation (RFC 9110 section 12): selects from the origin's offer by a request's
//! preferences.
//!
//! In: a request field and the origin's offer. Out: one member of the offer, or for codings all
//! that are accepted. A client that accepts none of the offer is treated like one without
//! preferences, as section 12.1 allows. A malformed weight is zero, and of repeated members the
//! first counts.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::field_lists::{Member, members, split_outside_quotes};

/// The coding of a body that is not encoded (RFC 9110, 12.5.3).
pub(crate) const IDENTITY: &str = "identity";

/// The codings that `*` does not stand for: clients that know them name them, and a dictionary's
/// coding is of no use without the dictionary (RFC 9842).
const NAMED_ONLY: [&str; 3] = ["dcb", "dcz", "zstd"];

/// Selects the offered content codings that a client accepts (RFC 9110 section 12.5.3), in their
/// order. Returns `identity` if it accepts no offered coding, or if the client prefers it to all of
/// them.
///
/// A client without the field accepts any coding formally, but most such clients cannot decode one:
/// `identity`.
pub(crate) fn codings<'a>(value: Option<&str>, offered: &'a [Box<str>]) -> Cow<'a, str> {
    let members: Vec<Member<'_>> = members(value.unwrap_or_default()).collect();
    let named = |name: &str| {
        members.iter().find(|member| same_coding(member.name(), name)).map(|member| member.weight)
    };
    let (identity, any) = (named(IDENTITY).unwrap_or_default(), named("*").unwrap_or_default());
    let is_taken = |coding: &&str| {
        let any = if NAMED_ONLY.iter().any(|known| same_coding(known, coding)) { 0 } else { any };
        let weight = named(coding).unwrap_or(any);
        weight > 0 && weight >= identity
    };
    let mut taken = offered.iter().map(AsRef::as_ref).filter(is_taken);
    let Some(first) = taken.next() else { return IDENTITY.into() };
    taken.fold(first.into(), |all, coding| all + ", " + coding)
}

/// Returns whether two names are those of one content coding.
pub(crate) fn same_coding(a: &str, b: &str) -> bool {
    canonical(a).eq_ignore_ascii_case(canonical(b))
}

/// Returns the registered name of a coding that has two names (RFC 9110 section 8.4.1).
fn canonical(coding: &str) -> &str {
    let (x, name) = coding.split_at_checked(2).unwrap_or_default();
    let doubled = ["gzip", "compress"].iter().any(|known| name.eq_ignore_ascii_case(known));
    if doubled && x.eq_ignore_ascii_case("x-") { name } else { coding }
}

/// Selects the language that the lookup of RFC 4647 section 3.4 finds for the range with the
/// highest weight; of equal weights the first on offer, since the order of the field means nothing
/// (RFC 9110 section 12.5.4). Without a match it is the first language that no weight of zero
/// rejects, or else the first.
pub(crate) fn language<'a>(value: Option<&str>, offered: &'a [Box<str>]) -> &'a str {
    let ranges: Vec<Member<'_>> = members(value.unwrap_or_default()).collect();
    let acceptable: Vec<&str> =
        offered.iter().map(AsRef::as_ref).filter(|tag| !is_refused(tag, &ranges)).collect();
    let leads_to = |range: &Member<'_>| {
        let mut fallbacks = core::iter::successors(Some(range.name()), |tag| Some(tag.rsplit_once('-')?.0));
        // The RFC also removes a single letter that the last subtag leaves at the end; no offered
        // tag ends in one. `*` is skipped: its result, the default, is also the result if no other
        // range matches.
        fallbacks.find_map(|tag| acceptable.iter().position(|known| known.eq_ignore_ascii_case(tag)))
    };
    let found = ranges
        .iter()
        .filter(|range| range.weight > 0)
        .filter_map(|range| Some((range.weight, leads_to(range)?)));
    let best = found.max_by_key(|(weight, place)| (*weight, Reverse(*place))).map_or(0, |(_, place)| place);
    acceptable.get(best).copied().or(offered.first().map(AsRef::as_ref)).unwrap_or_default()
}

/// Returns whether the longest range that covers the tag (RFC 4647 section 3.3.1) has the weight
/// zero.
fn is_refused(tag: &str, ranges: &[Member<'_>]) -> bool {
    let covers = |range: &str| {
        let boundary = tag.as_bytes().get(range.len()).is_none_or(|byte| *byte == b'-');
        boundary && tag.get(..range.len()).is_some_and(|head| head.eq_ignore_ascii_case(range))
    };
    let longest =
        ranges.iter().filter(|range| covers(range.name())).min_by_key(|range| Reverse(range.name().len()));
    longest.is_some_and(|range| range.weight == 0)
}

/// Selects the media type with the highest weight (RFC 9110 section 12.5.1). Of equal weights it is
/// the one that a range names most specifically, then the first on offer.
pub(crate) fn media_type<'a>(value: Option<&str>, offered: &'a [Box<str>]) -> &'a str {
    let ranges: Vec<Member<'_>> = members(value.unwrap_or_default()).collect();
    let mut best = (0, None, offered.first().map_or("", AsRef::as_ref));
    for offer in offered {
        // The most specific range decides the weight, whatever other ranges say.
        let matching =
            ranges.iter().filter_map(|range| Some((specificity(range.text, offer)?, range.weight)));
        let applies = matching.min_by_key(|(specificity, _)| Reverse(*specificity));
        if let Some((specificity, weight)) = applies.filter(|(_, weight)| *weight > 0)
            && (weight, Some(specificity)) > (best.0, best.1)
        {
            best = (weight, Some(specificity), offer);
        }
    }
    best.2
}

/// How specifically a media range names a media type: `*/*`, `type/*` or `type/subtype`, then the
/// number of matching parameters, then whether these are all parameters.
type Specificity = (u8, usize, bool);

fn specificity(range: &str, offer: &str) -> Option<Specificity> {
    let (mut range_parts, mut offer_parts) =
        (split_outside_quotes(range, b';'), split_outside_quotes(offer, b';'));
    let (range_type, offer_type) = (range_parts.next()?.1, offer_parts.next()?.1);
    let family = |media_type: &str| media_type.split_once('/').map_or(0, |(family, _)| family.len());
    let level = if range_type.eq_ignore_ascii_case(offer_type) {
        2
    } else if range_type == "*/*" {
        0
    } else if range_type.strip_suffix("/*").is_some_and(|wanted| {
        wanted.len() == family(offer_type)
            && offer_type.get(..wanted.len()).is_some_and(|f| f.eq_ignore_ascii_case(wanted))
    }) {
        1
    } else {
        return None;
    };
    let has: Vec<&str> = offer_parts.map(|(_, parameter)| parameter).collect();
    let mut wanted = 0;
    for (_, parameter) in range_parts.filter(|(_, parameter)| !parameter.is_empty()) {
        has.iter().find(|known| same_parameter(known, parameter))?;
        wanted += 1;
    }
    Some((level, wanted, level == 2 && wanted == has.len()))
}

/// Returns whether two media types are the same, parameters included.
pub(crate) fn same_media_type(a: &str, b: &str) -> bool {
    specificity(a, b).is_some_and(|(_, _, whole)| whole)
}

/// Returns whether two parameters of media types are the same. Case does not count in names, nor in
/// the values that matter here; quotes are ignored.
fn same_parameter(a: &str, b: &str) -> bool {
    let (a, b) = (name_and_value(a), name_and_value(b));
    a.0.eq_ignore_ascii_case(b.0) && a.1.eq_ignore_ascii_case(b.1)
}

fn name_and_value(parameter: &str) -> (&str, &str) {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let value = value.trim_ascii();
    (name.trim_ascii(), value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use proptest::prelude::*;

    use super::*;

    fn offered(list: &[&str]) -> Vec<Box<str>> {
        list.iter().map(|offer| Box::from(*offer)).collect()
    }

    #[test]
    fn rfc9110_12_5_3_the_codings_that_are_taken() {
        for (list, value, taken) in [
            ("br gzip", "gzip, deflate, br", "br, gzip"),
            ("gzip br", "gzip, deflate, br", "gzip, br"),
            ("zstd br gzip", "gzip, deflate, br, zstd", "zstd, br, gzip"),
            ("br gzip", "zstd", "identity"),
            ("br gzip", "gzip", "gzip"),
            // Any of them may be sent, whatever their weights.
            ("br gzip", "br;q=0.5, gzip;q=0.8", "br, gzip"),
            ("br gzip", "br;q=0, gzip;q=0.8", "gzip"),
            ("br gzip", "br;Q=0.5,gzip ; q=0.501", "br, gzip"),
            ("br gzip", "BR", "br"),
            ("br gzip", "x-gzip", "gzip"),
            ("br gzip", "X-GZip;q=0.9, br;q=0.8", "br, gzip"),
            ("x-gzip", "gzip", "x-gzip"),
            ("x-gzip", "x-gzip", "x-gzip"),
            // `*` stands for every coding that is not named.
            ("br gzip", "*", "br, gzip"),
            ("br gzip", "br;q=0, *", "gzip"),
            ("dcb dcz zstd br gzip", "*", "br, gzip"),
            ("dcb dcz zstd br gzip", "gzip, br, zstd, dcb, dcz", "dcb, dcz, zstd, br, gzip"),
            ("dcb dcz zstd br gzip", "zstd;q=0, dcz, *", "dcz, br, gzip"),
            ("br gzip", "gzip;q=0.3, *;q=0.5", "br, gzip"),
            ("br gzip", "*;q=0", "identity"),
            ("br gzip", "*;q=0, gzip", "gzip"),
            // Identity is acceptable unless its weight is zero, and is selected only if the client
            // prefers it.
            ("br gzip", "identity", "identity"),
            ("br gzip", "identity, gzip", "gzip"),
            ("br gzip", "identity;q=1, gzip;q=0.5", "identity"),
            ("br gzip", "identity;q=0.5, gzip;q=0.4, br;q=0.6", "br"),
            ("br gzip", "identity;q=0, br;q=0.001", "br"),
            ("identity br", "identity, br", "identity, br"),
            // None of the offer is accepted: as without the field.
            ("br gzip", "identity;q=0", "identity"),
            ("br gzip", "", "identity"),
            ("br gzip", " , ,", "identity"),
        ] {
            let list: Vec<&str> = list.split(' ').collect();
            assert_eq!(codings(Some(value), &offered(&list)), taken, "{value} of {list:?}");
        }
        assert_eq!(codings(None, &offered(&["br"])), "identity");
    }

    #[test]
    fn rfc9110_12_4_2_a_weight_has_at_most_three_digits_and_is_at_most_one() {
        for (weight, best) in [
            ("q=1", "gzip"),
            ("q=1.000", "gzip"),
            ("q=0.001", "gzip"),
            ("q=0", "identity"),
            ("q=0.000", "identity"),
            // Malformed.
            ("q=1.001", "identity"),
            ("q=2", "identity"),
            ("q=.5", "identity"),
            ("q=0.1234", "identity"),
            ("q=-1", "identity"),
            ("q=x", "identity"),
            ("q=", "identity"),
            ("q =0.5", "gzip"),
        ] {
            assert_eq!(
                codings(Some(&alloc::format!("gzip;{weight}")), &offered(&["gzip"])),
                best,
                "{weight}"
            );
        }
    }

    #[test]
    fn rfc4647_3_4_lookup() {
        let european = ["en", "de", "fr-CH", "zh-Hant", "pt-BR"];
        for (value, best) in [
            ("de", "de"),
            ("DE", "de"),
            ("de-CH-1996", "de"),
            ("de-CH, fr-ch", "de"),
            ("fr", "en"),
            ("fr-CH", "fr-CH"),
            ("fr-CH-x-y", "fr-CH"),
            // The steps of the RFC's own example.
            ("zh-Hant-CN-x-private1-private2", "zh-Hant"),
            ("x-zh", "en"),
            ("i-de", "en"),
            ("ja, de;q=0.5", "de"),
            ("de;q=0.5, pt-BR;q=0.8", "pt-BR"),
            // Of equal weight, the first on offer.
            ("de;q=0.8, pt-BR;q=0.8", "de"),
            ("pt-BR, de", "de"),
            ("ja, pt-BR, fr-CH", "fr-CH"),
            // `*` selects the default, and only if no later range matches.
            ("*", "en"),
            ("*, de", "de"),
            ("ja, *;q=0.5", "en"),
            ("*-CH", "en"),
            ("", "en"),
            ("-", "en"),
            ("de-", "de"),
        ] {
            assert_eq!(language(Some(value), &offered(&european)), best, "{value}");
        }
        assert_eq!(language(None, &offered(&european)), "en");
    }

    #[test]
    fn rfc9110_12_4_2_a_language_of_weight_zero_is_not_chosen() {
        let list = ["en-GB", "de", "fr"];
        for (value, best) in [
            ("en;q=0", "de"),
            ("en-GB;q=0, *", "de"),
            ("en;q=0, de;q=0", "fr"),
            ("en;q=0, en-GB", "en-GB"),
            ("de-CH, de;q=0", "en-GB"),
            ("e;q=0, en-G;q=0", "en-GB"),
            ("en;q=0, de;q=0, fr;q=0", "en-GB"),
        ] {
            assert_eq!(language(Some(value), &offered(&list)), best, "{value}");
        }
    }

    #[test]
    fn rfc9110_12_5_1_the_most_specific_range_gives_the_weight() {
        let examples = ["text/html;level=3", "text/html", "text/plain", "image/jpeg", "text/html;level=2"];
        // The example of the RFC.
        let value = "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5";
        for ordered in [
            ["text/plain;format=flowed", "text/plain"],
            ["text/plain", "image/jpeg"],
            ["image/jpeg", "text/plain;format=fixed"],
            ["text/plain;format=fixed", "text/html"],
        ] {
            let [better, worse] = ordered;
            assert_eq!(media_type(Some(value), &offered(&[worse, better])), better);
        }
        for (value, best) in [
            ("text/html;level=3;q=0.7, text/html;q=0.8, text/html;level=2", "text/html;level=2"),
            ("text/html;level=3;q=0.7, text/html;q=0.8, text/html;level=2;q=0.4, */*;q=0.5", "text/html"),
            ("text/plain;q=0.9, text/*;q=0.8, */*", "image/jpeg"),
            ("*/*", "text/html;level=3"),
            ("text/html;LEVEL=\"3\"", "text/html;level=3"),
            ("text/html ; level=2 ; q=1.0", "text/html;level=2"),
            ("Text/HTML", "text/html"),
            ("image/*", "image/jpeg"),
            ("image/*, text/html;q=0.9", "image/jpeg"),
            ("*/*;q=0.1, image/jpeg;q=0", "text/html;level=3"),
            ("*/html", "text/html;level=3"),
            ("text/", "text/html;level=3"),
            ("text/html;level=9, image/jpeg;q=0.1", "image/jpeg"),
            ("", "text/html;level=3"),
            ("application/json", "text/html;level=3"),
        ] {
            assert_eq!(media_type(Some(value), &offered(&examples)), best, "{value}");
        }
        assert_eq!(media_type(None, &offered(&examples)), examples[0]);
    }

    #[test]
    fn rfc9110_12_5_1_of_equal_weight_the_most_precisely_named_then_the_first() {
        let images = ["image/jpeg", "image/avif", "image/webp"];
        for (value, best) in [
            ("image/webp,image/avif,*/*", "image/avif"),
            ("image/*, image/webp;q=0.9", "image/jpeg"),
            ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "image/avif"),
            ("image/webp, */*", "image/webp"),
            ("a/b;x=\"image/webp, \\\", q=0\", image/webp", "image/webp"),
        ] {
            assert_eq!(media_type(Some(value), &offered(&images)), best, "{value}");
        }
    }

    proptest! {
        #[test]
        fn hostile_preferences_lead_to_something_on_offer(value in any::<String>()) {
            let list = offered(&["en", "text/html;level=1", "gzip"]);
            let on_offer = |choice: &str| list.iter().any(|offer| **offer == *choice);
            prop_assert!(on_offer(language(Some(&value), &list)) && on_offer(media_type(Some(&value), &list)));
            let codings = codings(Some(&value), &list);
            prop_assert!(codings == IDENTITY || codings.split(", ").all(on_offer));
        }
    }
}
