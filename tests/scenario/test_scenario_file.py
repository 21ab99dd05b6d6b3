from __future__ import annotations

import sys
from pathlib import Path

import pytest

from queuesim.scenario.loading import ScenarioError, load_scenario, parse_scenario
from queuesim.scenario.model import Scenario
from queuesim.simulation.random import Gamma

ROOT = Path(__file__).parents[2]
TASK_PROCESSING = ROOT / "scenarios" / "task-processing.yaml"

MINIMAL = """\
name: x
duration: 1h
jobs:
  a: {service: 80ms}
  task-created: {service: {exponential: 1s}}
load:
  - name: l
    poisson: 60/min
"""


def refusal(text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, file="s.yaml")
    return str(caught.value)


def test_the_example_is_the_system_that_it_is_about() -> None:
    scenario = load_scenario(TASK_PROCESSING)
    assert (scenario.name, scenario.duration, scenario.warmup) == ("task-processing", 14400.0, 600.0)
    assert scenario.queue.attempts == 3
    (workers,) = scenario.workers
    assert workers.concurrency == 5
    assert workers.limiter is not None
    assert (workers.limiter.max, workers.limiter.duration) == (100, 60.0)
    assert list(scenario.jobs) == ["task-status-update", "task-created", "overdue-tasks-notification"]
    assert [job.weight for job in scenario.jobs.values()] == [70, 25, 5]
    service = scenario.jobs["task-created"].service
    assert service is not None
    assert service.model() == Gamma.from_cv(0.25, 0.6)
    office_hours, batch = scenario.load
    assert office_hours.poisson is not None
    course = [(segment.rate, segment.target) for segment in office_hours.poisson.segments(scenario.duration)]
    assert course == [(0, 1), (1, 140 / 60), (140 / 60, 40 / 60)]
    assert batch.bulk is not None
    assert batch.bulk.times(scenario.duration) == [3600.0, 7200.0, 10800.0]
    assert scenario.mix(batch) == {"overdue-tasks-notification": 1.0}
    assert scenario.mix(office_hours) == {
        "task-status-update": 0.7,
        "task-created": 0.25,
        "overdue-tasks-notification": 0.05,
    }


