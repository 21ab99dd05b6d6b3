"""Formulas beside Markov chains that are solved by linear algebra, for the systems of published tables.

Every number is computed here twice, by the formula and by its chain; from the tables come only the systems, and the
figures that they print, which both must round to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from queuesim.theory import chains
from queuesim.theory.batches import MXM1
from queuesim.theory.deterministic import MDc
from queuesim.theory.erlang import erlang_b
from queuesim.theory.finite_source import MachineRepair
from queuesim.theory.general import DM1, GGc
from queuesim.theory.limiter import WindowLimiter
from queuesim.theory.markovian import MMc, MMcK

CLOSE = 1e-6
"""Relative difference that the formula and its chain may have: chains are cut off where next to nothing is left."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One figure of one system."""

    source: str
    system: str
    figure: str
    formula: float
    chain: float
    """The same by linear algebra."""
    printed: str = ""
    """What the table prints; "": it is not quoted."""

    @property
    def difference(self) -> float:
        """Formula over chain, less 1."""
        return self.formula / self.chain - 1

    @property
    def agrees(self) -> bool:
        """Whether both are the same, and round to what is printed."""
        digits = len(self.printed.rpartition(".")[2])
        rounds = not self.printed or f"{self.formula:.{digits}f}" == self.printed
        return abs(self.difference) <= CLOSE and rounds


def table_rows() -> list[TableRow]:
    """All rows, each solved anew."""
    return [*_erlang_b(), *_erlang_c(), *_limited(), *_constant(), *_batches(), *_repair(), *_regular(), *_limiter()]


def _loss_chain(load: float, servers: int, places: int) -> chains.Array:
    deaths = [float(min(n, servers)) for n in range(1, places + 1)]
    return chains.stationary(chains.birth_death([load] * places, deaths))


def _erlang_b() -> Iterator[TableRow]:
    for servers, load in ((5, 1.361), (10, 4.461), (20, 12.03), (50, 37.90), (100, 84.06)):
        chain = _loss_chain(load, servers, servers)[-1]
        system = f"M/M/{servers}/{servers}, {load:g} erlangs"
        yield TableRow("Erlang B, 1 %", system, "blocking", erlang_b(load, servers), float(chain), "0.010")


def _erlang_c() -> Iterator[TableRow]:
    for servers, utilisation, states, waits in ((1, 0.9, 700, "0.90"), (5, 0.9, 400, "0.76"), (20, 0.9, 400, "0.55")):
        model = MMc(utilisation * servers, 1.0, servers)
        chain = _loss_chain(model.offered_load, servers, states)
        source, system = "Adan & Resing, M/M/c", f"M/M/{servers}, rho {utilisation:g}"
        waiting = float(chain[servers:].sum())
        yield TableRow(source, system, "P(wait)", model.probability_of_waiting, waiting, waits)
        queue = chains.queue_length(chain, servers)
        yield TableRow(source, system, "mean wait", model.mean_waiting_time, queue / model.arrival_rate)


def _limited() -> Iterator[TableRow]:
    for load, servers, places in ((4.0, 5, 10), (5.0, 5, 20), (15.0, 10, 30)):
        model, chain = MMcK(load, 1.0, servers, places), _loss_chain(load, servers, places)
        source, system = "Gross et al., 2.5", f"M/M/{servers}/{places}, {load:g} erlangs"
        yield TableRow(source, system, "blocking", model.blocking_probability, float(chain[-1]))
        accepted = load * (1 - float(chain[-1]))
        yield TableRow(source, system, "throughput", model.throughput, accepted)
        yield TableRow(
            source, system, "mean wait", model.mean_waiting_time, chains.queue_length(chain, servers) / accepted
        )


def _constant() -> Iterator[TableRow]:
    for servers, utilisation in ((1, 0.9), (2, 0.8), (5, 0.8), (10, 0.9), (25, 0.95)):
        load = utilisation * servers
        model, states = MDc(load, 1.0, servers), 400
        queue = chains.stationary_of_steps(chains.constant_service(load, servers, states))
        free = float(np.convolve(queue, _poisson(load, servers))[:servers].sum())
        source, system = "Seelen, Tijms & van Hoorn, M/D/c", f"M/D/{servers}, rho {utilisation:g}"
        yield TableRow(source, system, "P(wait)", model.probability_of_waiting, 1 - free)
        yield TableRow(source, system, "mean wait", model.mean_waiting_time, float(queue @ np.arange(states)) / load)


def _poisson(mean: float, count: int) -> chains.Array:
    """Term by term, as long as that does not underflow: by another way than the formulas take."""
    factors = mean / np.maximum(np.arange(count), 1)
    factors[0] = math.exp(-mean)
    return np.asarray(np.cumprod(factors), dtype=np.float64)


