"""Jobs that arrive in batches: M^X/M/1 and M^X/G/1 exactly, batches at regular times on several servers roughly."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from queuesim.theory.general import GGc
from queuesim.theory.model import (
    Model,
    require_count,
    require_positive,
    require_scv,
    require_servers,
    require_stable,
)


@dataclass(frozen=True)
class MXG1(Model):
    """M^X/G/1: batches arrive as a Poisson process, one server. The jobs of a batch are served one after another.

    `arrival_rate` is of jobs, not of batches.

    Source: Gross, Shortle, Thompson & Harris, section 3.1 (M^[X]/M/1); Burke 1975, Delays in single-server queues with
    batch input: a batch waits as a job of M/G/1 whose service is that of the whole batch, and a job of it for those
    before it, too.
    """

    mean_batch: float
    """Mean jobs of a batch, 1 or more."""
    batch_scv: float
    """Squared coefficient of variation of the size of a batch: 0 for batches of one size."""
    scv: float
    """Squared coefficient of variation of a service."""

    def __post_init__(self) -> None:
        require_positive("mean_batch", self.mean_batch)
        if self.mean_batch < 1:
            raise ValueError(f"mean_batch must be 1 or more, not {self.mean_batch}")
        require_scv("batch_scv", self.batch_scv)
        require_scv("scv", self.scv)
        super().__post_init__()

    @property
    def batch_rate(self) -> float:
        """Batches per second."""
        return self.arrival_rate / self.mean_batch

    @property
    def mean_batch_waiting_time(self) -> float:
        """Mean seconds until the first job of a batch starts. Source: Pollaczek-Khinchine, for whole batches."""
        scv = self.batch_scv + self.scv / self.mean_batch
        batch = self.mean_batch * self.mean_service
        return self.utilisation * (1 + scv) * batch / (2 * (1 - self.utilisation))

    @property
    def mean_waiting_time(self) -> float:
        """That of the batch, and the services of the jobs before: (E[X**2] - E[X]) / (2 E[X]) of them on average."""
        before = (self.mean_batch * (1 + self.batch_scv) - 1) / 2
        return self.mean_batch_waiting_time + before * self.mean_service

    @property
    def probability_of_waiting(self) -> float:
        """The first job of a batch waits if the server is busy; all others always do."""
        return 1 - (1 - self.utilisation) / self.mean_batch


@dataclass(frozen=True)
class MXM1(MXG1):
    """M^X/M/1: batches as a Poisson process, exponential service, one server.

    Source: Gross, Shortle, Thompson & Harris, section 3.1: L = rho (E[X] + E[X**2]) / (2 E[X] (1 - rho)).
    """

    scv: float = field(default=1.0, init=False, repr=False)

    @classmethod
    def fixed(cls, batch_rate: float, mean_service: float, size: int) -> MXM1:
        """Batches of one size. Raises ValueError if it is no whole number, and what the class raises."""
        require_count("size", size)
        return cls(batch_rate * size, mean_service, float(size), 0.0)

    @classmethod
    def geometric(cls, batch_rate: float, mean_service: float, mean_size: float) -> MXM1:
        """Batches of 1, 2, 3, ... jobs, each size less likely than the one before by the same factor."""
        return cls(batch_rate * mean_size, mean_service, mean_size, 1 - 1 / mean_size if mean_size else 0.0)


@dataclass(frozen=True)
class BatchGGc:
    """Batches of one size at independent intervals on `servers` servers: an approximation.

    A batch waits as one job of G/G/1 would whose service is that of the batch on all servers together, and within the
    batch a job waits for those before it. With one server, or for exponential service, that second part is exact where
    a batch finds all servers free. The first part is too small where a batch has few jobs for each server and the
    utilisation is high: servers then run idle while the last jobs of a batch end.

    Source: the decomposition of M^X/G/1 (Burke 1975), with Krämer and Langenbach-Belz 1976 in place
    of Pollaczek-Khinchine.

    Raises:
        ValueError: a parameter out of its range.
        UnstableError: as much work arrives as the servers can do, or more.
    """

    batch_rate: float
    """Batches per second."""
    size: int
    """Jobs of a batch."""
    mean_service: float
    """Mean seconds of one service."""
    servers: int
    arrival_scv: float = 0.0
    """Squared coefficient of variation of the time between batches: 0 for regular ones."""
    scv: float = 1.0
    """Squared coefficient of variation of a service."""

    def __post_init__(self) -> None:
        require_positive("batch_rate", self.batch_rate)
        require_positive("mean_service", self.mean_service)
        require_count("size", self.size)
        require_servers(self.servers)
        require_scv("arrival_scv", self.arrival_scv)
        require_scv("scv", self.scv)
        require_positive("batch_rate x size x mean_service", self.offered_load)
        require_stable(self.offered_load, self.servers, self)

    @property
    def arrival_rate(self) -> float:
        """Jobs per second."""
        return self.batch_rate * self.size

    @property
    def offered_load(self) -> float:
        """Mean number of busy servers, in erlangs."""
        return self.arrival_rate * self.mean_service

    @property
    def utilisation(self) -> float:
        """Fraction of time for which a server is busy."""
        return self.offered_load / self.servers

    @property
    def throughput(self) -> float:
        """Jobs per second that leave: in steady state, as many as arrive."""
        return self.arrival_rate

    @property
    def mean_batch_waiting_time(self) -> float:
        """Mean seconds until the first job of a batch starts."""
        together = self.size * self.mean_service / self.servers
        one = GGc(self.batch_rate, together, 1, self.arrival_scv, self.scv / self.size)
        return one.corrected_mean_waiting_time

    @property
    def mean_waiting_time(self) -> float:
        """Mean seconds until a job starts: that of its batch, and of the jobs before it in the batch.

        The k-th job of more than c waits for k - c ends of services. These come c / mean_service a second, the first
        ones later if services vary less than exponential ones. Source: Cox 1962, Renewal Theory: the mean number of
        renewals of each server up to t tends to t / mean + (scv - 1) / 2.
        """
        behind = max(self.size - self.servers, 0)
        ends = (behind + 1) / 2 / self.servers
        later = (1 - self.scv) / 2 * (1 - 1 / self.servers)
        within = behind / self.size * max(ends + later, 0.0) * self.mean_service
        return self.mean_batch_waiting_time + within

    @property
    def mean_queue_length(self) -> float:
        """Lq: mean number of jobs in the queue. Source: Little 1961."""
        return self.arrival_rate * self.mean_waiting_time

    @property
    def mean_time_in_system(self) -> float:
        """W: mean seconds from arrival to departure."""
        return self.mean_waiting_time + self.mean_service


def superposed_scv(rates: list[float], scvs: list[float], utilisation: float) -> float:
    """Squared coefficient of variation of the time between arrivals of several independent streams together.

    Source: Whitt 1983, The Queueing Network Analyzer: w times the mean of the streams' own, weighted by
    rate, plus 1 - w, with w = 1 / (1 + 4 (1 - rho)**2 (v - 1)) and v = 1 / the sum of the squares of the shares. The
    more streams there are, the nearer it is to that of Poisson, 1.

    Raises:
        ValueError: no stream, or a rate or SCV out of its range.
    """
    if not rates:
        raise ValueError("rates must hold one rate or more")
    for number, (rate, scv) in enumerate(zip(rates, scvs, strict=True), 1):
        require_positive(f"the rate of stream {number}", rate)
        require_scv(f"the SCV of stream {number}", scv)
    total = math.fsum(rates)
    shares = [rate / total for rate in rates]
    spread = 1 / math.fsum(share**2 for share in shares)
    weight = 1 / (1 + 4 * (1 - min(utilisation, 1.0)) ** 2 * (spread - 1))
    own = math.fsum(share * scv for share, scv in zip(shares, scvs, strict=True))
    return weight * own + 1 - weight
