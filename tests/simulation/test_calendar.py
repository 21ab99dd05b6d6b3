"""The virtual calendar."""

import asyncio
import datetime as dt
import sys
import time
import zoneinfo

import pytest

from queuesim.extras import MissingExtraError
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.runner import Calendar, run

EPOCH = dt.datetime(2024, 2, 28, 23, 59, 30, tzinfo=dt.UTC)


def test_loop_time_is_an_offset_from_the_epoch():
    calendar = Calendar(EPOCH)
    assert calendar.date_of(0) == EPOCH
    assert calendar.date_of(30.25) == dt.datetime(2024, 2, 29, 0, 0, 0, 250_000, tzinfo=dt.UTC)
    assert calendar.time_of(dt.datetime(2024, 2, 29, 1, tzinfo=dt.UTC)) == 3630
    assert calendar.time_of(EPOCH - dt.timedelta(seconds=5)) == -5
    assert calendar.timestamp_of(10) == EPOCH.timestamp() + 10


@pytest.mark.parametrize("time", [0.0, 1e-6, 3600.5, 1e7 + 0.123456])
def test_there_and_back(time):
    calendar = Calendar(EPOCH)
    assert calendar.time_of(calendar.date_of(time)) == pytest.approx(time, abs=1e-6)


def test_an_hour_lasts_an_hour_when_the_clocks_change():
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    calendar = Calendar(dt.datetime(2024, 3, 31, 1, 30, tzinfo=berlin))
    assert calendar.date_of(3600).isoformat() == "2024-03-31T03:30:00+02:00"
    assert calendar.time_of(dt.datetime(2024, 3, 31, 3, 30, tzinfo=berlin).astimezone(dt.UTC)) == 3600


def test_a_date_without_a_time_zone_is_no_instant():
    with pytest.raises(ValueError, match="has no time zone"):
        Calendar(dt.datetime(2024, 1, 1))
    with pytest.raises(ValueError, match="has no time zone"):
        Calendar(EPOCH).time_of(dt.datetime(2024, 1, 1))


def test_installed_it_moves_the_clocks_with_loop_time():
    pytest.importorskip("time_machine")
    loop = VirtualLoop()

    async def main():
        readings = []
        for delay in (0, 30, 0.5):
            await asyncio.sleep(delay)
            readings.append((time.time() - EPOCH.timestamp(), dt.datetime.now(dt.UTC) - EPOCH))
        return readings

    with Calendar(EPOCH).installed(loop):
        readings = run(main(), loop=loop)
    assert readings == [(offset, dt.timedelta(seconds=offset)) for offset in (0, 30, 30.5)]
    assert abs(dt.datetime.now(dt.UTC) - EPOCH) > dt.timedelta(days=100)


def test_a_missing_library_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "time_machine", None)
    loop = VirtualLoop()
    with pytest.raises(MissingExtraError) as caught, Calendar(EPOCH).installed(loop):
        raise AssertionError("it was installed without the library")
    assert "pip install -c constraints.txt -e '.[calendar]'" in str(caught.value)
    loop.close()
