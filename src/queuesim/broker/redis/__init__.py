"""The Redis broker: a queue on BullMQ's own layout, worked by our own Lua scripts."""

from queuesim.broker.redis.eventlog import EventLog
from queuesim.broker.redis.managing import Managing
from queuesim.broker.redis.scheduling import Scheduling
from queuesim.broker.redis.taking import Taking
from queuesim.broker.redis.trees import Trees

__all__ = ["RedisBroker"]


class RedisBroker(Taking, Managing, Scheduling, Trees, EventLog):
    """A queue on a Redis server, real or not. BullMQ 6 can be on the other end of it.

    Keys, fields, scores, events and markers are BullMQ 6.7's, so that producers and workers of both kinds may share
    the queue. The time is what callers say it is, except where the server alone keeps it: locks, limiter windows and
    deduplication ids expire by the server's clock.
    """
