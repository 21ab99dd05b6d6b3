"""JUnit XML: each check of a run as a test case, as CI servers read it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from queuesim.results.summary import Run
from queuesim.results.views.digest import error_lines
from queuesim.text import measured, shown, shown_lines


def junit(result: Run) -> str:
    """A test suite of the run's name with a case a check, and one that says whether the run came to its end."""
    facts, checks = result.facts, result.checks
    columns = ("kind", "check", "status", "value", "unit", "limit", "detail")
    cases = [
        (str(kind), str(name), str(status), _message(str(kind), str(status), *rest))
        for kind, name, status, *rest in zip(*(checks[column] for column in columns), strict=True)
    ]
    stopped = "" if facts.stopped is None else str(facts.stopped)
    cases.append(("run", "the run came to its end", "failed" if stopped else "passed", stopped))
    statuses = [status for _, _, status, _ in cases]
    numbers = {"tests": str(len(cases)), "failures": str(statuses.count("failed")), "time": f"{facts.wall:.3f}"}
    skipped = str(statuses.count("not judged"))
    root = ET.Element("testsuites", {"name": "queuesim", "skipped": skipped, **numbers})
    name = shown(facts.scenario)
    suite = ET.SubElement(root, "testsuite", {"name": name, "errors": "0", "skipped": skipped, **numbers})
    properties = ET.SubElement(suite, "properties")
    for name, value in (("backend", facts.backend), ("seed", facts.seed), ("duration", f"{facts.duration:g} s")):
        ET.SubElement(properties, "property", {"name": name, "value": str(value)})
    for kind, name, status, message in cases:
        case = ET.SubElement(suite, "testcase", {"classname": f"{shown(facts.scenario)}.{kind}", "name": shown(name)})
        if status == "not judged":
            ET.SubElement(case, "skipped", {"message": _clean(message)})
        elif status == "failed":
            ET.SubElement(case, "failure", {"message": _clean(message), "type": kind}).text = _clean(message)
    if errors := error_lines(result):
        ET.SubElement(suite, "system-out").text = _clean("\n".join(["top errors:", *errors]))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _message(kind: str, status: str, value: float, unit: str, limit: str, detail: str) -> str:
    if status != "failed" or kind == "health":
        return detail
    return f"measured {measured(value, unit)}, asked for {limit}. {detail}".strip()


def _clean(text: str) -> str:
    """Line ends stay; what else XML 1.0 can't hold, or a reader would obey, is escaped."""
    return shown_lines(text)
