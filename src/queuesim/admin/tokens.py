"""Tokens: who asks, and may they. JSON Web Tokens with one pinned algorithm; the token has no say in which."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlsplit

from queuesim.error import QueuesimError
from queuesim.extras import need

need("jwt", "admin", "tokens")

import jwt  # noqa: E402

# -- The issuer's public keys: a key set from a file, or from a URL, whose keys come and go while we run

LIFETIME = 300.0
"""Seconds after which a key set is fetched again: by then a key that was withdrawn is no longer trusted."""
COOLDOWN = 30.0
"""Seconds between two tries to fetch it, at least: tokens with invented key ids don't make us fetch all the time."""
PATIENCE = 3600.0
"""Seconds for which keys are trusted whose set can't be fetched: the issuer's outage locks nobody out before."""
TIMEOUT = 5.0

logger = logging.getLogger("queuesim.admin")


class SigningKeyError(QueuesimError):
    """The key that tokens are checked with can't be used."""


def public_keys(jwks: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a set that RS256 can use, by their ids: public RSA keys for signatures. Raises SigningKeyError."""
    keys = [key for key in jwks.get("keys", ()) if isinstance(key, dict)]
    try:
        return {key["kid"]: jwt.PyJWK(dict(key), algorithm="RS256").key for key in keys if _usable(key)}
    except jwt.PyJWTError as error:
        raise SigningKeyError(f"the key set has a broken key: {error}") from None


def _usable(key: Mapping[str, Any]) -> bool:
    for_us = key.get("kty") == "RSA" and key.get("alg", "RS256") == "RS256" and key.get("use", "sig") == "sig"
    return for_us and isinstance(key.get("kid"), str) and "d" not in key


def read_jwks(text: str) -> dict[str, Any]:
    """A key set from its JSON text. Raises SigningKeyError if it is none."""
    try:
        return _key_set(json.loads(text))
    except ValueError:
        raise SigningKeyError("the key set is not valid JSON") from None


def _key_set(jwks: Any) -> dict[str, Any]:
    if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list):
        raise SigningKeyError('a key set is a JSON object with a list "keys"')
    return jwks


class RemoteKeys:
    """The key set at a URL. It *is fetched* when it has grown old, and when a token names a key that it does not have:
    so a new key works at once, and an old one ends with the set's lifetime.

    PyJWKClient fetches, but its cache is not used: during an outage of the issuer it would ask again for every token,
    and refuse all of them as soon as the set is old.

    Args:
        url: https, or http on the loopback interface.
        clock: seconds; not that of the queue, for tokens are a matter of real time.

    Raises:
        SigningKeyError: the URL is neither.
    """

    def __init__(
        self,
        url: str,
        *,
        lifetime: float = LIFETIME,
        cooldown: float = COOLDOWN,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        near = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not near and (parts.scheme != "https" or not parts.hostname):
            raise SigningKeyError(f"a key set is fetched by https, not from {url}: who is in between could swap it")
        self.url = url
        self.fetches = 0
        """How often it was asked for."""
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=TIMEOUT)
        self._lifetime, self._cooldown, self._patience = lifetime, cooldown, patience
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<RemoteKeys {self.url}>"

    def fetch(self) -> None:
        """Fetch the set. Raises SigningKeyError if that fails, or it has no key for us; the keys stay as they were."""
        self._tried = self._clock()
        self.fetches += 1
        try:
            # PyJWT follows no redirect, and reads no file
            keys = public_keys(_key_set(self._client.fetch_data()))
        except (jwt.PyJWTError, ValueError) as error:
            raise SigningKeyError(f"the key set at {self.url} can't be fetched: {error}") from None
        if not keys:
            raise SigningKeyError(f"the key set at {self.url} has no public RSA key with a kid")
        self._keys, self._fetched = keys, self._tried

    async def find(self, kid: str) -> Any:
        """The key of that id; None if the issuer has none."""
        if self._fresh and kid in self._keys:
            return self._keys[kid]
        async with self._turn:
            if not (self._fresh and kid in self._keys) and self._age(self._tried) >= self._cooldown:
                try:
                    await asyncio.to_thread(self.fetch)
                except SigningKeyError as error:
                    logger.error("%s", error)
            if self._age(self._fetched) >= self._lifetime + self._patience:
                return None
            return self._keys.get(kid)

    @property
    def _fresh(self) -> bool:
        return self._age(self._fetched) < self._lifetime

    def _age(self, since: float | None) -> float:
        return float("inf") if since is None else self._clock() - since


# -- Tokens

SHORTEST_SECRET = 32
"""Bytes of a secret for HS256 at least (RFC 7518, section 3.2)."""
LONGEST_TOKEN = 8192
ADMIN = "admin"
METRICS = "metrics"


class TokenError(QueuesimError):
    """No token, or an invalid one. What exactly is wrong is for the log, not for who sent it."""


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
                raise SigningKeyError("HS256 takes a secret, not a public key: everybody may know that")
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
        raise TokenError("its subject is not a name")
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
