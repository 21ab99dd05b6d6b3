from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from queuesim.cli.app import app
from queuesim.evaluation import error_claims, processor_claims, scheduled_claims
from queuesim.evaluation.ground import FEATURES, ClaimError, EvaluationError, Ground
from queuesim.evaluation.score import CLAIMS, evaluate, report

LOSES: dict[str, Callable[..., Any]] = {
    "limiter": processor_claims.limiter,
    "validation": processor_claims.validation,
    "retention": processor_claims.retention,
    "job ids": processor_claims.job_ids,
    "outbox": processor_claims.after_commit,
    "deduplication": scheduled_claims.overlaps,
    "cron": scheduled_claims.cron,
    "roles": scheduled_claims.administration,
    "retry": error_claims.retry,
    "categories": error_claims.categories,
    "dead letters": error_claims.dead_letters,
    "stalled check": error_claims.recovery,
}


def test_the_document_gives_20_points() -> None:
    areas = {area: sum(points for other, _, points in CLAIMS if other == area) for area, _, _ in CLAIMS}
    assert areas == {"processor": 10, "scheduled tasks": 5, "error handling": 5}


@pytest.mark.parametrize("backend", ["sim"])
def test_every_claim_scores(backend: str) -> None:
    verdicts = list(evaluate(Ground(backend)))
    assert [(v.name, v.evidence) for v in verdicts if not v.scored] == []
    assert sum(v.scored for v in verdicts) == 20


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_that_is_switched_off_loses_its_points(feature: str) -> None:
    ground = Ground(without=frozenset({feature}))
    with pytest.raises(ClaimError):
        ground.try_out(LOSES[feature])
    assert Ground().try_out(LOSES[feature])


def test_the_report_has_every_claim_and_the_sum(tmp_path: Path) -> None:
    file = tmp_path / "evaluation.md"
    done = CliRunner().invoke(app, ["evaluate", "--without", "retry", "-o", str(file)])
    assert done.exit_code == 1
    text = file.read_text()
    assert "19 of 20 points, on the backend sim, without retry" in text
    assert text.count("\n| ") == 4 + 1 + len(CLAIMS)
    assert report(Ground(), [], "c").startswith("# Evaluation")


def test_an_unknown_backend_or_feature_is_refused() -> None:
    with pytest.raises(EvaluationError, match='no backend "simm"'):
        Ground("simm")
    with pytest.raises(EvaluationError, match='no feature "retries"'):
        Ground(without=frozenset({"retries"}))
    assert CliRunner().invoke(app, ["evaluate", "--backend", "x"]).exit_code == 2
