"""Mutated scenario files: `validate` and `check` end with a message within seconds, never with a traceback."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from queuesim.cli.app import app
from queuesim.text import shown

ROOT = Path(__file__).parents[2] / "scenarios"
FILES = sorted([*ROOT.glob("*.yaml"), *ROOT.glob("check/*.yaml"), *ROOT.glob("museum/*.yaml")])
TEXTS = [file.read_bytes() for file in FILES if b"processor:" not in file.read_bytes()]

SECONDS = 20.0
"""For one file, on a busy machine; the usual time is a few milliseconds."""

FRAGMENTS = [
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"<<: [*a, *a]\n",
    b"!!int ",
    b"!x ",
    b"? ",
    b"- ",
    b": ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"|\n",
    b">-\n",
    b"---\n",
    b"...\n",
    b"%YAML 1.1\n",
    b'"',
    b"'",
    b"#",
    b"\t",
    b"\x00",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "\u202e".encode(),
    "\u2028".encode(),
    b'"\\ud800"',
    b'"\\e[31m"',
    b"9" * 5000,
    b"1e999",
    b"-1",
    b".nan",
    b".inf",
    b"0",
    b"1000000000",
    b"99999999d",
    b"99999999999/s",
    b"0.0000001us",
    b"~",
    b"true",
    b"$\\frac{a$",
    b"\r",
    b"name: x\n",
]

VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    2.5,
    10**9,
    10**400,
    -(10**400),
    1e308,
    "",
    "x",
    "x" * 10_000,
    "1s",
    "1e999s",
    "0.000000001us",
    "9999999999d",
    "60/min",
    "99999999999999/s",
    "50%",
    "*",
    "\x1b]0;x\x07",
    "a\nb",
    "\u202eabc",
    "$\\frac{a$",
    "../../x",
    "/dev/zero",
    "\x00",
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"x": {"x": {}}},
    ["1s", "2s"],
    "a:b",
    "lost == 0",
    "0 0 30 2 *",
]


@st.composite
def mutated_bytes(draw: st.DrawFn) -> bytes:
    """A scenario file with pieces put in, taken out, repeated or moved."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(start + draw(st.integers(0, 40)), len(text))
        piece = draw(st.sampled_from(FRAGMENTS) | st.binary(max_size=8) | st.just(text[start:end] * 3))
        text = text[:start] + piece + text[end:]
    return text


@st.composite
def mutated_structure(draw: st.DrawFn) -> bytes:
    """A scenario file in which values are replaced, removed, renamed or moved to another place."""
    document = yaml.safe_load(draw(st.sampled_from(TEXTS)))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        other, its_key = draw(st.sampled_from(places))
        value = draw(st.sampled_from(VALUES) | st.just(copy.deepcopy(other[its_key])))
        action = draw(st.sampled_from(["replace", "remove", "rename"]))
        if action == "replace":
            holder[key] = value
        elif action == "remove":
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=12)) + str(key)] = holder.pop(key)
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key or position of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(items):
        yield value, key
        yield from _places(child)


def judge(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    began = time.process_time()
    done = CliRunner().invoke(app, ["validate", "--no-import", str(file)])
    assert time.process_time() - began < SECONDS
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 2)
    text = done.stdout if done.exit_code == 0 else done.stderr
    assert text.startswith(str(file))
    assert all(shown(line) == line for line in text.splitlines()), "what the file holds is shown escaped"
    if done.exit_code == 0:
        checked = CliRunner().invoke(app, ["check", str(file)])
        if checked.exception is not None and not isinstance(checked.exception, SystemExit):
            raise checked.exception
        assert checked.exit_code in (0, 1, 2)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "mutated.yaml"


anything = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@anything
@given(content=mutated_bytes())
@example(content=b'name: "\\ud800"\n')
@example(content=b'name: "\\e[2J\\n\\u202e"\nduration: 1\n')
def test_bytes(file: Path, content: bytes) -> None:
    judge(content, file)


@anything
@given(content=mutated_structure())
@example(content=yaml.safe_dump({"name": "x", "duration": 10**400}).encode())
def test_structure(file: Path, content: bytes) -> None:
    judge(content, file)


BOMBS: dict[str, Callable[[], str]] = {
    "sequences of aliases": lambda: "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(12)
    ),
    "mappings of aliases": lambda: "".join(
        f"a{n}: &a{n} {{{','.join(f'k{i}: *a{n - 1}' for i in range(9)) if n else 'x: 1'}}}\n" for n in range(12)
    ),
    "merges of merges": lambda: "".join(
        f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9) if n else ''}], k{n}: 1}}\n" for n in range(40)
    ),
    "one large mapping merged many times": lambda: (
        f"a: &a {{{','.join(f'k{i}: 1' for i in range(20_000))}}}\nb: {{<<: [{','.join(['*a'] * 40_000)}]}}\n"
    ),
    "a chain of aliases": lambda: "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 5000)),
    "a chain of merges": lambda: (
        "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}, k{n}: 1}}\n" for n in range(1, 5000))
    ),
    "a merge of itself": lambda: "a: &a\n  <<: *a\n  b: 1\n",
    "two merges of each other": lambda: "a: &a {x: &b {<<: *a, y: 1}}\n",
    "many values": lambda: f"a: [{'x,' * 300_000}x]\n",
    "many brackets": lambda: "a: " + "[" * 1_000_000,
    "many unknown keys": lambda: "".join(f"key{n}: 1\n" for n in range(50_000)),
    "a long text": lambda: f"a: {'x' * 5_000_000}\n",
    "a long number": lambda: f"name: x\nduration: {'9' * 1_000_000}\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_document_that_grows_without_bound_is_refused(file: Path, bomb: str) -> None:
    file.write_text(BOMBS[bomb]())
    began = time.process_time()
    done = CliRunner().invoke(app, ["validate", "--no-import", str(file)])
    assert done.exit_code == 2, done.exception
    assert len(done.stderr.splitlines()) <= 51
    assert max(map(len, done.stderr.splitlines())) < 400
    assert time.process_time() - began < SECONDS
