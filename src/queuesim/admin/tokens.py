"""Tokens: who asks, and may they. JSON Web Tokens with one pinned algorithm; the token has no say in which."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from queuesim.errors import QueuesimError
from queuesim.extras import need

need("jwt", "admin", "tokens")

import jwt  # noqa: E402

SHORTEST_SECRET = 32
"""Bytes of a secret for HS256 at least (RFC 7518, section 3.2)."""
LONGEST_TOKEN = 8192
ADMIN = "admin"
METRICS = "metrics"


class TokenError(QueuesimError):
    """No token, or one that is not good. What exactly is wrong is for the log, not for who sent it."""


class SigningKeyError(QueuesimError):
    """The key that tokens are checked with is no good."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    subject: str
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verifier:
    """Checks tokens.

    Args:
        algorithm: the only one that is accepted.
        issuer, audience: what a token must say of itself.
        secret: for HS256, 32 bytes or more.
        jwks: for RS256, a JSON Web Key Set: its public RSA keys, each with a `kid`.
        leeway: seconds by which the issuer's clock may differ.

    Raises:
        SigningKeyError: the key does not go with the algorithm, or is too weak.
    """

    algorithm: Literal["HS256", "RS256"]
    issuer: str
    audience: str
    secret: str = field(default="", repr=False)
    jwks: Mapping[str, Any] | None = field(default=None, repr=False)
    leeway: float = 10.0

    def __post_init__(self) -> None:
        if self.algorithm == "HS256":
            if len(self.secret.encode()) < SHORTEST_SECRET:
                raise SigningKeyError(f"a secret for HS256 has {SHORTEST_SECRET} bytes or more")
            if self.jwks is not None or self.secret.lstrip().startswith("-----BEGIN"):
                raise SigningKeyError("HS256 takes a secret, not a public key: that is no secret")
        elif self.algorithm == "RS256":
            if self.secret or not self._public_keys():
                raise SigningKeyError("RS256 takes a key set with public RSA keys, each with a kid, and no secret")
        else:
            raise SigningKeyError(f"the algorithm is HS256 or RS256, not {self.algorithm}")

    def verify(self, token: str) -> Principal:
        """Who sent the token. Raises TokenError if it is not good: wrong key, algorithm, issuer, audience, or time."""
        if len(token) > LONGEST_TOKEN:
            raise TokenError("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != self.algorithm:
                raise TokenError(f"signed by {header.get('alg')!r}, not by {self.algorithm}")
            claims = jwt.decode(
                token,
                self._key(header),
                algorithms=[self.algorithm],
                issuer=self.issuer,
                audience=self.audience,
                leeway=self.leeway,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise TokenError(f"{type(error).__name__}") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise TokenError(f"it can't be read: {type(error).__name__}") from None
        return Principal(_subject(claims), _roles(claims))

    def _key(self, header: Mapping[str, Any]) -> Any:
        if self.algorithm == "HS256":
            return self.secret
        keys = self._public_keys()
        kid = header.get("kid")
        if not isinstance(kid, str) or kid not in keys:
            raise TokenError("it names no key that is known")
        return keys[kid]

    def _public_keys(self) -> dict[str, Any]:
        found = {}
        for key in (self.jwks or {}).get("keys", ()):
            usable = key.get("kty") == "RSA" and key.get("alg", "RS256") == "RS256" and key.get("use", "sig") == "sig"
            if usable and isinstance(key.get("kid"), str) and "d" not in key:
                found[key["kid"]] = jwt.PyJWK(dict(key), algorithm="RS256").key
        return found


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= 200 or not subject.isprintable():
        raise TokenError("its subject is no name")
    return subject


def _roles(claims: Mapping[str, Any]) -> frozenset[str]:
    """The roles that it has: a list of names. Anything else is none."""
    roles = claims.get("roles", [])
    return frozenset(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else frozenset()


def bearer(header: str | None) -> str:
    """The token of an Authorization header. Raises TokenError if there is none."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenError("there is no bearer token")
    return token.strip()


def read_jwks(text: str) -> dict[str, Any]:
    """A key set from its JSON text. Raises SigningKeyError if it is none."""
    try:
        jwks = json.loads(text)
    except ValueError:
        raise SigningKeyError("the key set is no JSON") from None
    if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list):
        raise SigningKeyError('a key set is a JSON object with a list "keys"')
    return jwks
