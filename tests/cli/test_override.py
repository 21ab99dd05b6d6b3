"""Overrides: what a path reaches, and how what is wrong with one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from queuesim.scenario.loading import Override, OverrideError, ScenarioError, load_with, parse_set
from queuesim.scenario.model import Scenario


def document() -> dict[str, Any]:
    return {
        "workers": {"concurrency": 5},
        "queue": None,
        "jobs": {"send.mail": {"weight": 1}, "send": {"weight": 2}},
        "load": [{"name": "office-hours", "poisson": 1}, {"name": "overdue.batch", "poisson": 2}, {"poisson": 3}],
    }


def applied(path: str, value: Any = 9) -> tuple[dict[str, Any], tuple[str | int, ...]]:
    changed = document()
    return changed, Override("", path, value).apply(changed)


@pytest.mark.parametrize(
    ("path", "way"),
    [
        ("workers.concurrency", ("workers", "concurrency")),
        ("workers.limiter.max", ("workers", "limiter")),
        ("queue.backoff.delay", ("queue",)),
        ("overhead.add", ("overhead",)),
        ("jobs.send.weight", ("jobs", "send", "weight")),
        ("jobs.send.mail.weight", ("jobs", "send.mail", "weight")),
        ("load.office-hours.poisson", ("load", 0, "poisson")),
        ("load.overdue.batch.poisson", ("load", 1, "poisson")),
        ("load.2.poisson", ("load", 2, "poisson")),
        ("load[2].poisson", ("load", 2, "poisson")),
        ("load.1", ("load", 1)),
    ],
)
def test_a_path_reaches(path: str, way: tuple[str | int, ...]) -> None:
    changed, first_changed = applied(path)
    assert first_changed == way
    value: Any = changed
    for step in way:
        value = value[step]
    while isinstance(value, dict):
        (value,) = value.values()
    assert value == 9
    # nothing else has changed
    for key in document().keys() - {way[0]}:
        assert changed[key] == document()[key]


@pytest.mark.parametrize(
    ("path", "location", "message"),
    [
        (
            "load.ofice-hours.poisson",
            ("load",),
            'unknown entry "ofice-hours"; did you mean "office-hours"? entries: office-hours, overdue.batch, 2',
        ),
        ("load.7", ("load",), 'unknown entry "7"; entries: office-hours, overdue.batch, 2'),
        ("jobs.sned.weight", ("jobs",), 'unknown job "sned"; did you mean "send"? jobs: send.mail, send'),
        (
            "workers.concurrency.max",
            ("workers", "concurrency"),
            '5 has no "max" in it: set it as a whole, as workers.concurrency=...',
        ),
        ("[0].x", (), '"[0].x" is no path of keys with dots between them; keys: workers, queue, jobs, load'),
    ],
)
def test_a_path_that_leads_nowhere(path: str, location: tuple[str | int, ...], message: str) -> None:
    with pytest.raises(OverrideError) as refused:
        applied(path)
    assert (refused.value.location, str(refused.value)) == (location, message)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("a.b=10", "a.b", 10),
        (" a = 1.5 ", "a", 1.5),
        ("a=60/min", "a", "60/min"),
        ("a=null", "a", None),
        ("a={b: [1, true]}", "a", {"b": [1, True]}),
        ("a=lost == 0", "a", "lost == 0"),
    ],
)
def test_parse(text: str, path: str, value: Any) -> None:
    assert parse_set(text) == Override(f"--set {text}", path, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.b", "write it as KEY.PATH=VALUE, as in workers.concurrency=10"),
        ("=3", "write it as KEY.PATH=VALUE, as in workers.concurrency=10"),
        ("a..b=3", "write it as KEY.PATH=VALUE, as in workers.concurrency=10"),
        ("a.=3", "write it as KEY.PATH=VALUE, as in workers.concurrency=10"),
        ("a=", 'the value is missing; "null" takes a key out'),
        ("a=.nan", ".nan is not a finite number"),
        ("a={b: .inf}", "b: .inf is not a finite number"),
    ],
)
def test_parse_refuses(text: str, message: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        parse_set(text)
    assert str(refused.value) == f"--set {text}: {message}"


def loaded(file: Path, *texts: str) -> Scenario:
    return load_with(file, [parse_set(text) for text in texts])


def test_it_is_in_the_scenario(small: Path) -> None:
    scenario = loaded(
        small, "workers.concurrency=10", "workers.limiter={max: 3, duration: 1s}", "load.users.start=5s", "name=other"
    )
    assert scenario.workers[0].concurrency == 10
    assert scenario.workers[0].limiter is not None
    assert scenario.load[0].start == 5.0
    assert scenario.name == "other"
    assert scenario.directory == small.parent


def test_the_later_one_wins(small: Path) -> None:
    assert loaded(small, "seed=1", "seed=2").seed == 2
    assert loaded(small, "load=[{name: a, constant: 1/s}]", "load.a.constant=2/s").load[0].name == "a"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["workers.concurrency=0"], "{0}: workers.concurrency: 0 is too small: the least is 1"),
        (["load.users.poisson=3"], "{0}: load[0].poisson: 3 has no unit: write 3/min or 3/s"),
        (["load.user.poisson=3/s"], '{0}: load: unknown entry "user"; did you mean "users"? entries: users'),
        (["workers.limiter.max=3"], '{0}: workers.limiter: "duration" is missing'),
        # inside a list that the file does not have
        (["load=[{name: a, constant: 1/s}, {name: b, constant: 5}]"], "{0}: load[1].constant: 5 has no unit: "),
        # the last one that is at fault
        (["load=[{name: a, constant: 1/s}]", "load.a.constant=5"], "{1}: load[0].constant: 5 has no unit: "),
        (["thresholds.0=lots < 3"], '{0}: thresholds[0]: unknown metric "lots"; did you mean "lost"? '),
    ],
)
def test_its_problems_name_it(small: Path, texts: list[str], message: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        loaded(small, *texts)
    (problem,) = refused.value.problems
    assert str(problem).startswith("small.yaml: " + message.format(*(f"--set {text}" for text in texts)))


def test_the_nearest_name_of_a_new_key(small: Path) -> None:
    with pytest.raises(ScenarioError, match=r'workers\.concurency: unknown key; did you mean "concurrency"\?'):
        loaded(small, "workers.concurency=3")


def test_a_problem_elsewhere_names_what_was_set_too(small: Path) -> None:
    with pytest.raises(ScenarioError) as refused:
        loaded(small, "load.users.constant=3/s")
    assert str(refused.value) == (
        "small.yaml:8: load[0]: only one of these keys can be there: constant, poisson "
        "(with --set load.users.constant=3/s)"
    )


def test_the_files_own_problems_keep_their_lines(small: Path) -> None:
    small.write_text(small.read_text().replace("80ms", "fast"))
    with pytest.raises(ScenarioError) as refused:
        loaded(small, "workers.concurrency=0")
    first, second = str(refused.value).splitlines()
    assert first == "small.yaml: --set workers.concurrency=0: workers.concurrency: 0 is too small: the least is 1"
    assert second.startswith('small.yaml:6: jobs.task-created.service: "fast" is not a duration')


def test_a_file_that_is_no_scenario(small: Path) -> None:
    small.write_text("[1]\n")
    with pytest.raises(ScenarioError, match="a scenario is a mapping"):
        loaded(small, "seed=1")
