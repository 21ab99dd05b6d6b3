"""Overdue scans in real time: a real server, a real database, schedulers in processes of their own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.server import connect
from queuesim.cli.app import app
from queuesim.results.result import Result
from queuesim.runs.live.engine import LiveRun
from queuesim.runs.live.scheduler_process import LiveOverdue, SchedulerError, overdue_tasks
from queuesim.scenario.model import Scenario
from queuesim.tasks.overdue import reports
from queuesim.tasks.queries import count_to_notify, notified
from queuesim.tasks.store import TaskStore

pytestmark = pytest.mark.server

LONG = 100.0
"""Seconds that a run may last: each ends as soon as its test has seen enough."""


def scenario(jobs: dict[str, Any] | None = None, **overdue: Any) -> Scenario:
    """A scan every second, over tasks whose notifications take next to no time."""
    return Scenario.model_validate(
        {
            "name": "live",
            "duration": LONG,
            "jobs": {"overdue-tasks-notification": {"service": 0.002}} if jobs is None else jobs,
            "workers": {"concurrency": 5},
            "overdue": {"cron": "* * * * * *", "lease": 1.0, **overdue},
        }
    )


Look = Callable[[LiveOverdue, LiveRun], bool]


def play(what: Scenario, enough: Look) -> tuple[Result, Counter[int], list[str]]:
    """Play until it is enough. The result, how often assignees were told of each task, and the keys that are left."""

    async def scene(run: LiveRun, overdue: LiveOverdue) -> None:
        playing = asyncio.create_task(run.play())
        while not playing.done() and not enough(overdue, run):  # noqa: ASYNC110 - a database tells nobody of changes
            await asyncio.sleep(0.05)
        run.interrupt()
        await playing

    async def keys(url: str) -> list[str]:
        place = await connect(url)
        try:
            return list(await place.command("KEYS", "*"))
        finally:
            await place.close()

    with EmbeddedServer() as server, overdue_tasks(what, None, 1) as overdue:
        run = LiveRun(what, server.url, seed=1, overdue=overdue)
        asyncio.run(scene(run, overdue))
        times = Counter(task for task, kind, _ in overdue.store.run_now(notified) if kind == "overdue")
        return Result(run.recording()), times, asyncio.run(keys(server.url))


def ended(overdue: LiveOverdue, trigger: str = "cron") -> int:
    """How many scans have ended."""
    return sum(
        each.ended_at is not None and each.trigger == trigger for each in overdue.store.run_now(lambda c: reports(c))
    )


def all_told(overdue: LiveOverdue) -> bool:
    """Nobody is left to be told."""
    return overdue.store.run_now(lambda connection: count_to_notify(connection, LONG)) == 0


def all_ended(overdue: LiveOverdue, run: LiveRun) -> bool:
    """Each job that a scan enqueued has ended: two scans at once may both have enqueued one for the same task."""
    return run.recorder.ended_count >= sum(each.enqueued for each in overdue.store.run_now(lambda c: reports(c)))


def test_schedulers_scan_a_sqlite_file_and_everybody_is_told_once(scratch: Path) -> None:
    def enough(overdue: LiveOverdue, run: LiveRun) -> bool:
        return ended(overdue) >= 3 and ended(overdue, "manual") and all_told(overdue) and all_ended(overdue, run)

    result, times, keys = play(scenario(backlog=250, by="timer", schedulers=2, triggers=[0.1]), enough)
    assert times == dict.fromkeys(range(1, 251), 1)
    scans = result.overdue
    assert scans["trigger"].value_counts()["manual"] == 1
    assert scans["found"].max() == 250
    assert scans["enqueued"].sum() == len(result.jobs) >= 250
    drained = scans[scans["enqueued"] > 0].iloc[0]
    assert drained["began"] <= drained["ended"] <= drained["drained"] <= result.facts.duration
    assert set(result.jobs["load"]) <= {f"overdue scan {n}" for n in scans["scan"]}
    assert result.jobs["id"].str.startswith("overdue-").all()
    assert len(result.faults) == 0
    assert keys == []
    assert list(scratch.iterdir()) == []


def test_job_schedulers_and_the_outbox_on_postgres_in_a_schema_of_its_own(postgres: TaskStore) -> None:
    def enough(overdue: LiveOverdue, run: LiveRun) -> bool:
        return ended(overdue) >= 3 and run.recorder.ended_count >= 3

    url = postgres.url.render_as_string(hide_password=False).replace("+psycopg", "")
    what = scenario(backlog=250, delivery="outbox", per="page", schedulers=2, database={"url": url})
    result, times, keys = play(what, enough)
    assert times == dict.fromkeys(range(1, 251), 1)
    # one tick is one scan, however many schedulers
    ticks = result.overdue["began"].round(1)
    assert (ticks.diff().dropna() > 0).all()
    assert result.overdue["enqueued"].sum() == len(result.jobs) == 3
    assert keys == []
    schemas = postgres.run_now(
        lambda c: c.execute(text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'queuesim%'")).all()
    )
    assert schemas == []
    assert postgres.run_now(lambda c: c.execute(text("SELECT count(*) FROM tasks")).scalar_one()) == 0


def test_schedulers_that_are_killed_in_the_middle_of_a_scan_are_replaced_and_it_goes_on() -> None:
    """Each page is a transaction and a round trip: of 200 pages some are left when the processes die."""
    what = scenario(backlog=600, page_size=3, by="timer", schedulers=2)

    begun: list[asyncio.Task[None]] = []

    def enough(overdue: LiveOverdue, run: LiveRun) -> bool:
        found = overdue.store.run_now(lambda c: reports(c))
        if found and found[-1].pages >= 10 and not begun:
            begun.append(asyncio.get_running_loop().create_task(overdue.crash(0.1)))
        return bool(begun) and found[-1].ended_at is not None and all_told(overdue)

    result, times, _ = play(what, enough)
    assert begun[0].done()
    assert times == dict.fromkeys(range(1, 601), 1)
    first = result.overdue.iloc[0]
    assert first["ended"] > first["began"]
    assert result.overdue["enqueued"].sum() <= len(result.jobs)


def test_a_scheduler_that_fails_ends_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    broken: list[bool] = []

    def enough(overdue: LiveOverdue, run: LiveRun) -> bool:
        if not broken and ended(overdue):
            broken.append(True)
            overdue.store.run_now(lambda c: c.execute(text("ALTER TABLE tasks RENAME TO gone")))
        return False

    with pytest.raises(SchedulerError, match="scheduler-1 has failed"):
        play(scenario(backlog=5, by="timer"), enough)
    assert "OperationalError" in capfd.readouterr().err


def test_a_database_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("name: s\nduration: 1s\noverdue: {cron: '0 * * * *', backlog: 5}\n")
    url = "overdue.database.url=postgresql://u:secret@127.0.0.1:1/x"
    done = CliRunner().invoke(app, ["run", str(file), "--backend", "redis", "--redis-url", "embedded", "--set", url])
    assert done.exit_code == 2
    assert "postgresql+psycopg://u:***@127.0.0.1:1/x can't be used" in done.output
    done = CliRunner().invoke(app, ["run", str(file), "--set", "overdue.database.url=sqlite:///x.db"])
    assert done.exit_code == 2
    assert "not a PostgreSQL URL" in done.output
