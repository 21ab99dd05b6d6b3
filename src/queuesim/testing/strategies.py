"""Hypothesis strategies: workloads, fault schedules and whole scenarios, as mappings that `queuesim.run` takes.

Hypothesis shrinks them: fewer faults, fewer jobs, shorter times. The seed is a replay token and nothing to shrink.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from queuesim.extras import need
from queuesim.faults.registry import FAULTS
from queuesim.testing.search import usual_kinds

need("hypothesis", "test", "strategies")

from hypothesis import strategies as st  # noqa: E402

Mapping = dict[str, Any]


def workloads(names: Sequence[str] = ("a",), busiest: float = 3.0) -> st.SearchStrategy[list[Mapping]]:
    """Load entries: a steady stream, and perhaps a burst, of jobs of these types.

    Args:
        busiest: jobs per second at most.
    """
    steady = st.builds(
        lambda rate, jobs: {"name": "steady", "poisson": rate, "jobs": jobs},
        st.floats(0.1, busiest).map(lambda rate: round(rate, 2)),
        st.lists(st.sampled_from(list(names)), min_size=1, unique=True).map(lambda chosen: dict.fromkeys(chosen, 1)),
    )
    burst = st.builds(
        lambda size, at: {"name": "burst", "bulk": {"at": float(at), "size": size}, "jobs": {names[0]: 1}},
        st.integers(1, 50),
        st.integers(0, 10),
    )
    return st.tuples(steady, st.none() | burst).map(lambda pair: [entry for entry in pair if entry is not None])


def faults(duration: float = 60.0, kinds: Sequence[str] | None = None) -> st.SearchStrategy[Mapping]:
    """One fault, for a run of `duration` seconds; of one of these kinds, if they are given."""
    chosen = usual_kinds() if kinds is None else list(kinds)
    return st.builds(
        lambda kind, rng: {kind: FAULTS[kind].draw(rng, duration)},
        st.sampled_from(chosen),
        st.randoms(use_true_random=False),
    )


def fault_schedules(
    duration: float = 60.0, kinds: Sequence[str] | None = None, most: int = 4
) -> st.SearchStrategy[list[Mapping]]:
    """Up to `most` faults of a run."""
    return st.lists(faults(duration, kinds), max_size=most)


def scenarios(
    duration: float = 60.0,
    *,
    jobs: Mapping | None = None,
    kinds: Sequence[str] | None = None,
    **fixed: Any,
) -> st.SearchStrategy[Mapping]:
    """Whole scenarios that drain: workers, queue, load and faults.

    Args:
        jobs: the job types, as a scenario has them; one with exponential times if left out.
        kinds: of faults.
        fixed: keys of the scenario that are not drawn.
    """
    types = jobs or {"a": {"service": {"exponential": 0.5}, "errors": {"network": 0.05}}}
    drawn: dict[str, st.SearchStrategy[Any]] = {
        "seed": st.integers(0, 2**32 - 1),
        "workers": st.fixed_dictionaries(
            {"name": st.just("w"), "count": st.integers(1, 3), "concurrency": st.integers(1, 5)}
        ),
        "queue": st.fixed_dictionaries({"attempts": st.integers(1, 4), "backoff": st.just(1.0)}),
        "load": workloads(list(types)),
        "faults": fault_schedules(duration, kinds),
    }
    constant = {"name": "drawn", "duration": duration, "drain": True, "jobs": types}
    keys = {**{key: st.just(value) for key, value in constant.items()}, **drawn}
    keys.update({key: st.just(value) for key, value in fixed.items()})
    return st.fixed_dictionaries(keys)
