"""JUnit XML: each check of a run as a test case, as CI servers read it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from queuesim.metrics.result import Result

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 can't hold, not even escaped."""


def junit(result: Result) -> str:
    """A test suite of the run's name with a case a check, and one that says whether the run came to its end."""
    facts, checks = result.facts, result.checks
    cases = [
        (str(kind), str(name), "" if ok else f"measured {value:.6g}, asked for {limit}. {detail}".strip())
        for kind, name, ok, value, limit, detail in zip(
            *(checks[column] for column in ("kind", "check", "ok", "value", "limit", "detail")), strict=True
        )
    ]
    cases.append(("run", "the run came to its end", facts.stopped))
    failed = sum(bool(message) for _, _, message in cases)
    numbers = {"tests": str(len(cases)), "failures": str(failed), "time": f"{facts.wall:.3f}"}
    root = ET.Element("testsuites", {"name": "queuesim", **numbers})
    suite = ET.SubElement(root, "testsuite", {"name": _clean(facts.scenario), "errors": "0", "skipped": "0", **numbers})
    properties = ET.SubElement(suite, "properties")
    for name, value in (("backend", facts.backend), ("seed", facts.seed), ("duration", f"{facts.duration:g} s")):
        ET.SubElement(properties, "property", {"name": name, "value": str(value)})
    for kind, name, message in cases:
        case = ET.SubElement(suite, "testcase", {"classname": f"{_clean(facts.scenario)}.{kind}", "name": _clean(name)})
        if message:
            ET.SubElement(case, "failure", {"message": _clean(message), "type": kind}).text = _clean(message)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
