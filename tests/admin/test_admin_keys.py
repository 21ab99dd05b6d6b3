"""Key sets by URL: an issuer's server of our own, whose keys change."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
from adminbench import AUDIENCE, ISSUER, AdminBench, token, with_bench
from cryptography.hazmat.primitives.asymmetric import rsa

from queuesim.admin.tokens import RemoteKeys, SigningKeyError, Verifier, public_keys, read_jwks

METRICS = "/tasks/admin/queue-metrics"
KEYS = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("one", "two")}


def key_set(*names: str) -> str:
    public = {name: jwt.algorithms.RSAAlgorithm.to_jwk(KEYS[name].public_key(), as_dict=True) for name in names}
    return json.dumps({"keys": [{**public[name], "kid": name, "use": "sig"} for name in names]})


class Issuer:
    """Serves a key set, or whatever else it is told to, and counts how often it was asked."""

    def __init__(self) -> None:
        self.body, self.status, self.headers, self.asked = key_set("one"), 200, dict[str, str](), 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                self.send_response(issuer.status)
                for name, value in issuer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(issuer.body.encode())

            def log_message(self, *arguments: Any) -> None:
                """To nobody."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def remote(issuer: Issuer, clock: Clock) -> RemoteKeys:
    keys = RemoteKeys(issuer.url, lifetime=300.0, cooldown=30.0, patience=3600.0, clock=clock)
    keys.fetch()
    return keys


def knows(keys: RemoteKeys, kid: str) -> bool:
    return asyncio.run(keys.find(kid)) is not None


def test_a_set_is_fetched_once_however_many_tokens_come(issuer: Issuer) -> None:
    clock = Clock()
    keys = remote(issuer, clock)
    assert all(knows(keys, "one") for _ in range(20))
    assert issuer.asked == 1


def test_a_new_key_works_at_once_and_an_old_one_ends_with_the_sets_lifetime(issuer: Issuer) -> None:
    clock = Clock()
    keys = remote(issuer, clock)
    issuer.body = key_set("two")
    clock.time += 31
    assert knows(keys, "two")
    assert issuer.asked == 2
    assert not knows(keys, "one")
    issuer.body = key_set("one")
    clock.time += 299
    assert knows(keys, "two")
    clock.time += 1
    assert not knows(keys, "two")


def test_invented_key_ids_make_us_fetch_no_oftener_than_the_cooldown(issuer: Issuer) -> None:
    clock = Clock()
    keys = remote(issuer, clock)
    assert not any(knows(keys, f"invented-{n}") for n in range(50))
    assert issuer.asked == 1
    clock.time += 30
    assert not any(knows(keys, f"invented-{n}") for n in range(50))
    assert issuer.asked == 2
    assert knows(keys, "one")


def test_many_at_once_are_one_fetch(issuer: Issuer) -> None:
    clock = Clock()
    keys = remote(issuer, clock)
    issuer.body = key_set("one", "two")
    clock.time += 31

    async def scene() -> list[Any]:
        return await asyncio.gather(*(keys.find("two") for _ in range(10)))

    assert all(key is not None for key in asyncio.run(scene()))
    assert issuer.asked == 2


def test_an_issuers_outage_locks_nobody_out_for_a_while(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    keys = remote(issuer, clock)
    issuer.status = 500
    clock.time += 400
    assert knows(keys, "one")
    assert "can't be fetched" in caplog.text
    asked = issuer.asked
    assert knows(keys, "one")
    assert issuer.asked == asked, "a fetch that failed has a cooldown, too"
    clock.time += 3500
    assert not knows(keys, "one"), "but not for ever"
    issuer.status = 200
    clock.time += 30
    assert knows(keys, "one")


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, "no json", {}),
        (200, "[]", {}),
        (200, '{"keys": []}', {}),
        (200, '{"keys": [1, {"kty": "oct", "k": "YQ", "kid": "one"}]}', {}),
        (200, '{"keys": [{"kty": "RSA", "kid": "one", "n": "!", "e": "AQAB"}]}', {}),
        (404, "", {}),
        (302, "", {"location": "file:///etc/passwd"}),
        (302, "", {"location": "http://127.0.0.1:1/other"}),
    ],
)
def test_what_is_no_key_set_changes_nothing(issuer: Issuer, status: int, body: str, headers: dict[str, str]) -> None:
    clock = Clock()
    keys = remote(issuer, clock)
    issuer.status, issuer.body, issuer.headers = status, body, headers
    with pytest.raises(SigningKeyError):
        keys.fetch()
    assert knows(keys, "one")


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example/jwks", "file:///etc/passwd", "ftp://127.0.0.1/x", "https://", "http://127.0.0.1.evil/"],
)
def test_a_key_set_is_only_fetched_where_nobody_can_swap_it(url: str) -> None:
    with pytest.raises(SigningKeyError, match="https"):
        RemoteKeys(url)


def test_a_private_key_in_a_set_is_no_key_of_ours() -> None:
    private = jwt.algorithms.RSAAlgorithm.to_jwk(KEYS["one"], as_dict=True)
    assert public_keys(read_jwks(json.dumps({"keys": [{**private, "kid": "one"}]}))) == {}


def test_the_api_goes_along_when_the_issuer_changes_its_key(issuer: Issuer) -> None:
    clock = Clock()
    verifier = Verifier("RS256", ISSUER, AUDIENCE, remote=remote(issuer, clock))
    first, second = (token(KEYS[name], "RS256", {"kid": name}) for name in KEYS)
    forged = token(KEYS["one"], "RS256", {"kid": "two"})

    async def scene(desk: AdminBench) -> None:
        async def status(sent: str) -> int:
            return (await desk.call("GET", METRICS, sent)).status_code

        assert (await status(first), await status(second)) == (200, 401)
        issuer.body = key_set("one", "two")
        clock.time += 31
        assert (await status(first), await status(second), await status(forged)) == (200, 200, 401)
        issuer.body = key_set("two")
        clock.time += 300
        assert (await status(first), await status(second)) == (401, 200)

    with_bench(scene, verifier=verifier)


def test_a_set_is_fixed_or_fetched_and_not_both(issuer: Issuer) -> None:
    with pytest.raises(SigningKeyError):
        Verifier("RS256", ISSUER, AUDIENCE, jwks=json.loads(key_set("one")), remote=RemoteKeys(issuer.url))
    with pytest.raises(SigningKeyError):
        Verifier("HS256", ISSUER, AUDIENCE, secret="x" * 40, remote=RemoteKeys(issuer.url))
