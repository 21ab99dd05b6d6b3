"""Faults that can't be: refused before anything runs, with the place in the file and what was probably meant."""

from __future__ import annotations

import pytest

from queuesim.scenario.loading import ScenarioError, parse_scenario

SCENARIO = """\
name: checked
duration: 10m
jobs: {mail: {service: 1s}, invoice: {service: 1s}}
workers: [{name: west, count: 2}, {name: east}]
load: [{name: users, constant: 1/s}, {name: shops, constant: 1/s}]
faults:
"""


def refused(fault: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(f"{SCENARIO}  - {fault}\n")
    return str(caught.value)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("{worker.crash: {at: 1m, worker: wset-1}}", 'unknown worker "wset-1"; did you mean "west-1"?'),
        ("{worker.freeze: {at: 1m, for: 1s, worker: north}}", 'unknown worker "north"'),
        ("{worker.scale: {at: 1m, to: 3, worker: west-1}}", 'unknown kind of workers "west-1"; did you mean "west"?'),
        ("{worker.scale: {at: 1m, to: 3}}", '"worker" is missing: which kind of workers, of west, east'),
        ("{redis.latency: {probability: 1%, delay: 1s, client: user}}", 'unknown client "user"; did you mean "users"?'),
        ("{redis.drop: {probability: 1%, client: easy}}", 'unknown client "easy"; did you mean "east"?'),
        ("{handler.error: {probability: 1%, job: male}}", 'unknown job "male"; did you mean "mail"?'),
        ("{database.outage: {at: 1m, for: 1s, job: invoices}}", 'unknown job "invoices"; did you mean "invoice"?'),
        ("{producer.duplicate: {probability: 1%, load: shop}}", 'unknown load entry "shop"; did you mean "shops"?'),
        ("{producer.burst: {at: 1m, size: 3}}", '"load" is missing: whose jobs, of users, shops'),
        ("{redis.outage: {at: 10m, for: 1s}}", "10m is after the end of the run, 10m"),
        ("{redis.outage: {at: 9m, for: 2m}}", "it would end at 11m, after the end of the run, 10m"),
        ("{redis.outage: {at: [1m, 2m], for: 90s}}", "at 2m it is still on: until 2m30s"),
        ("{redis.outage: {every: 10m, for: 1s}}", "that is not before the end of the run, 10m"),
        ("{redis.outage: {at: 1m}}", '"for" is missing'),
        ("{queue.pause: {at: 9m, for: 2m}}", "it would end at 11m"),
        ("{redis.ouatge: {at: 1m, for: 1s}}", 'did you mean "redis.outage"?'),
        ("{handler.payload: {probability: 1%, size: 2GB, memory: 1GB}}", "one such job alone is more than a worker"),
    ],
)
def test_what_can_not_be_is_refused(fault: str, message: str) -> None:
    assert message in refused(fault)


def test_the_place_in_the_file_is_named() -> None:
    assert ":7: faults[0].worker.crash.worker: " in refused("{worker.crash: {at: 1m, worker: north}}")
