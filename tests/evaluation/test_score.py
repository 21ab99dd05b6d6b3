from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from typer.testing import CliRunner

from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.cli.app import app
from queuesim.evaluation import claims
from queuesim.evaluation.claims import CLAIMS, evaluate, report
from queuesim.evaluation.testbed import FEATURES, ClaimError, EvaluationError, ServiceTestBed

LOSES: dict[str, Callable[..., Any]] = {
    "limiter": claims.limiter,
    "validation": claims.validation,
    "retention": claims.retention,
    "job ids": claims.job_ids,
    "outbox": claims.after_commit,
    "deduplication": claims.overlaps,
    "cron": claims.cron,
    "roles": claims.administration,
    "retry": claims.retry,
    "categories": claims.categories,
    "dead letters": claims.dead_letters,
    "stalled check": claims.recovery,
}


def test_the_document_gives_20_points() -> None:
    areas = {area: sum(points for other, _, points in CLAIMS if other == area) for area, _, _ in CLAIMS}
    assert areas == {"processor": 10, "scheduled tasks": 5, "error handling": 5}


@pytest.mark.parametrize("backend", ["sim", "redis"])
def test_every_claim_scores(backend: str) -> None:
    bed = ServiceTestBed(backend, redis_url="embedded")
    with bed.opened():
        verdicts = list(evaluate(bed))
    assert [(v.name, v.evidence) for v in verdicts if not v.scored] == []
    assert sum(v.scored for v in verdicts) == 20


@pytest.mark.server
def test_claims_leave_nothing_on_the_server() -> None:
    with EmbeddedServer() as server:
        bed = ServiceTestBed("redis", redis_url=server.url)
        with bed.opened():
            bed.try_out(claims.dead_letters)
        with Redis.from_url(server.url) as client:
            assert client.keys("*") == []


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_that_is_switched_off_loses_its_points(feature: str) -> None:
    bed = ServiceTestBed(without=frozenset({feature}))
    with pytest.raises(ClaimError):
        bed.try_out(LOSES[feature])
    assert ServiceTestBed().try_out(LOSES[feature])


def test_the_report_has_every_claim_and_the_sum(tmp_path: Path) -> None:
    file = tmp_path / "evaluation.md"
    done = CliRunner().invoke(app, ["evaluate", "--without", "retry", "-o", str(file)])
    assert done.exit_code == 1
    text = file.read_text()
    assert f'Made by `queuesim evaluate --backend sim --without "retry" -o {file}`.' in text
    assert "19 of 20 points, on the backend sim, without retry, in virtual time" in text
    assert text.count("\n| ") == 4 + 1 + len(CLAIMS)
    assert "19 of 20 points on sim" in done.output


def test_several_backends_have_a_section_each() -> None:
    beds = [ServiceTestBed("sim"), ServiceTestBed("redis")]
    text = report([(bed, []) for bed in beds], "c")
    assert text.startswith("# Evaluation\n\nMade by `c`.\n\n## sim\n")
    assert "## redis\n\n0 of 0 points, on the backend redis, in real time." in text


def test_an_unknown_backend_or_feature_is_refused() -> None:
    with pytest.raises(EvaluationError, match='no backend "simm"'):
        ServiceTestBed("simm")
    with pytest.raises(EvaluationError, match='no feature "retries"'):
        ServiceTestBed(without=frozenset({"retries"}))
    assert CliRunner().invoke(app, ["evaluate", "--backend", "x"]).exit_code == 2


def test_a_server_that_is_not_there_is_refused_before_any_claim_is_tried() -> None:
    done = CliRunner().invoke(app, ["evaluate", "--backend", "redis", "--redis-url", "redis://127.0.0.1:1"])
    assert done.exit_code == 2
    assert "redis://127.0.0.1:1 can't be reached" in done.output
    assert "points" not in done.output
