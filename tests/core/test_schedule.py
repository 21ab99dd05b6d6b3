from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from queuesim.core.scheduler import Cron, Every, Missed, ScheduleError, following, whole_ms


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def ticks(schedule: Cron | Every, start: float, count: int) -> list[str]:
    shown = []
    tick: float | None = start
    for _ in range(count):
        assert tick is not None
        tick = schedule.after(tick)
        assert tick is not None
        shown.append(datetime.fromtimestamp(tick, UTC).isoformat(timespec="minutes").removesuffix("+00:00"))
    return shown


# -- cron


def test_every_hour_is_on_the_hour() -> None:
    assert ticks(Cron("0 * * * *"), at("2025-01-01T10:30"), 2) == ["2025-01-01T11:00", "2025-01-01T12:00"]


def test_six_fields_begin_with_seconds() -> None:
    assert Cron("30 * * * * *").after(at("2025-01-01T10:00")) == at("2025-01-01T10:00:30")


def test_a_tick_is_not_after_itself() -> None:
    cron, noon = Cron("0 12 * * *"), at("2025-01-01T12:00")
    assert cron.after(noon) == noon + 86400
    assert cron.after(noon - 0.5) == noon
    assert cron.until(noon) == noon
    assert cron.until(noon - 0.5) == noon - 86400


def test_a_zone_shifts_the_time_of_day() -> None:
    assert ticks(Cron("0 9 * * *", "America/New_York"), at("2025-01-01T00:00"), 1) == ["2025-01-01T14:00"]


def test_a_time_of_day_in_the_gap_fires_right_after_it() -> None:
    """In Berlin 02:00 to 03:00 does not exist on 2025-03-30."""
    assert ticks(Cron("30 2 * * *", "Europe/Berlin"), at("2025-03-29T12:00"), 2) == [
        "2025-03-30T01:00",
        "2025-03-31T00:30",
    ]


def test_a_time_of_day_that_comes_twice_fires_once() -> None:
    """In Berlin 02:00 to 03:00 comes twice on 2025-10-26: as 00:00 and as 01:00 UTC."""
    assert ticks(Cron("30 2 * * *", "Europe/Berlin"), at("2025-10-25T12:00"), 2) == [
        "2025-10-26T00:30",
        "2025-10-27T01:30",
    ]


def test_within_the_second_pass_the_first_is_over() -> None:
    second_pass = at("2025-10-26T02:10", "Europe/Berlin", fold=1)
    assert ticks(Cron("30 2 * * *", "Europe/Berlin"), second_pass, 1) == ["2025-10-27T01:30"]


@pytest.mark.parametrize("day", ["2025-03-30", "2025-10-26"])
def test_what_fires_every_hour_goes_on_through_a_change_of_clocks(day: str) -> None:
    cron, tick = Cron("0 * * * *", "Europe/Berlin"), at(f"{day}T00:00") - 1
    for hour in range(24):
        following = cron.after(tick)
        assert following == at(f"{day}T00:00") + 3600 * hour
        tick = following


def test_a_simulation_reckons_from_its_own_second_0() -> None:
    epoch = at("2025-01-01T00:30")
    assert Cron("0 * * * *", origin=epoch).after(0.0) == 1800.0
    assert Cron("0 * * * *", origin=epoch).until(0.0) == -1800.0


