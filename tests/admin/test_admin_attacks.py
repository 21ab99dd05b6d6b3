"""The admin API as an attacker would try it."""

from __future__ import annotations

import base64
import json
import logging
import time
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from adminbench import ACTIONS, AUDIENCE, ISSUER, SECRET, AdminBench, claims, token, with_bench
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from queuesim.admin.guard import RequestLimiter
from queuesim.admin.tokens import SigningKeyError, Verifier

PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FOREIGN = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
JWKS = {
    "keys": [{**jwt.algorithms.RSAAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True), "kid": "one", "use": "sig"}]
}
RS256 = Verifier("RS256", ISSUER, AUDIENCE, jwks=JWKS)
METRICS = "/tasks/admin/queue-metrics"


def forged(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload)]
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def hmac_with_public_key() -> str:
    """Key confusion: a token signed by HMAC, with the public key as its secret."""
    import hashlib
    import hmac

    head = forged({"alg": "HS256", "typ": "JWT", "kid": "one"}, claims()).rpartition(".")[0]
    signature = hmac.new(PEM, head.encode(), hashlib.sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


BAD_HS256 = {
    "none": "",
    "nonsense": "a.b.c",
    "alg none": forged({"alg": "none", "typ": "JWT"}, claims()),
    "alg None": forged({"alg": "None"}, claims()),
    "alg missing": forged({"typ": "JWT"}, claims()),
    "no signature": token().rpartition(".")[0] + ".",
    "another secret": token("another secret, which has 32 bytes or more as well"),
    "another algorithm": token(SECRET + "x" * 32, "HS512"),
    "by a private key": token(PRIVATE, "RS256"),
    "expired": token(exp=time.time() - 60),
    "not yet": token(nbf=time.time() + 600),
    "for ever": token(exp=None),
    "foreign issuer": token(iss="https://other.example"),
    "no issuer": token(iss=None),
    "foreign audience": token(aud="other"),
    "no audience": token(aud=None),
    "no subject": token(sub=None),
    "subject with a line break": token(sub="ann\nadmin logged in"),
    "tampered": (lambda parts: ".".join([parts[0], forged({}, claims(sub="eve")).split(".")[1], parts[2]]))(
        token().split(".")
    ),
    "huge": token(padding="x" * 10_000),
    "jwk in the header": token(headers={"jwk": {"kty": "oct", "k": "YQ"}}, key="x" * 40),
    "kid path": token("x" * 40, headers={"kid": "../../dev/null"}),
}
BAD_RS256 = {
    "key confusion": hmac_with_public_key(),
    "alg none": forged({"alg": "none", "kid": "one"}, claims()),
    "foreign key": token(FOREIGN, "RS256", {"kid": "one"}),
    "unknown kid": token(PRIVATE, "RS256", {"kid": "two"}),
    "no kid": token(PRIVATE, "RS256"),
    "jku": token(FOREIGN, "RS256", {"kid": "evil", "jku": "https://evil.example/jwks"}),
    "PS256": token(PRIVATE, "PS256", {"kid": "one"}),
    "expired": token(PRIVATE, "RS256", {"kid": "one"}, exp=time.time() - 60),
}


@pytest.mark.parametrize("name", BAD_HS256)
def test_a_bad_token_opens_nothing(name: str) -> None:
    async def scene(desk: AdminBench) -> None:
        for method, path, body in ACTIONS:
            response = await desk.call(method, path, BAD_HS256[name], json=body)
            assert response.status_code == 401, (method, path)
            assert response.headers["www-authenticate"] == "Bearer"
            assert set(response.json()) == {"error", "message", "correlation_id"}
        assert not await desk.queue.is_paused()
        refused = await desk.audit()
        assert [row[:2] for row in refused] == [("nobody", "refused")] * len(ACTIONS)

    with_bench(scene)


@pytest.mark.parametrize("name", BAD_RS256)
def test_a_bad_token_of_a_public_key_opens_nothing(name: str) -> None:
    async def scene(desk: AdminBench) -> None:
        assert (await desk.call("GET", METRICS, BAD_RS256[name])).status_code == 401
        good = token(PRIVATE, "RS256", {"kid": "one"})
        assert (await desk.call("GET", METRICS, good)).status_code == 200

    with_bench(scene, verifier=RS256)


@pytest.mark.parametrize(
    "roles", [["user"], [], None, "admin", {"admin": True}, ["Admin"], [["admin"]], ["metrics"]], ids=str
)
def test_a_users_token_opens_no_admin_route(roles: Any) -> None:
    async def scene(desk: AdminBench) -> None:
        for method, path, body in ACTIONS:
            response = await desk.call(method, path, token(roles=roles), json=body)
            assert (response.status_code, response.json()["error"]) == (403, "forbidden"), (method, path)
        assert not await desk.queue.is_paused()
        assert [row[:2] for row in await desk.audit()] == [("ann", "refused")] * len(ACTIONS)

    with_bench(scene)


def test_every_route_of_the_application_is_behind_the_guard() -> None:
    async def scene(desk: AdminBench) -> None:
        document = (await desk.call("GET", "/openapi.json", "")).json()
        listed = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
        tried = {(method, path.replace("/jobs/1", "/jobs/{job_id}")) for method, path, _ in ACTIONS}
        assert listed - tried == {("GET", "/health"), ("GET", "/metrics")}
        for method, path in listed - {("GET", "/health")}:
            assert (await desk.call(method, path.replace("{job_id}", "1"), "")).status_code == 401

    with_bench(scene)


@pytest.mark.parametrize(
    "path",
    ["/health/../tasks/admin/pause", "//tasks/admin/pause", "/tasks/admin/pause/", "/TASKS/admin/pause",
     "/tasks/admin/%70ause", "/openapi.json/../tasks/admin/pause", "/nothing"],
)  # fmt: skip
def test_no_detour_around_the_guard(path: str) -> None:
    async def scene(desk: AdminBench) -> None:
        for method in ("POST", "GET", "OPTIONS", "TRACE", "PATCH", "HEAD"):
            response = await desk.call(method, path, "", follow_redirects=False)
            assert response.status_code == 401
        assert not await desk.queue.is_paused()

    with_bench(scene)


@pytest.mark.parametrize(
    "job_id",
    [
        "1' OR '1'='1",
        "1; DROP TABLE audit",
        "../../1",
        "1%00",
        "*",
        "wait",
        "meta",
        "1:lock",
        "id",
        "<script>",
        "{{7*7}}",
    ],
)
def test_injection_finds_nothing(job_id: str) -> None:
    async def scene(desk: AdminBench) -> None:
        await desk.queue.add("task-created", {"task_id": 1})
        from urllib.parse import quote

        for method, suffix, body in (("GET", "", None), ("POST", "/retry", {})):
            path = f"/tasks/admin/jobs/{quote(job_id, safe='%')}{suffix}"
            response = await desk.call(method, path, json=body)
            assert response.status_code in (404, 405, 422)
        bodies = [{"ids": [job_id]}]
        for body in bodies:
            response = await desk.call("POST", "/tasks/admin/dead-letters/discard", json=body)
            assert response.status_code in (404, 422)
        assert len(await desk.audit()) >= 2
        assert sum((await desk.queue.counts()).values()) == 1

    with_bench(scene)


def test_bodies_that_are_too_large_or_no_json() -> None:
    async def scene(desk: AdminBench) -> None:
        path = "/tasks/admin/dead-letters/redrive"
        big = b'{"ids": ["' + b"x" * 300_000 + b'"]}'
        assert (await desk.call("POST", path, content=big)).status_code == 413

        async def stream() -> Any:
            for _ in range(100):
                yield b"x" * 10_000

        assert (await desk.call("POST", path, content=stream())).status_code == 413
        for lie in ("-1", "1e9", "99999999999999999999999", "abc"):
            assert (await desk.call("POST", path, content=b"{}", headers={"content-length": lie})).status_code == 413
        json_type = {"content-type": "application/json"}
        for text in (
            b"{",
            b"\xff\xfe",
            b"[" * 50_000,
            b"",
            b"null",
            b"[]",
            b'{"ids": 1}',
            b'{"x": 1}',
            b'{"ids": ["\\u0000"]}',
        ):
            response = await desk.call("POST", path, content=text, headers=json_type)
            assert response.status_code in (400, 422), text[:20]
            assert "Traceback" not in response.text
        assert (await desk.call("POST", path, content=b"{", headers=json_type)).status_code == 400

    with_bench(scene)


def test_requests_are_limited_whoever_makes_them() -> None:
    async def scene(desk: AdminBench) -> None:
        codes = [(await desk.call("GET", METRICS, "" if n % 2 else None)).status_code for n in range(12)]
        assert codes[:5] == [200, 401, 200, 401, 200]
        assert set(codes[5:]) == {429}

    with_bench(scene, limiter=RequestLimiter(0.001, 5))


def test_nothing_is_done_that_the_audit_log_does_not_have(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(desk: AdminBench) -> None:
        from sqlalchemy import text

        desk.store.run_now(lambda c: c.execute(text("DROP TABLE audit")))
        response = await desk.call("POST", "/tasks/admin/pause")
        assert (response.status_code, response.json()["error"]) == (503, "no_audit_log")
        assert not await desk.queue.is_paused()

    with_bench(scene)


def test_errors_tell_nothing_and_secrets_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sent = token()

    async def scene(desk: AdminBench) -> None:
        async def broken() -> None:
            raise RuntimeError("password=hunter2 at /srv/app.py")

        desk.queue.pause = broken  # type: ignore[method-assign]
        response = await desk.call("POST", "/tasks/admin/pause", sent, headers={"x-correlation-id": "my-request-1"})
        assert response.status_code == 500
        assert response.json() == {
            "error": "internal",
            "message": "something went wrong; the log knows more",
            "correlation_id": "my-request-1",
        }  # fmt: skip
        assert response.headers["x-correlation-id"] == "my-request-1"
        evil = await desk.call("GET", METRICS, headers={"x-correlation-id": "a\tb<script>"})
        assert "<" not in evil.headers["x-correlation-id"]
        assert (await desk.audit())[0] == ("ann", "failed", "500 RuntimeError")

    with_bench(scene)
    assert "my-request-1" in caplog.text
    for secret in (SECRET, sent, sent.split(".")[1]):
        assert secret not in caplog.text
    assert SECRET not in repr(Verifier("HS256", ISSUER, AUDIENCE, secret=SECRET))


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("HS256", {"secret": "short"}),
        ("HS256", {"secret": PEM.decode()}),
        ("HS256", {"secret": SECRET, "jwks": JWKS}),
        ("RS256", {"secret": SECRET}),
        ("RS256", {"jwks": {"keys": []}}),
        ("RS256", {"jwks": {"keys": [{"kty": "oct", "k": "YQ", "kid": "one"}]}}),
        ("none", {"secret": SECRET}),
    ],
)
def test_a_weak_or_wrong_key_is_refused_at_the_start(algorithm: Any, key: dict[str, Any]) -> None:
    with pytest.raises(SigningKeyError):
        Verifier(algorithm, ISSUER, AUDIENCE, **key)


HOSTILE = "<script>alert('x')</script>\x1b[31m\"&"
"""As HTML it would be run, and as text in a terminal it would be red."""


def test_hostile_names_are_data_in_every_answer() -> None:
    """No answer is a page that shows them: each is JSON, which no browser takes for HTML."""

    async def scene(desk: AdminBench) -> None:
        job_id = await desk.queue.add(HOSTILE, {"text": HOSTILE})
        answer = await desk.call("GET", f"/tasks/admin/jobs/{job_id}")
        assert answer.status_code == 200
        assert HOSTILE in answer.json().values()
        assert "\x1b" not in answer.text
        missing = await desk.call("GET", f"/tasks/admin/jobs/{quote(HOSTILE, safe='')}")
        assert missing.status_code == 404
        assert "\x1b" not in missing.text
        for each in (answer, missing):
            assert each.headers["content-type"].startswith(("application/json", "application/problem+json"))
        for page in ("/docs", "/docs/start.js", "/openapi.json"):
            assert "alert(" not in (await desk.call("GET", page, "" if page != "/openapi.json" else None)).text

    with_bench(scene)