def test_a_scenario_survives_being_written() -> None:
    scenario = load_scenario(TASK_PROCESSING)
    written = scenario.model_dump(mode="json", by_alias=True, exclude_unset=True)
    context = {"file": True, "directory": TASK_PROCESSING.parent}
    assert Scenario.model_validate(written, context=context) == scenario
    assert Scenario.model_validate_json(scenario.model_dump_json(by_alias=True, exclude_none=True), context=context)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("60/min", "fast", '8: load[0].poisson: "fast" is not a rate: write a number and a unit, as 60/min or 1.5/s'),
        ("60/min", "60 per minute", '8: load[0].poisson: "60 per minute" is not a rate: write 60/min'),
        ("60/min", "-5/s", '8: load[0].poisson: "-5/s" is not a rate: it can\'t be negative'),
        (
            "60/min",
            "{stages: [{duration: 1h, target: 5}]}",
            "8: load[0].poisson.stages[0].target: 5 has no unit: write 5/min or 5/s",
        ),
        ("60/min", ".nan", "8: load[0].poisson: .nan is not a finite number"),
        ("1h", "1 hour", '2: duration: "1 hour" is not a duration: write 1h'),
        ("1h", "60", "2: duration: 60 has no unit: write 60s or 60ms"),
        ("1h", "", "2: duration: nothing is not a duration: write it as 30s or 30ms"),
        ("duration: 1h", "", '1: "duration" is missing'),
        (
            "jobs:",
            "queue: {keep: {complete: 5}}\njobs:",
            '3: queue.keep.complete: unknown key; did you mean "completed"? allowed here: completed, failed',
        ),
        (
            "jobs:",
            "workers: {cuncurrency: 5}\njobs:",
            '3: workers.cuncurrency: unknown key; did you mean "concurrency"? allowed here: count, name, concurrency, '
            "limiter, lock_duration, lock_renew, stalled_interval, max_stalled, start",
        ),
        (
            "jobs:",
            "workers:\n- {}\n- {name: b, limiter: {max: 1, durration: 1s}}\njobs:",
            '5: workers[1].limiter: "duration" is missing\n'
            's.yaml:5: workers[1].limiter.durration: unknown key; did you mean "duration"? allowed here: max, duration',
        ),
        (
            "80ms",
            "{expnential: 1s}",
            '4: jobs.a.service.expnential: unknown key; did you mean "exponential"? allowed here: constant, '
            "exponential, lognormal, gamma, uniform, empirical",
        ),
        (
            "80ms",
            "80ms, errors: {network: often}",
            '4: jobs.a.errors.network: "often" is neither a percent nor a number: write 95% or 0.95',
        ),
        ("80ms", "80ms, weight: -1", "4: jobs.a.weight: -1 is too small: the least is 0"),
        ("80ms", "80ms, weight: '1'", '4: jobs.a.weight: "1" is not a number'),
        ("80ms", "80ms, priority: 9999999", "4: jobs.a.priority: 9999999 is too large: the most is 2097151"),
        ("80ms", "80ms, attempts: 1.5", "4: jobs.a.attempts: 1.5 is not a whole number"),
        ("80ms", "80ms, lifo: maybe", '4: jobs.a.lifo: "maybe" is not true or false'),
        ("80ms", "80ms, errors: 0.5", "4: jobs.a.errors: 0.5 is not a mapping"),
        (
            "80ms",
            "80ms, backoff: {type: exp, delay: 1s}",
            '4: jobs.a.backoff.type: "exp" is not "fixed" or "exponential"',
        ),
        ("name: x", "name: 5", "1: name: 5 is not text (in quotes, if it looks like a number)"),
        ("name: x", "name: ''", "1: name: it can't be empty"),
        ("name: x", "name: x\nseed: true", "2: seed: true is not a whole number"),
        ("name: x", "name: x\ndrain: maybe", '2: drain: "maybe" is not a duration: write numbers with units'),
        ("name: x", "name: x\nworkers: 5", "2: workers: 5 is neither a mapping nor a list of mappings"),
        ("name: x", "name: x\nepoch: 2025-01-01", "2: epoch: the time has no zone: write"),
        ("name: x", "name: x\nepoch: monday", '2: epoch: "monday" is not a time: write it as 2025-01-01T00:00:00Z'),
        ("name: x", "name: x\nprocessor: handlers", '2: processor: "handlers" is not a processor: write it as module:'),
        ("name: x", "name: x\nthresholds: [lots == 0]", '2: thresholds[0]: unknown metric "lots"; '),
        ("name: x", "name: x\nthresholds: {}", "2: thresholds: a mapping is not a list"),
        # what other parts of the project will bring is not passed over until they are there
        ("name: x", "name: x\nfalts: []", "2: falts: unknown key; "),
        ("name: x", "name: x\nsurcharge: {}", "2: surcharge: unknown key; "),
    ],
)
def test_bad_input_is_told_in_one_line_with_its_place(old: str, new: str, message: str) -> None:
    assert refusal(MINIMAL.replace(old, new, 1)).startswith(f"s.yaml:{message}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1h", "1h\nwarmup: 1h", "3: warmup: 1h leaves nothing of the duration of 1h"),
        ("name: l", "name: l\n    start: 1h", "8: load[0].start: 1h is after the end of the run, 1h"),
        ("1h", "1h\nworkers: {start: 2h}", "3: workers.start: 2h is after the end of the run, 1h"),
        (
            "name: l",
            "name: l\n    jobs: task-craeted",
            '8: load[0].jobs: unknown job "task-craeted"; did you mean "task-created"? jobs: a, task-created',
        ),
        ("name: l", "name: l\n    jobs: {a: 1, b: 2}", '8: load[0].jobs.b: unknown job "b"; jobs: a, task-created'),
        (
            "1h",
            "1h\nthresholds:\n- lost == 0\n- {failed: < 3, where: {job: task-craeted, load: m}}",
            '5: thresholds[1].where.job: unknown job "task-craeted"; did you mean "task-created"? '
            "jobs: a, task-created\n"
            's.yaml:5: thresholds[1].where.load: unknown load entry "m"; load entries: l',
        ),
        (
            "1h",
            "1h\nthresholds: [{failed: < 3, over: 2h}]",
            "3: thresholds[0].over: a window of 2h is longer than the run, 1h",
        ),
        (
            "poisson: 60/min",
            "poisson: 60/min\n  - {name: l, backlog: 5}",
            '9: load[1].name: "l" is there twice: each needs its own name',
        ),
        ("{service: 80ms}", "{}", '4: jobs.a: "service" is missing: how long an attempt takes, as "service: 80ms"'),
        (
            "a: {service: 80ms}\n  task-created: {",
            "a: {service: 80ms, weight: 0}\n  b: {weight: 0, ",
            "3: jobs: the weights add up to 0: at least one must be above",
        ),
    ],
)
def test_what_does_not_go_together_is_told_with_its_place(old: str, new: str, message: str) -> None:
    assert old in MINIMAL
    assert refusal(MINIMAL.replace(old, new, 1)) == f"s.yaml:{message}"


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = MINIMAL.replace("1h", "1 h").replace("80ms", "80").replace("60/min", "60") + "worker: {}\n"
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, file="s.yaml")
    assert [problem.line for problem in caught.value.problems] == [2, 4, 8, 9]
    assert len(refusal(text).splitlines()) == 4
    assert caught.value.problems[3].path == "worker"