@pytest.mark.parametrize(
    ("line", "zone", "message"),
    [
        ("0 0 31 2 *", "UTC", "day-of-month"),
        ("0 0 30 2 *", "UTC", "day-of-month"),
        ("* * *", "UTC", "wrong number of fields"),
        ("61 * * * *", "UTC", "bad minute"),
        ("", "UTC", "wrong number of fields"),
        ("0 0 * 2 MON#6", "UTC", "day-of-week"),
        ("0 * * * *", "Europe/Bern", 'no time zone "Europe/Bern"'),
        ("0 * * * *", "../etc/passwd", "no time zone"),
    ],
)
def test_a_line_that_never_fires_or_can_not_be_read_is_refused(line: str, zone: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        Cron(line, zone)


def test_a_leap_day_that_never_is_a_friday_is_found_or_refused() -> None:
    assert Cron("0 0 29 2 *").after(at("2025-01-01T00:00")) == at("2028-02-29T00:00")


# -- intervals


def test_an_interval_is_on_the_calendar() -> None:
    assert ticks(Every(3600.0), at("2025-01-01T10:30"), 1) == ["2025-01-01T11:00"]
    assert ticks(Every(3600.0, offset=60.0), at("2025-01-01T10:30"), 1) == ["2025-01-01T11:01"]


@pytest.mark.parametrize(("seconds", "offset"), [(0.0, 0.0), (-1.0, 0.0), (float("inf"), 0.0), (1.0, 1.0), (1.0, -0.1)])
def test_an_impossible_interval_is_refused(seconds: float, offset: float) -> None:
    with pytest.raises(ScheduleError):
        Every(seconds, offset)


MILLISECONDS = st.integers(1, 10**9)


@given(
    MILLISECONDS, st.floats(0, 0.999), st.floats(0, 4e9), st.sampled_from([0.0, 1_735_689_600.0, 1_735_689_600.4567])
)
@example(1, 0.0, 0.95, 1_735_689_600.0)
def test_ticks_of_an_interval_surround_any_time(interval: int, part: float, time: float, origin: float) -> None:
    every = Every(interval / 1000, int(part * interval) / 1000, origin)
    before, after = every.until(time), every.after(time)
    # a float of seconds since the epoch is less than a microsecond off
    assert before - 1e-5 <= time < after
    assert after - before == pytest.approx(interval / 1000, abs=1e-5)


@given(MILLISECONDS, st.floats(0, 1e6), st.sampled_from([0.0, 1_735_689_600.0, 1_735_689_600.4567]))
@example(1100, 0.0, 1_735_689_600.0)
@example(60_000, 12.345, 1_735_689_600.0)
def test_a_tick_is_neither_its_own_successor_nor_passed_over(interval: int, time: float, origin: float) -> None:
    """Also as Redis gives it back: a scheduler whose next tick is the one that has just run stands still for ever."""
    every = Every(interval / 1000, None, origin).anchored(time)
    tick = every.until(time)
    for _ in range(5):
        stamp = whole_ms(tick, origin)
        for same in (tick, stamp / 1000 - origin):
            assert every.until(same) == tick
            assert whole_ms(every.after(same), origin) == stamp + interval
        tick = every.after(tick)


@pytest.mark.parametrize(("seconds", "offset"), [(1 / 3, None), (0.0004, None), (1.0, 0.0005)])
def test_an_interval_that_is_not_in_whole_milliseconds_is_refused(seconds: float, offset: float | None) -> None:
    """Redis would store another one."""
    with pytest.raises(ScheduleError, match=r"whole milliseconds|0\.001 s or more"):
        Every(seconds, offset)


@given(st.integers(0, 10**6), st.sampled_from([0.0, 1_735_689_600.4567]))
def test_a_cron_tick_is_neither_its_own_successor_nor_passed_over(second: int, origin: float) -> None:
    cron = Cron("*/7 * * * * *", origin=origin)
    tick = cron.after(second / 7)
    assert tick is not None
    assert cron.until(tick) == tick
    later = cron.after(tick)
    assert later is not None
    assert 1 <= whole_ms(later, origin) - whole_ms(tick, origin) <= 7000


@given(MILLISECONDS, st.floats(0, 1e9), st.floats(-1e7, 1e7), st.sampled_from(list(Missed)))
def test_what_follows_is_later_by_a_millisecond(interval: int, due: float, late: float, missed: Missed) -> None:
    every = Every(interval / 1000, 0.0, 1_735_689_600.0)
    due = every.until(due)
    tick = following(every, due, due + late, missed)
    assert tick is not None
    assert whole_ms(tick, every.origin) >= whole_ms(due, every.origin) + 1


def test_an_interval_goes_on_from_where_it_was_anchored() -> None:
    every = Every(10.0).anchored(123.0)
    assert every.after(123.0) == 133.0
    assert every.until(132.9) == 123.0


# -- missed ticks


@pytest.mark.parametrize(("missed", "expected"), [(Missed.SKIP, 40.0), (Missed.LATEST, 30.0), (Missed.ALL, 20.0)])
def test_ticks_that_were_missed(missed: Missed, expected: float) -> None:
    """A job was due at 10 and starts at 35."""
    assert following(Every(10.0, 0.0), 10.0, 35.0, missed) == expected


@pytest.mark.parametrize("missed", list(Missed))
def test_a_job_in_time_is_followed_by_the_next_tick(missed: Missed) -> None:
    assert following(Every(10.0, 0.0), 10.0, 10.5, missed) == 20.0


def test_a_tick_of_an_interval_at_this_very_moment_has_not_been_missed() -> None:
    """BullMQ 6.7. Of a cron line it has."""
    assert following(Every(10.0, 0.0), 10.0, 20.0) == 20.0
    assert following(Every(10.0, 0.0), 10.0, 20.1) == 30.0
    assert following(Every(10.0, 0.0), 10.0, 30.0) == 40.0
    assert following(Cron("* * * * *"), 60.0, 120.0) == 180.0
