"""Tokens: who asks, and may they. JSON Web Tokens with one pinned algorithm; the token has no say in which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from queuesim.admin.keys import RemoteKeys, SigningKeyError, public_keys
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
        remote: for RS256 in place of `jwks`, a key set that is fetched.
        leeway: seconds by which the issuer's clock may differ.

    Raises:
        SigningKeyError: the key does not go with the algorithm, or is too weak.
    """

    algorithm: Literal["HS256", "RS256"]
    issuer: str
    audience: str
    secret: str = field(default="", repr=False)
    jwks: Mapping[str, Any] | None = field(default=None, repr=False)
    remote: RemoteKeys | None = None
    leeway: float = 10.0

    def __post_init__(self) -> None:
        if self.algorithm == "HS256":
            if len(self.secret.encode()) < SHORTEST_SECRET:
                raise SigningKeyError(f"a secret for HS256 has {SHORTEST_SECRET} bytes or more")
            if self.jwks is not None or self.remote is not None or self.secret.lstrip().startswith("-----BEGIN"):
                raise SigningKeyError("HS256 takes a secret, not a public key: that is no secret")
        elif self.algorithm == "RS256":
            if self.secret or (self.jwks is None) is (self.remote is None) or not (self.remote or self._public_keys):
                raise SigningKeyError("RS256 takes a key set with public RSA keys, each with a kid, and no secret")
        else:
            raise SigningKeyError(f"the algorithm is HS256 or RS256, not {self.algorithm}")

    async def verify(self, token: str) -> Principal:
        """Who sent the token. Raises TokenError if it is not good: wrong key, algorithm, issuer, audience, or time."""
        if len(token) > LONGEST_TOKEN:
            raise TokenError("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != self.algorithm:
                raise TokenError(f"signed by {header.get('alg')!r}, not by {self.algorithm}")
            claims = jwt.decode(
                token,
                await self._key(header),
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

    async def _key(self, header: Mapping[str, Any]) -> Any:
        if self.algorithm == "HS256":
            return self.secret
        kid = header.get("kid")
        key = None
        if isinstance(kid, str):
            key = self._public_keys.get(kid) if self.remote is None else await self.remote.find(kid)
        if key is None:
            raise TokenError("it names no key that is known")
        return key

    @cached_property
    def _public_keys(self) -> dict[str, Any]:
        return public_keys(self.jwks or {})


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
