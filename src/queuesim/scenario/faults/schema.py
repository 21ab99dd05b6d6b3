"""A fault as a scenario writes it: its kind, and when it strikes whom."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from queuesim.scenario.base_schema import Section
from queuesim.scenario.faults import cron_schema, handler_schema, queue_schema, redis_schema, worker_schema
from queuesim.scenario.faults.timing_schema import Timing
from queuesim.scenario.unit_schema import refuse
from queuesim.scenario.wording import listing


class FaultEntry(Section):
    """One fault: a mapping with one key, its kind."""

    model_config = ConfigDict(serialize_by_alias=True)

    redis_outage: redis_schema.Outage | None = Field(None, alias="redis.outage")
    redis_latency: redis_schema.Latency | None = Field(None, alias="redis.latency")
    redis_drop: redis_schema.Drop | None = Field(None, alias="redis.drop")
    redis_read_only: redis_schema.ReadOnly | None = Field(None, alias="redis.read-only")
    redis_failover: redis_schema.Failover | None = Field(None, alias="redis.failover")
    redis_restart: redis_schema.Restart | None = Field(None, alias="redis.restart")
    redis_script_flush: redis_schema.ScriptFlush | None = Field(None, alias="redis.script-flush")
    queue_pause: queue_schema.Pause | None = Field(None, alias="queue.pause")
    worker_crash: worker_schema.Crash | None = Field(None, alias="worker.crash")
    worker_freeze: worker_schema.Freeze | None = Field(None, alias="worker.freeze")
    worker_block: worker_schema.Block | None = Field(None, alias="worker.block")
    worker_slow_start: worker_schema.SlowStart | None = Field(None, alias="worker.slow-start")
    worker_deploy: worker_schema.Deploy | None = Field(None, alias="worker.deploy")
    worker_scale: worker_schema.Scale | None = Field(None, alias="worker.scale")
    worker_clock: worker_schema.ClockSkew | None = Field(None, alias="worker.clock")
    handler_error: handler_schema.HandlerError | None = Field(None, alias="handler.error")
    handler_hang: handler_schema.Hang | None = Field(None, alias="handler.hang")
    handler_slow: handler_schema.Slow | None = Field(None, alias="handler.slow")
    handler_poison: handler_schema.PoisonJobs | None = Field(None, alias="handler.poison")
    handler_payload: handler_schema.Payload | None = Field(None, alias="handler.payload")
    database_outage: handler_schema.DatabaseOutage | None = Field(None, alias="database.outage")
    database_slow: handler_schema.SlowQueries | None = Field(None, alias="database.slow")
    database_pool: handler_schema.ExhaustedPool | None = Field(None, alias="database.pool")
    database_deadlock: handler_schema.Deadlock | None = Field(None, alias="database.deadlock")
    database_lost_commit: handler_schema.LostCommit | None = Field(None, alias="database.lost-commit")
    cron_missed: cron_schema.MissedTick | None = Field(None, alias="cron.missed")
    cron_twice: cron_schema.TwoSchedulers | None = Field(None, alias="cron.twice")
    cron_overlap: cron_schema.Overlap | None = Field(None, alias="cron.overlap")
    producer_duplicate: handler_schema.Duplicates | None = Field(None, alias="producer.duplicate")
    producer_retry: handler_schema.RetryAfterLostAnswer | None = Field(None, alias="producer.retry")
    producer_burst: handler_schema.Burst | None = Field(None, alias="producer.burst")

    @property
    def kind(self) -> str:
        """What goes wrong: ``redis.outage``."""
        return KINDS[self._chosen()]

    @property
    def settings(self) -> Timing:
        """When it strikes whom, and whatever else the kind needs."""
        settings: Timing = getattr(self, self._chosen())
        return settings

    def _chosen(self) -> str:
        return next(name for name in KINDS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _one(self) -> Any:
        given = [kind for name, kind in KINDS.items() if getattr(self, name) is not None]
        if not given:
            raise refuse(f"which fault is it? One of these keys is needed: {listing(KINDS.values())}")
        if len(given) > 1:
            raise refuse(f"a fault is of one kind: make these a list of several: {listing(given)}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Tell editors that there is exactly one key."""
        schema = super().__get_pydantic_json_schema__(core, handler)
        handler.resolve_ref_schema(schema).update({"minProperties": 1, "maxProperties": 1})
        return schema


KINDS = {name: str(field.alias) for name, field in FaultEntry.model_fields.items()}
"""The kinds of faults as files write them, by attribute."""
