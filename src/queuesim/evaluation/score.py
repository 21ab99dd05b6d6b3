"""The score: every claim is tried, and counts if there is evidence for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from queuesim.evaluation import claims
from queuesim.evaluation.ground import ClaimError, Desk, Ground

Check = Callable[[Desk], Awaitable[str]]
CLAIMS: tuple[tuple[str, Check, int], ...] = (
    ("processor", claims.concurrency, 1),
    ("processor", claims.limiter, 1),
    ("processor", claims.handlers, 2),
    ("processor", claims.validation, 1),
    ("processor", claims.retention, 1),
    ("processor", claims.metrics, 1),
    ("processor", claims.job_ids, 1),
    ("processor", claims.after_commit, 1),
    ("processor", claims.bulk, 1),
    ("scheduled tasks", claims.cron, 1),
    ("scheduled tasks", claims.pages, 1),
    ("scheduled tasks", claims.overlaps, 1),
    ("scheduled tasks", claims.restart, 1),
    ("scheduled tasks", claims.administration, 1),
    ("error handling", claims.categories, 1),
    ("error handling", claims.retry, 1),
    ("error handling", claims.not_retryable, 1),
    ("error handling", claims.dead_letters, 1),
    ("error handling", claims.recovery, 1),
)
"""Area, check and points: 10, 5 and 5."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a claim came out."""

    area: str
    name: str
    claim: str
    points: int
    """That it is worth."""
    scored: int
    evidence: str
    """What was seen: for the claim, or instead."""


def evaluate(ground: Ground) -> Iterator[Verdict]:
    """Try every claim, one after the other."""
    for area, check, points in CLAIMS:
        claim = " ".join((check.__doc__ or "").split())
        name = check.__name__.replace("_", " ")
        try:
            evidence = ground.try_out(check)
        except ClaimError as error:
            yield Verdict(area, name, claim, points, 0, str(error))
        except Exception as error:  # noqa: BLE001 - whatever breaks is no evidence
            yield Verdict(area, name, claim, points, 0, f"{type(error).__name__}: {error}")
        else:
            yield Verdict(area, name, claim, points, points, evidence)


def report(sections: list[tuple[Ground, list[Verdict]]], command: str) -> str:
    """The evaluation as Markdown: a section for each ground that claims were tried on."""
    lines = ["# Evaluation", "", f"Made by `{command}`.", ""]
    for ground, verdicts in sections:
        lines += _section(ground, verdicts)
    return "\n".join(lines)


def _section(ground: Ground, verdicts: list[Verdict]) -> list[str]:
    total, possible = sum(v.scored for v in verdicts), sum(v.points for v in verdicts)
    off = f", without {', '.join(sorted(ground.without))}" if ground.without else ""
    time = "real time" if ground.live else "virtual time"
    lines = [
        f"## {ground.backend}", "",
        f"{total} of {possible} points, on the backend {ground.backend}{off}, in {time}.", "",
        "| area | points | of |", "|---|---:|---:|",
    ]  # fmt: skip
    for area in dict.fromkeys(v.area for v in verdicts):
        mine = [v for v in verdicts if v.area == area]
        lines.append(f"| {area} | {sum(v.scored for v in mine)} | {sum(v.points for v in mine)} |")
    lines += ["", "| claim | points | evidence |", "|---|---:|---|"]
    lines += [f"| {v.claim} | {v.scored} of {v.points} | {v.evidence.replace('|', '/')} |" for v in verdicts]
    return [*lines, ""]
