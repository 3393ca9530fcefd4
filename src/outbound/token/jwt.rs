//! A JSON Web Token signed with RS256 (RFC 7515, 7518 §3.3): what a service account proves itself with (RFC 7523).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// Signs `claims` with an RSA key in PEM, PKCS #8 or PKCS #1.
///
/// # Errors
/// What is wrong with the key; never the key.
pub(super) fn signed(header: &Value, claims: &Value, key: &SecretString) -> Result<SecretString, &'static str> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = rs256(&text, key)?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
}

fn rs256(text: &str, key: &SecretString) -> Result<Vec<u8>, &'static str> {
    // In a variable of the environment, and within JSON, line breaks are often written so.
    let pem = SecretString::from(key.expose_secret().replace("\\n", "\n"));
    let key =
        PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes()).map_err(|_| "is not a private key in PEM")?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| "is not a private key that can sign")?;
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or("is not an RSA key")?;
    signer.sign(text.as_bytes()).map_err(|_| "cannot sign")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../../tests/keys/rfc7515-a2.pem");

    #[test]
    fn the_example_of_rfc_7515_is_met() {
        // Appendix A.2: header and claims as they stand there, line breaks and all.
        let text = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19y\
                    b290Ijp0cnVlfQ";
        let expected = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5\
                        jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb\
                        1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO\
                        YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        for key in [KEY.to_owned(), KEY.replace('\n', "\\n")] {
            assert_eq!(URL_SAFE_NO_PAD.encode(rs256(text, &key.into()).unwrap()), expected);
        }
    }

    #[test]
    fn a_key_that_is_none_is_said_to_be_none() {
        for (key, why) in [("nothing", "is not a private key in PEM"), (&KEY.replace('B', "C"), "is not a private key")]
        {
            let said = rs256("x", &key.to_owned().into()).unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
    }
}
