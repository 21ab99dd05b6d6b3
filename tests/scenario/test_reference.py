from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import queuesim
from queuesim.core.processor import Processor
from queuesim.scenario.processors import ProcessorImportError, load_processor

HANDLERS = """\
from queuesim.core.processor import Processor
processor = Processor("mail")
other = 5
class Namespace:
    inner = Processor("inner")
"""


@pytest.fixture(autouse=True)
def _forget_modules(tmp_path: Path) -> Iterator[None]:
    """The modules that a test wrote, and no others: what the package imports meanwhile stays."""
    path = list(sys.path)
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    assert sys.path == path


def refusal(reference: str, directory: Path) -> str:
    with pytest.raises(ProcessorImportError) as caught:
        load_processor(reference, directory)
    return str(caught.value)


def test_a_processor_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "mail_handlers.py").write_text(HANDLERS)
    processor = load_processor("mail_handlers:processor", tmp_path)
    assert isinstance(processor, Processor)
    assert processor.queue == "mail"
    again = load_processor("mail_handlers:processor", tmp_path)
    assert again is not processor, "its module is imported anew"
    assert again.queue == "mail"
    assert load_processor("mail_handlers:Namespace.inner", tmp_path).queue == "inner"


def test_a_processor_in_a_package(tmp_path: Path) -> None:
    (tmp_path / "mail_package").mkdir()
    (tmp_path / "mail_package" / "__init__.py").write_text("")
    (tmp_path / "mail_package" / "handlers.py").write_text(HANDLERS)
    assert load_processor("mail_package.handlers:processor", tmp_path).queue == "mail"


def test_a_module_of_the_same_name_from_elsewhere_is_not_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mail_handlers.py").write_text(HANDLERS.replace("mail", name))
    assert load_processor("mail_handlers:processor", tmp_path / "a").queue == "a"
    assert load_processor("mail_handlers:processor", tmp_path / "b").queue == "b"
    (tmp_path / "b" / "json.py").write_text(HANDLERS)
    assert "another module json is loaded already" in refusal("json:processor", tmp_path / "b")


COUNTING = """\
from counting_parts import WORD
from queuesim import Processor
seen = []
def make(returned):
    processor = Processor("count")
    @processor.job("count")
    async def count(job):
        seen.append(job.number)
        returned.append([WORD, len(seen)])
    return processor
"""


def outcome(directory: Path) -> list[object]:
    """What the one job of a run leaves."""
    returned: list[list[object]] = []
    scenario = directory / "count.yaml"
    scenario.write_text(
        "name: count\nduration: 1m\nprocessor: counting:make\njobs: {count: {}}\n"
        "load: [{name: once, bulk: {at: 0s, size: 1}}]\n"
    )
    assert queuesim.run(scenario, shared=lambda: returned).ok
    return returned[0]


def test_an_edited_handler_and_what_it_imports_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    (tmp_path / "counting_parts.py").write_text("WORD = 'one'")
    assert outcome(tmp_path) == ["one", 1]
    # of the same size, and in the same second
    (tmp_path / "counting_parts.py").write_text("WORD = 'two'")
    assert outcome(tmp_path) == ["two", 1]


def test_a_run_sees_nothing_that_an_earlier_one_left_in_a_module(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    (tmp_path / "counting_parts.py").write_text("WORD = 'one'")
    assert [outcome(tmp_path) for _ in range(3)] == [["one", 1]] * 3


def test_a_module_that_the_user_imported_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    (tmp_path / "counting_parts.py").write_text("WORD = 'one'")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = importlib.import_module("counting")
    assert outcome(tmp_path) == ["one", 1]
    assert sys.modules["counting"] is mine
    assert not mine.seen
