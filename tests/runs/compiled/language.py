"""Scenarios of the language that the compiled engine plays, drawn; many of their times are equal, for the order of what
happens at one instant is what is hard."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Mapping = dict[str, Any]

GRID = st.integers(1, 8).map(lambda quarters: quarters / 4)
TIMES = GRID | st.floats(0.01, 3.0).map(lambda seconds: round(seconds, 3))
"""Seconds; half of them multiples of a quarter."""
CATEGORIES = ("database", "network", "validation", "unknown")


def services() -> st.SearchStrategy[Any]:
    """A distribution of service times."""
    return st.one_of(
        st.just(0.0).map(lambda zero: {"constant": zero}),
        TIMES.map(lambda mean: {"constant": mean}),
        TIMES.map(lambda mean: {"exponential": mean}),
        TIMES.map(lambda mean: {"lognormal": {"mean": mean, "p95": 2 * mean}}),
        TIMES.map(lambda mean: {"gamma": {"mean": mean, "shape": 2.0}}),
        TIMES.map(lambda low: {"uniform": {"low": low, "high": low + 1.0}}),
    )


def backoffs() -> st.SearchStrategy[Any]:
    """How long failed jobs wait."""
    return GRID | st.fixed_dictionaries(
        {"type": st.sampled_from(["fixed", "exponential"]), "delay": TIMES | st.just(0.0)},
        optional={"jitter": st.sampled_from([0.25, 1.0]), "cap": TIMES},
    )


def rates() -> st.SearchStrategy[Any]:
    """Probabilities of errors, which add up to 1 at most."""
    return st.dictionaries(
        st.sampled_from(CATEGORIES),
        st.sampled_from([0.0, 0.1, 0.25]) | st.lists(st.sampled_from([0.0, 0.05, 0.25]), min_size=1, max_size=3),
        max_size=3,
    )


def job_types() -> st.SearchStrategy[Mapping]:
    """One type of job."""
    poison = st.sampled_from([0.1, 0.5]) | st.fixed_dictionaries(
        {"probability": st.sampled_from([0.2, 1.0]), "category": st.sampled_from(CATEGORIES)}
    )
    return st.fixed_dictionaries(
        {"service": services()},
        optional={
            "weight": st.integers(1, 5),
            "errors": rates(),
            "poison": poison,
            "timeout": TIMES,
            "priority": st.integers(0, 3),
            "delay": TIMES,
            "attempts": st.integers(1, 5),
            "backoff": backoffs(),
            "lifo": st.booleans(),
        },
    )


def arrivals() -> st.SearchStrategy[Any]:
    """A rate, or stages of it."""
    stage = st.fixed_dictionaries({"duration": GRID.map(lambda time: 4 * time)}).flatmap(
        lambda stage: st.sampled_from(["rate", "target"]).flatmap(
            lambda key: st.sampled_from([0.0, 1.0, 4.0]).map(lambda rate: {**stage, key: rate})
        )
    )
    return st.sampled_from([0.5, 1.0, 2.0, 4.0, 3.3]) | st.fixed_dictionaries(
        {"stages": st.lists(stage, min_size=1, max_size=4)}
    )


def closed_models() -> st.SearchStrategy[Mapping]:
    """Producers that wait for their jobs; the pauses keep one that never works from adding jobs for ever at once."""
    pauses = st.one_of(
        GRID.map(lambda seconds: {"constant": seconds}),
        GRID.map(lambda mean: {"exponential": mean}),
        GRID.map(lambda mean: {"uniform": {"low": mean, "high": 2 * mean}}),
    )
    return st.fixed_dictionaries({"producers": st.integers(1, 5), "think": pauses})


def loads(names: list[str]) -> st.SearchStrategy[Mapping]:
    """One load entry, without its name."""
    chosen = {"jobs": st.sampled_from(names) | st.dictionaries(st.sampled_from(names), st.integers(1, 3), min_size=1)}
    span = {"start": GRID, "duration": GRID.map(lambda time: 8 * time)}
    repeated = st.fixed_dictionaries(
        {"size": st.integers(1, 12), "every": GRID}, optional={"offset": GRID, "until": GRID.map(lambda time: 5 * time)}
    ).filter(lambda bulk: bulk.get("until", 99.0) >= bulk.get("offset", 0.0))
    once = st.fixed_dictionaries({"size": st.integers(1, 40), "at": GRID | st.just(0.0)})
    return st.one_of(
        st.fixed_dictionaries({"constant": arrivals()}, optional=chosen | span),
        st.fixed_dictionaries({"poisson": arrivals()}, optional=chosen | span),
        st.fixed_dictionaries({"bulk": repeated | once}, optional=chosen | span),
        st.fixed_dictionaries({"backlog": st.integers(1, 60)}, optional=chosen),
        st.fixed_dictionaries({"closed": closed_models()}, optional=chosen | span),
    )


def limiters() -> st.SearchStrategy[Mapping]:
    """Starts per window."""
    return st.fixed_dictionaries({"max": st.integers(1, 6), "duration": TIMES | st.just(40.0)})


def workers() -> st.SearchStrategy[Mapping]:
    """One kind of workers, without its name."""
    return st.fixed_dictionaries(
        {"count": st.integers(1, 3), "concurrency": st.integers(1, 4)},
        optional={"limiter": limiters(), "start": GRID, "lock_duration": st.sampled_from([2.0, 30.0])},
    )


def queues() -> st.SearchStrategy[Mapping]:
    """The queue's settings."""
    policy = st.fixed_dictionaries(
        {}, optional={"retry": st.booleans(), "attempts": st.integers(1, 4), "backoff": backoffs()}
    )
    kept = st.sampled_from([0, 3, 20])
    return st.fixed_dictionaries(
        {},
        optional={
            "attempts": st.integers(1, 4),
            "backoff": backoffs(),
            "keep": st.fixed_dictionaries({}, optional={"completed": kept, "failed": kept}),
            "concurrency": st.integers(1, 5),
            "rate_limit": limiters(),
            "dead_letter": st.just(False),
            "retry": st.dictionaries(st.sampled_from(CATEGORIES), policy, max_size=2),
        },
    )


def named(entries: list[Mapping], kind: str) -> list[Mapping]:
    """The entries, each with a name of its own."""
    return [{"name": f"{kind}{i}", **entry} for i, entry in enumerate(entries)]


@st.composite
def scenarios(draw: st.DrawFn) -> Mapping:
    """A scenario without user code, faults, traces and closed loads."""
    jobs = draw(st.lists(job_types(), min_size=1, max_size=3))
    types = {f"job{i}": job for i, job in enumerate(jobs)}
    overhead = st.fixed_dictionaries(
        {}, optional={"pickup": TIMES.map(lambda time: time / 10), "add": st.just(0.25) | st.just(0.01)}
    )
    if not any("timeout" in job for job in jobs):
        overhead = st.fixed_dictionaries({}, optional={"attempt": st.sampled_from([0.25, 0.01])}) | overhead
    return {
        "name": "drawn",
        "seed": draw(st.integers(0, 2**32 - 1)),
        "duration": draw(st.integers(4, 40).map(float) | st.floats(4.0, 40.0)),
        "warmup": draw(st.sampled_from([0.0, 2.0])),
        "drain": draw(st.sampled_from([True, True, False, 5.0, 0.7])),
        "queue": draw(queues()),
        "workers": named(draw(st.lists(workers(), min_size=1, max_size=2)), "w"),
        "jobs": types,
        "load": named(draw(st.lists(loads(list(types)), min_size=1, max_size=3)), "load"),
        "overhead": draw(overhead),
    }