def test_the_jobs_are_missing() -> None:
    text = "name: x\nduration: 1h\nload: [{name: l, poisson: 1/s}]\n"
    assert refusal(text) == 's.yaml:1: "jobs" is missing: the types of jobs that the load is made of'
    assert parse_scenario(text.replace("name: l", "name: l, jobs: a") + "processor: a:b\n").job("a").service is None


def test_a_text_that_is_no_scenario() -> None:
    assert refusal("") == "s.yaml:1: the file is empty"
    assert refusal("- a\n") == 's.yaml:1: a scenario is a mapping, that begins with "name: ..."'
    assert refusal("a: 1\na: 2\n") == "s.yaml:2: a: the key is there twice, first in line 1"
    assert refusal("a: [\n").startswith("s.yaml:2: broken YAML: ")


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "binary.yaml", "it is not UTF-8 text"),
    ):
        (tmp_path / "binary.yaml").write_bytes(b"name: \xff")
        with pytest.raises(ScenarioError) as caught:
            load_scenario(path)
        assert str(caught.value) == f"{path}: {why}"


def test_files_that_it_names_are_beside_it_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        MINIMAL.replace("80ms", "{empirical: {file: times.csv, column: ms, unit: ms}}")
        + "  - {name: t, trace: data/trace.csv}\n"
    )
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert str(caught.value) == (
        f"{path}:4: jobs.a.service.empirical.file: {tmp_path}/times.csv: no such file\n"
        f"{path}:9: load[1].trace: {tmp_path}/data/trace.csv: no such file"
    )
    (tmp_path / "times.csv").write_text("ms\n100\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "trace.csv").write_text("name,at_ms\na,5\nb,6\n")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert str(caught.value) == (
        f'{path}:9: load[1].trace: no service_ms in the trace, and unknown job "b"; jobs: a, task-created'
    )
    (tmp_path / "data" / "trace.csv").write_text("name,at_ms,service_ms\na,5,\nb,6,10\n")
    scenario = load_scenario(path)
    assert scenario.directory == tmp_path
    trace = scenario.load[1].trace
    assert trace is not None
    assert [job.service for job in trace.jobs] == [None, 0.01]
    service = scenario.jobs["a"].service
    assert service is not None
    assert service.model().mean == 0.1


HANDLERS = """\
from queuesim.core.processor import Processor
processor = Processor()

@processor.job("task-created")
def created(job): ...
"""


def test_a_processor_is_imported_only_when_asked(tmp_path: Path) -> None:
    text = "name: x\nprocessor: scenario_test_handlers:procesor\nduration: 1h\njobs: {task-created: {weight: 2}}\n"
    text += "load: [{name: l, poisson: 1/s}]\n"
    path = tmp_path / "s.yaml"
    path.write_text(text)
    assert load_scenario(path).processor == "scenario_test_handlers:procesor"
    with pytest.raises(ScenarioError, match=r's.yaml:2: processor: there is no module "scenario_test_handlers"'):
        load_scenario(path, check_processor=True)
    (tmp_path / "scenario_test_handlers.py").write_text(HANDLERS)
    with pytest.raises(ScenarioError, match=r's.yaml:2: .* has no "procesor"; did you mean "processor"\?'):
        load_scenario(path, check_processor=True)
    path.write_text(text.replace("procesor", "processor"))
    assert load_scenario(path, check_processor=True).processor == "scenario_test_handlers:processor"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{task-created: {weight: 2}}",
            "{task-craeted: {weight: 2}}",
            '4: jobs.task-craeted: no service, and unknown handler "task-craeted"; did you mean "task-created"? '
            "handlers: task-created",
        ),
        (
            "{weight: 2}",
            "{service: 1s}",
            "4: jobs.task-created.service: scenario_test_other:processor has a handler for it: leave service out",
        ),
        (
            "name: l",
            "name: l, jobs: b",
            '5: load[0].jobs: no service, and unknown handler "b"; handlers: task-created',
        ),
    ],
)
def test_jobs_have_a_handler_or_a_service_time(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = "name: x\nprocessor: scenario_test_other:processor\nduration: 1h\njobs: {task-created: {weight: 2}}\n"
    text += "load: [{name: l, poisson: 1/s}]\n"
    (tmp_path / "scenario_test_other.py").write_text(HANDLERS)
    path = tmp_path / "s.yaml"
    path.write_text(text.replace(old, new, 1))
    sys.modules.pop("scenario_test_other", None)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path, check_processor=True)
    assert str(caught.value) == f"{path}:{message}"
