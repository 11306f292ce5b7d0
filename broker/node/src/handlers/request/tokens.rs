//! Access of handlers to delegation tokens.

use std::sync::Arc;

use sedge_core::metadata::Image;
use sedge_core::security::{Principal, Token, Tokens};
use sedge_core::security_protocol::SecurityProtocol;
use sedge_protocol::ErrorCode;

use super::Request;
use crate::config::DelegationTokens;

impl Request {
    /// Returns the client's principal.
    pub fn principal(&self) -> &Principal {
        self.access.session.principal()
    }

    /// Checks that a client may ask about delegation tokens at all
    /// (`KafkaApis.allowTokenRequests`): the client has authenticated, and not with a token.
    ///
    /// # Errors
    /// DELEGATION_TOKEN_REQUEST_NOT_ALLOWED.
    pub fn check_token_requests(&self) -> Result<(), ErrorCode> {
        let is_known = match self.access.session.listener.protocol {
            SecurityProtocol::Plaintext => false,
            SecurityProtocol::Ssl => *self.principal() != Principal::ANONYMOUS,
            SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl => true,
        };
        if is_known && !self.access.session.is_by_token() {
            Ok(())
        } else {
            Err(ErrorCode::DelegationTokenRequestNotAllowed)
        }
    }

    /// Returns the secrets and lifetimes of tokens.
    ///
    /// # Errors
    /// DELEGATION_TOKEN_AUTH_DISABLED.
    pub fn token_maker(&self) -> Result<&DelegationTokens, ErrorCode> {
        let maker = self.access.broker.config.delegation_tokens.as_ref();
        maker.ok_or(ErrorCode::DelegationTokenAuthDisabled)
    }

    /// Returns all tokens; the handler filters those that the client may see.
    pub fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(self.image().tokens())
    }

    /// Returns the id of the token with this secret.
    ///
    /// # Errors
    /// DELEGATION_TOKEN_AUTH_DISABLED, DELEGATION_TOKEN_NOT_FOUND.
    pub async fn token_by_hmac(&self, hmac: &[u8]) -> Result<String, ErrorCode> {
        let maker = self.token_maker()?.clone();
        let (tokens, hmac) = (self.tokens(), hmac.to_vec());
        let finding = move || {
            let found: Option<&Token> = maker.find(&tokens, &hmac);
            found.map(|token| token.id.clone())
        };
        let found = blocking::unblock(finding).await;
        found.ok_or(ErrorCode::DelegationTokenNotFound)
    }

    fn image(&self) -> Arc<Image> {
        self.access.broker.log.metadata.load()
    }
}
