//! Standard Webhooks (<https://www.standardwebhooks.com>), as the sender: the receiver can tell a repeat by `webhook-id`,
//! which is the call's own key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::super::auth::Outgoing;
use super::{hmac, invalid, set};
use crate::connector::Failure;

pub(crate) struct Key {
    pub id: String,
    pub secret: SecretString,
}

impl Key {
    pub fn sign(&self, mut outgoing: Outgoing<'_>, now: Timestamp) -> Result<(), Failure> {
        let text = self.secret.expose_secret().trim();
        let key = match text.strip_prefix("whsec_") {
            Some(coded) => STANDARD
                .decode(coded)
                .map_err(|_| invalid("what follows `whsec_` in the webhook's signing secret is not base64"))?,
            // As the libraries of the standard read it.
            None => STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec()),
        };
        if key.is_empty() {
            return Err(invalid("the webhook's signing secret is empty"));
        }
        let time = now.as_second().to_string();
        let signed =
            [self.id.as_bytes(), b".", time.as_bytes(), b".", outgoing.body.as_deref().unwrap_or_default()].concat();
        let signature = format!("v1,{}", STANDARD.encode(hmac(&key, &signed)));
        set(&mut outgoing, "webhook-id", &self.id)?;
        set(&mut outgoing, "webhook-timestamp", &time)?;
        set(&mut outgoing, "webhook-signature", &signature)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::signed;
    use super::*;

    #[test]
    fn the_vector_of_the_standards_own_libraries_is_met() {
        let key = |secret: &str| Key { id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(), secret: secret.to_owned().into() };
        let request = ("POST", "https://example.com/hook", &[][..], r#"{"test": 2432232314}"#);
        for secret in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let (_, headers) = signed(request, 1_614_265_330, |outgoing, now| key(secret).sign(outgoing, now));
            assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
            assert_eq!(headers["webhook-timestamp"], "1614265330");
            assert_eq!(headers["webhook-id"], "msg_p5jXN8AQM9LWM0D4loKWxJek");
        }
    }
}
