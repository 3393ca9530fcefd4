//! Azure Storage's Shared Key Lite ("Authorize with Shared Key", Microsoft Learn): tables sign date and resource, blobs
//! and queues also the method, the content's type and every `x-ms-` header.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::super::auth::Outgoing;
use super::{hmac, invalid, set};
use crate::connector::{AzureService, Failure};

const DATE: &str = "x-ms-date";

pub(crate) struct Key {
    pub account: String,
    pub key: SecretString,
    pub service: AzureService,
}

impl Key {
    pub fn sign(&self, mut outgoing: Outgoing<'_>, now: Timestamp) -> Result<(), Failure> {
        let key = STANDARD.decode(self.key.expose_secret().trim());
        let key = key.map_err(|_| invalid("the storage account's key is not base64"))?;
        let date = httpdate::fmt_http_date(now.into());
        set(&mut outgoing, DATE, &date)?;
        let text = self.text(&outgoing, &date);
        let signature = STANDARD.encode(hmac(&key, text.as_bytes()));
        set(&mut outgoing, "authorization", &format!("SharedKeyLite {}:{signature}", self.account))
    }

    /// What is signed.
    fn text(&self, outgoing: &Outgoing<'_>, date: &str) -> String {
        // The path as it goes out; an emulator repeats the account in it, and so does the signature.
        let mut resource = format!("/{}{}", self.account, outgoing.url.path());
        if let Some((_, comp)) = outgoing.url.query_pairs().find(|(name, _)| name == "comp") {
            resource.push_str(&format!("?comp={comp}"));
        }
        if self.service == AzureService::Table {
            return format!("{date}\n{resource}");
        }
        let header = |name: &str| outgoing.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut own: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in outgoing.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-ms-")) {
            own.entry(name.as_str()).or_default().push(value.to_str().unwrap_or_default().trim());
        }
        let own: String = own.iter().map(|(name, values)| format!("{name}:{}\n", values.join(","))).collect();
        // The date of `x-ms-date` counts, so the one of `Date` is left out.
        let (md5, kind) = (header("content-md5"), header("content-type"));
        format!("{}\n{md5}\n{kind}\n\n{own}{resource}", outgoing.method)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;
    use reqwest::header::HeaderMap;
    use url::Url;

    use super::super::tests::signed;
    use super::*;

    fn key(account: &str, service: AzureService) -> Key {
        // The account and key that Azurite and the old emulator document for everyone.
        let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
        Key { account: account.into(), key: key.to_owned().into(), service }
    }

    #[test]
    fn a_blobs_text_is_that_of_the_documentation() {
        // "Authorize with Shared Key": the example of Shared Key Lite for Put Blob.
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-ms-meta-m2", "v2"),
            ("x-ms-meta-m1", "v1"),
            ("content-type", "text/plain; charset=UTF-8"),
            ("x-ms-date", "Sun, 20 Sep 2009 20:36:40 GMT"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let mut url = Url::parse("https://testaccount1.blob.core.windows.net/mycontainer/hello.txt").unwrap();
        let outgoing = Outgoing { method: &Method::PUT, url: &mut url, headers: &mut headers, body: &mut None };
        assert_eq!(
            key("testaccount1", AzureService::Blob).text(&outgoing, "Sun, 20 Sep 2009 20:36:40 GMT"),
            "PUT\n\ntext/plain; charset=UTF-8\n\nx-ms-date:Sun, 20 Sep 2009 20:36:40 GMT\nx-ms-meta-m1:v1\n\
             x-ms-meta-m2:v2\n/testaccount1/mycontainer/hello.txt"
        );
    }

    #[test]
    fn a_tables_text_is_that_of_the_documentation() {
        // "Authorize with Shared Key": the example of Shared Key Lite for the Table service, and what it says of `comp`.
        let date = "Sun, 11 Oct 2009 19:52:39 GMT";
        for (query, told) in [("", ""), ("?timeout=5&comp=acl", "?comp=acl")] {
            let mut url = Url::parse(&format!("https://testaccount1.table.core.windows.net/Tables{query}")).unwrap();
            let mut headers = HeaderMap::new();
            let outgoing = Outgoing { method: &Method::GET, url: &mut url, headers: &mut headers, body: &mut None };
            let text = key("testaccount1", AzureService::Table).text(&outgoing, date);
            assert_eq!(text, format!("{date}\n/testaccount1/Tables{told}"));
        }
    }

    #[test]
    fn the_signature_is_an_hmac_under_the_decoded_key() {
        let request =
            ("GET", "http://127.0.0.1:10002/devstoreaccount1/Leads(PartitionKey='a',RowKey='b')", &[][..], "");
        let (_, headers) = signed(request, 1_254_858_759, |outgoing, now| {
            key("devstoreaccount1", AzureService::Table).sign(outgoing, now)
        });
        assert_eq!(headers["x-ms-date"], "Tue, 06 Oct 2009 19:52:39 GMT");
        let given = headers["authorization"].to_str().unwrap();
        assert_eq!(given, "SharedKeyLite devstoreaccount1:Rkr5oVH+5pDgsf+BG64+LZ0ANcl3h5e3tGQmFILDsmQ=");
    }
}
