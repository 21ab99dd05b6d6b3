"""Bernoulli feedback: a job that fails goes back to the tail of the queue, which is what an immediate retry does."""

from __future__ import annotations

from dataclasses import dataclass

from queuesim.theory.general import pollaczek_khinchine
from queuesim.theory.model import Model, require_probability, require_scv


@dataclass(frozen=True)
class BernoulliFeedback(Model):
    """M/G/1 (M/M/1 by default) where each service ends with a return to the tail of the queue with probability p.

    Every visit draws a new service time, and there is no limit to the visits. Waiting time and time in system are of
    the job, over all its visits.

    Source: Takács 1963, A single-server queue with feedback. The number in system does not depend on where the job
    returns to, because the server can't distinguish the waiting jobs. Returned to the head instead, a job is one long
    service of a geometric number of visits: so L, and by Little's law the mean time in system, are M/G/1's with that
    service. For exponential service the long one is exponential again: W is M/M/1's with service rate mu (1 - p). The
    distribution of the time in system is another matter, because the visits of a job depend on each other: see Takács.
    """

    feedback_probability: float
    """p: probability that a service ends with a return."""
    scv: float = 1.0
    """Squared coefficient of variation of one service; 1 is exponential."""

    def __post_init__(self) -> None:
        require_probability("feedback_probability", self.feedback_probability)
        require_scv("scv", self.scv)
        super().__post_init__()

    @property
    def mean_visits(self) -> float:
        """Mean number of services of a job: 1 / (1 - p)."""
        return 1 / (1 - self.feedback_probability)

    @property
    def mean_work(self) -> float:
        return self.mean_service * self.mean_visits

    @property
    def scv_of_work(self) -> float:
        """Squared coefficient of variation of a job's services together: (1 - p) scv + p, a geometric sum's."""
        return (1 - self.feedback_probability) * self.scv + self.feedback_probability

    @property
    def mean_waiting_time(self) -> float:
        """Mean seconds in the queue over all visits. Source: Takács 1963, by way of Pollaczek-Khinchine as above."""
        return pollaczek_khinchine(self, self.scv_of_work)

    @property
    def mean_waiting_time_per_visit(self) -> float:
        """Mean seconds in the queue of one visit, over all visits of all jobs (Little's law for the visits)."""
        return self.mean_waiting_time / self.mean_visits

    @property
    def mean_first_waiting_time(self) -> float:
        """Mean seconds in the queue before the first service.

        Source: arrivals see time averages: a service for each job that waits, and for the one in service the mean
        residual service, mean_service (1 + scv) / 2 (Kleinrock vol. 1, section 5.2). Later visits differ, save for
        exponential service, where every visit has the same mean.
        """
        residual = self.mean_service * (1 + self.scv) / 2
        return self.mean_queue_length * self.mean_service + self.utilisation * residual
