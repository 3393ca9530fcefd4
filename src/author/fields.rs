//! What of a request may fill an input: the fields that its schema describes, and how well a name fits another.

use crate::schema::{Shape, Types};

/// Levels of objects that are looked into, and fields at most.
const MAX_DEPTH: usize = 6;
const MAX_FIELDS: usize = 300;

/// A part of the request that a template can name.
#[derive(Debug, Clone)]
pub struct Field {
    /// As in `trigger.body.UserDetails.FirstName`.
    pub path: String,
    /// The keys of it within the body.
    pub keys: Vec<String>,
    pub types: Types,
    /// True if every request that the schema takes has it.
    pub certain: bool,
    /// True for objects, whose own fields are listed too.
    pub inner: bool,
}

/// The fields of a body of this shape, outer ones first where they stand side by side.
pub fn fields(body: &Shape) -> Vec<Field> {
    let mut found = Vec::new();
    collect(body, "trigger.body", &[], true, &mut found);
    found
}

fn collect(shape: &Shape, path: &str, keys: &[String], certain: bool, found: &mut Vec<Field>) {
    if keys.len() >= MAX_DEPTH {
        return;
    }
    for (key, inside) in &shape.properties {
        let Some(segment) = segment(key) else { continue };
        if found.len() >= MAX_FIELDS {
            return;
        }
        let path = format!("{path}.{segment}");
        let keys: Vec<String> = keys.iter().cloned().chain([key.clone()]).collect();
        let inner = !inside.properties.is_empty();
        // What is required but may be null can be missing all the same.
        let certain = certain && shape.required.contains(key) && !inside.types.meets(Types::NULL);
        found.push(Field { path: path.clone(), keys: keys.clone(), types: inside.types, certain, inner });
        collect(inside, &path, &keys, certain, found);
    }
}

/// A key as a part of a path; `None` where no template can name it.
fn segment(key: &str) -> Option<String> {
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !["this", "true", "false", "null", "undefined", "as", "else"].contains(&key);
    if plain {
        return Some(key.to_owned());
    }
    let nameable =
        !key.is_empty() && !key.contains(['[', ']', '{', '}', '\\', '"', '\'']) && !key.contains(char::is_control);
    nameable.then(|| format!("[{key}]"))
}

/// Names that mean the same to people, the best first.
const ALIKE: &[&[&str]] = &[
    &["email", "emailaddress", "mail", "useremail", "contactemail", "workemail"],
    &["firstname", "givenname", "forename", "fname"],
    &["lastname", "surname", "familyname", "lname"],
    &["name", "fullname", "displayname", "contactname", "customername"],
    &["phone", "telephone", "phonenumber", "tel", "businessphone", "mobilephone", "mobile"],
    &["mobilephone", "mobile", "cellphone", "cell"],
    &["company", "companyname", "organization", "organisation", "accountname", "account", "employer", "business"],
    &["jobtitle", "title", "position", "role"],
    &["subject", "topic", "offertitle", "headline", "title", "summary"],
    &["title", "subject", "headline", "topic", "offertitle"],
    &["description", "comment", "comments", "message", "note", "notes", "details", "text"],
    &["text", "message", "content", "comment", "comments", "note", "description"],
    &["message", "text", "content", "comment", "comments", "note", "description"],
    &["country", "countryname", "countrycode", "addresscountry", "nation"],
    &["city", "town", "addresscity", "locality"],
    &["postalcode", "zip", "zipcode", "postcode", "addresspostalcode"],
    &["street", "streetaddress", "addressline", "address"],
    &["website", "websiteurl", "homepage", "web"],
    &["amount", "total", "price", "sum", "value"],
    &["quantity", "qty", "count", "seats"],
    &["id", "identifier", "uuid", "number", "key"],
    &["source", "leadsource", "origin"],
    &["recipient", "to", "email", "emailaddress"],
];

