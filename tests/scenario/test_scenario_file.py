from __future__ import annotations

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


def places(error: ScenarioError) -> list[tuple[int | None, str]]:
    """The line and path of each problem."""
    return [(problem.line, problem.path) for problem in error.problems]


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


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = MINIMAL.replace("1h", "1 h").replace("80ms", "80").replace("60/min", "60") + "worker: {}\n"
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, file="s.yaml")
    assert [line for line, _ in places(caught.value)] == [2, 4, 8, 9]
    assert caught.value.problems[3].path == "worker"


def test_files_that_it_names_are_beside_it_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        MINIMAL.replace("80ms", "{empirical: {file: times.csv, column: ms, unit: ms}}")
        + "  - {name: t, trace: data/trace.csv}\n"
    )
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert places(caught.value) == [(4, "jobs.a.service.empirical.file"), (9, "load[1].trace")]
    (tmp_path / "times.csv").write_text("ms\n100\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "trace.csv").write_text("name,at_ms\na,5\nb,6\n")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert places(caught.value) == [(9, "load[1].trace")]
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