def _batches() -> Iterator[TableRow]:
    for size, utilisation in ((2, 0.5), (5, 0.7)):
        rate = utilisation / size
        chain = chains.stationary(chains.batch_arrivals(rate, [0.0] * (size - 1) + [1.0], 1.0, 1, 500))
        model = MXM1.fixed(rate, 1.0, size)
        queue = chains.queue_length(chain, 1)
        yield TableRow("Gross et al., 3.1", f"M^{size}/M/1, rho {utilisation:g}", "Lq", model.mean_queue_length, queue)
    sizes = [0.25 * 0.75**k for k in range(120)]
    chain = chains.stationary(chains.batch_arrivals(0.15, sizes, 1.0, 1, 500))
    model = MXM1.geometric(0.15, 1.0, 4.0)
    system = "M^X/M/1, X geometric of mean 4, rho 0.6"
    yield TableRow("Gross et al., 3.1", system, "Lq", model.mean_queue_length, chains.queue_length(chain, 1))


def _repair() -> Iterator[TableRow]:
    # X = T / (T + U), service over service and running time
    for producers, servers, factor, delayed, efficient in (
        (5, 1, 0.125, "0.473", "0.920"),
        (10, 2, 0.15, "", ""),
        (20, 4, 0.2, "", ""),
    ):
        think = (1 - factor) / factor
        model = MachineRepair(producers, think, 1.0, servers)
        chain = _repair_chain(producers, think, servers)
        source = "Peck & Hazelwood"
        system = f"M/M/{servers}//{producers}, X {factor:g}"
        seen = float(_repair_chain(producers - 1, think, servers)[servers:].sum())
        yield TableRow(source, system, "D, P(wait)", model.probability_of_waiting, seen, delayed)
        efficiency = 1 - chains.queue_length(chain, servers) / producers
        yield TableRow(source, system, "F, efficiency", 1 - model.mean_queue_length / producers, efficiency, efficient)


def _repair_chain(producers: int, think: float, servers: int) -> chains.Array:
    births = [(producers - n) / think for n in range(producers)]
    deaths = [float(min(n, servers)) for n in range(1, producers + 1)]
    return chains.stationary(chains.birth_death(births, deaths))


def _regular() -> Iterator[TableRow]:
    for utilisation in (0.5, 0.8, 0.9):
        # n jobs before an arrival; until the next one, a Poisson number of the n + 1 leave, as far as they go
        states = 300
        left = _poisson(1 / utilisation, states + 1)
        steps = np.zeros((states, states))
        for n in range(states):
            np.add.at(steps[n], np.minimum(n + 1 - np.arange(n + 1), states - 1), left[: n + 1])
            steps[n, 0] += 1 - steps[n].sum()
        found = chains.stationary_of_steps(steps)
        model = DM1(utilisation, 1.0)
        mean = float(found @ np.arange(states))
        yield TableRow(
            "Kleinrock vol. 1, 6.4", f"D/M/1, rho {utilisation:g}", "mean wait", model.mean_waiting_time, mean
        )


def _limiter() -> Iterator[TableRow]:
    for rate, most in ((2.0, 3), (8.0, 10), (18.0, 20)):
        chain = _limiter_chain(rate, most)
        model = WindowLimiter(rate, most, 1.0)
        system = f"{most} starts per 1 s, {rate:g}/s arrive"
        yield TableRow("none: see docs/theory.md", system, "Lq", model.mean_queue_length, chain)


POINTS = 200
"""Moments of a window at which its queue is looked at: Simpson's rule between them."""


