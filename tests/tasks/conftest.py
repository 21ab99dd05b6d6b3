from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import private_server
from sqlalchemy import text

from queuesim.tasks.store import TaskStore

DATABASES = ("memory", "sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with private_server() as url:
        yield url


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[TaskStore]:
    """A store in an empty database."""
    store = TaskStore(postgres_url)
    with store.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    with store.opened():
        yield store


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TaskStore]:
    """A store on each database."""
    if request.param == "postgresql":
        yield request.getfixturevalue("postgres")
        return
    url = "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path}/tasks.db"
    with TaskStore(url).opened() as opened:
        yield opened