/// How well the field suits an input of this name: 100 for the same name, 0 for none at all.
pub fn likeness(name: &str, field: &Field) -> u32 {
    let Some(leaf) = field.keys.last() else { return 0 };
    let (wanted, given) = (bare(name), bare(leaf));
    if wanted.is_empty() || given.is_empty() {
        return 0;
    }
    // Of two fields with the same name the outer one is meant.
    let depth = u32::try_from(field.keys.len()).unwrap_or(u32::MAX).min(6);
    if wanted == given {
        return 101 - depth;
    }
    if let [.., outer, inner] = &field.keys[..]
        && wanted == bare(&format!("{outer}_{inner}"))
    {
        return 94;
    }
    let head = ALIKE.iter().find(|group| group[0] == wanted);
    let group = head.or_else(|| ALIKE.iter().find(|group| group.contains(&wanted.as_str())));
    if let Some(place) = group.and_then(|group| group.iter().position(|one| *one == given)) {
        return 90 - u32::try_from(place).unwrap_or(20).min(20);
    }
    let (wanted, given) = (words(name), words(leaf));
    let (short, long) = if wanted.len() <= given.len() { (&wanted, &given) } else { (&given, &wanted) };
    let vague = |word: &String| {
        ["id", "name", "type", "code", "text", "url", "date", "number", "value"].contains(&word.as_str())
    };
    let part = short.iter().all(|word| long.contains(word)) && !short.iter().all(vague);
    if part && !short.is_empty() { 60 - 5 * u32::try_from(long.len() - short.len()).unwrap_or(8).min(8) } else { 0 }
}

/// The best field for an input of this name and these types, and how well it fits.
pub fn best<'f>(name: &str, types: Types, fields: &'f [Field]) -> Option<(&'f Field, u32)> {
    let fits = |field: &&Field| {
        field.types.without(Types::NULL).meets(types)
            && (field.types == Types::ANY || field.types.without(Types::NULL).within(types))
    };
    let rated = fields.iter().filter(fits).map(|field| (field, likeness(name, field))).filter(|(_, rate)| *rate > 0);
    // The first of equals.
    rated.rev().max_by_key(|(_, rate)| *rate)
}

/// Letters and digits in lower case, without the number at the end of `emailaddress1`.
fn bare(name: &str) -> String {
    words(name).concat()
}

/// The words of `firstName`, `first_name`, `FIRST-NAME`, `address1_city`; numbers at their ends left out.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && small) {
            words.push(String::new());
        }
        small = c.is_lowercase() || c.is_ascii_digit();
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    let cut = |word: String| word.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    words.into_iter().map(cut).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lead() -> Vec<Field> {
        let user = json!({"type": "object", "properties": {
            "FirstName": {"type": "string"}, "LastName": {"type": "string"}, "Email": {"type": ["string", "null"]},
            "Title": {"type": "string"}, "Phone": {"type": "string"}, "Age": {"type": "integer"}, "odata.type": {"type": "string"},
        }});
        let schema = json!({"type": "object", "required": ["OfferTitle"], "properties": {
            "OfferTitle": {"type": "string"}, "UserDetails": user, "customer": {"properties": {"name": {"type": "string"}}},
        }});
        fields(&Shape::of_schema(&schema))
    }

    fn found(name: &str, types: Types) -> Option<String> {
        best(name, types, &lead()).map(|(field, _)| field.path.trim_start_matches("trigger.body.").to_owned())
    }

    #[test]
    fn names_fit_in_any_case_and_by_meaning() {
        for (name, path) in [
            ("firstname", "UserDetails.FirstName"),
            ("first_name", "UserDetails.FirstName"),
            ("givenName", "UserDetails.FirstName"),
            ("surname", "UserDetails.LastName"),
            ("emailaddress1", "UserDetails.Email"),
            ("contact_email", "UserDetails.Email"),
            ("telephone1", "UserDetails.Phone"),
            ("jobtitle", "UserDetails.Title"),
            ("subject", "OfferTitle"),
            ("customer_name", "customer.name"),
            ("odata_type", "UserDetails.[odata.type]"),
        ] {
            assert_eq!(found(name, Types::STRING).as_deref(), Some(path), "{name}");
        }
    }

    #[test]
    fn what_has_another_type_or_only_a_vague_name_does_not_fit() {
        assert_eq!(found("age", Types::STRING), None);
        assert_eq!(found("age", Types::NUMBER).as_deref(), Some("UserDetails.Age"));
        for name in ["channel", "table", "id", "first", "tenant_name", ""] {
            let fits = found(name, Types::STRING);
            assert!(name == "first" || fits.is_none(), "{name}: {fits:?}");
        }
    }

    #[test]
    fn keys_that_no_path_can_name_are_passed_over() {
        assert_eq!(segment("a-b").as_deref(), Some("[a-b]"));
        assert_eq!(segment("this").as_deref(), Some("[this]"));
        assert_eq!(segment("a]b"), None);
        assert_eq!(words("userDetailsHTML2"), ["user", "details", "html"]);
    }
}