def _limiter_chain(rate: float, most: int, states: int = 200) -> float:
    """The mean queue behind a limiter with windows of 1 s: jobs left over when a window closes, and those after it."""
    arrivals = _poisson(rate, states + most)
    steps = np.zeros((states, states))
    begun = np.maximum(np.arange(states), 1)
    for n in range(states):
        after = np.clip(begun[n] + np.arange(len(arrivals)) - most, 0, states - 1)
        np.add.at(steps[n], after, arrivals)
        steps[n, states - 1] += 1 - steps[n].sum()
    left = chains.stationary_of_steps(steps)
    counts = np.arange(states)
    above = left @ np.maximum(begun[:, None] + counts - most, 0)
    moments = [float(above @ (_poisson(rate * i / POINTS, states) if i else counts == 0)) for i in range(POINTS + 1)]
    weights = np.array([1, *([4, 2] * (POINTS // 2 - 1)), 4, 1]) / (3 * POINTS)
    return float(weights @ moments) / (1 + float(left[0]) / rate)


# -- Approximations


@dataclass(frozen=True, slots=True)
class ApproximationRow:
    """The mean waiting time of one system, exactly and by two approximations."""

    system: str
    exact: float
    allen_cunneen: float
    corrected: float
    """By Krämer and Langenbach-Belz."""


def approximation_rows() -> list[ApproximationRow]:
    """Systems that are known exactly by a formula or a chain."""
    rows = []
    for servers, utilisation in ((2, 0.7), (5, 0.8), (10, 0.9), (25, 0.95)):
        model = MDc(utilisation * servers, 1.0, servers)
        rows.append(_approximated(f"M/D/{servers}", utilisation, servers, 1.0, 0.0, model.mean_waiting_time))
    rows += [
        _approximated("D/M/1", utilisation, 1, 0.0, 1.0, DM1(utilisation, 1.0).mean_waiting_time)
        for utilisation in (0.5, 0.8, 0.95)
    ]
    for name, scv, phases in (("E2", 0.5, _erlang(2)), ("E4", 0.25, _erlang(4)), ("H2", 4.0, _balanced(4.0))):
        for servers, utilisation in ((1, 0.8), (4, 0.8), (4, 0.95)):
            waiting = _phased_waiting(phases, utilisation * servers, servers)
            rows.append(_approximated(f"{name}/M/{servers}", utilisation, servers, scv, 1.0, waiting))
    return rows


def _approximated(
    name: str, utilisation: float, servers: int, arrivals: float, services: float, exact: float
) -> ApproximationRow:
    model = GGc(utilisation * servers, 1.0, servers, arrivals, services)
    system = f"{name}, rho {utilisation:g}"
    return ApproximationRow(system, exact, model.mean_waiting_time, model.corrected_mean_waiting_time)


Phases = Callable[[float], tuple[Sequence[float], Sequence[float], chains.Array]]
"""Makes the phases of a time between arrivals of a given rate: start, rates and moves of `chains.phased_arrivals`."""


def _erlang(phases: int) -> Phases:
    """Phases one after another: an SCV of 1 / phases."""
    return lambda rate: ([1.0] + [0.0] * (phases - 1), [phases * rate] * phases, np.eye(phases, k=1))


def _balanced(scv: float) -> Phases:
    """One of two phases, with balanced means: Whitt 1982, Approximating a point process by a renewal process."""
    share = (1 + math.sqrt((scv - 1) / (scv + 1))) / 2
    return lambda rate: ([share, 1 - share], [2 * share * rate, 2 * (1 - share) * rate], np.zeros((2, 2)))


def _phased_waiting(phases: Phases, rate: float, servers: int) -> float:
    start, rates, moves = phases(rate)
    states = 250 if len(start) > 2 else 500
    chain = chains.stationary(chains.phased_arrivals(start, rates, moves, 1.0, servers, states))
    return chains.queue_length(chain, servers, len(start)) / rate


# -- As Markdown


def page(rows: Sequence[TableRow], approximations: Sequence[ApproximationRow]) -> list[str]:
    """Both tables, as the lines of a section each."""
    agreeing = sum(row.agrees for row in rows)
    return [
        "",
        "## Published tables",
        "",
        "The systems of published tables, each computed twice: by the formula, and by its Markov chain, solved by",
        "linear algebra. Mean service is 1 s. Where the table's own figure is quoted, both must round to it.",
        "",
        "| table | system | figure | formula | chain | difference | printed | verdict |",
        "|---|---|---|--:|--:|--:|--:|---|",
        *(_table_line(row) for row in rows),
        "",
        f"{agreeing} of {len(rows)} rows agree.",
        "",
        "## Approximations",
        "",
        "The mean waiting time of systems that are known exactly (M/D/c and D/M/1 by their formulas, arrivals in",
        "phases by their chains), in services, and how far two approximations by two moments are off. E2 and E4 are",
        "Erlang times (SCV 1/2 and 1/4), H2 is hyperexponential (SCV 4).",
        "",
        "| system | exact | Allen-Cunneen | off | Krämer and Langenbach-Belz | off |",
        "|---|--:|--:|--:|--:|--:|",
        *(_approximation_line(row) for row in approximations),
    ]


def _table_line(row: TableRow) -> str:
    cells = (
        *(row.source, row.system, row.figure, f"{row.formula:.6g}", f"{row.chain:.6g}"),
        # the last digits differ from machine to machine
        "below 1e-9" if abs(row.difference) < 1e-9 else f"{row.difference:.0e}",
        *(row.printed, "agrees" if row.agrees else "**differs**"),
    )
    return f"| {' | '.join(cells)} |"


def _approximation_line(row: ApproximationRow) -> str:
    cells = [row.system, f"{row.exact:.4f}"]
    for value in (row.allen_cunneen, row.corrected):
        cells += [f"{value:.4f}", f"{value / row.exact - 1:+.1%}"]
    return f"| {' | '.join(cells)} |"
