"""A PostgreSQL server of our own for the tests: on a free port of the loopback interface, gone when they are."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path:
    """Where initdb and pg_ctl are. Debian has them in a directory of their own."""
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "PostgreSQL is not installed: apt-get install postgresql"
    return found[-1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def private_server() -> Iterator[str]:
    """The URL of a new, empty server's database, without a password. PostgreSQL refuses to run as root."""
    user = "postgres" if os.geteuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix="queuesim-postgres-"))
    if user:
        shutil.chown(place, user, user)

    def do(program: str, *arguments: str) -> None:
        command = [str(programs() / program), "-D", str(place / "data"), *arguments]
        subprocess.run(command, user=user, cwd=place, check=True, stdout=subprocess.DEVNULL, timeout=60)

    port = free_port()
    try:
        do("initdb", "--auth", "trust", "--username", "postgres", "--no-sync", "--locale", "C", "--encoding", "UTF8")
        settings = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
        do("pg_ctl", "-w", "-l", str(place / "log"), "-o", settings, "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            do("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(place)
