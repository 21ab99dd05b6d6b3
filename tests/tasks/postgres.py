"""A PostgreSQL server of our own for the tests: on a free port of the loopback interface, gone when they are."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from needs import POSTGRESQL, Lacking


def programs() -> Path:
    """Where initdb and pg_ctl are.

    Debian has them in a directory of their own, out of the path; pg_ctlcluster, which is in it, tells that they are
    installed.
    """
    if path := shutil.which("initdb"):
        return Path(path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) if shutil.which("pg_ctlcluster") else []
    if not found:
        raise Lacking(POSTGRESQL)
    return found[-1].parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def other_user() -> pwd.struct_passwd | None:
    """Who runs the server in our place if we are root, which PostgreSQL refuses; else None."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def reachable(directory: Path) -> bool:
    """Whether every user may go through a directory."""
    return all(part.stat().st_mode & 0o001 for part in (directory, *directory.parents))


def make_place(owner: pwd.struct_passwd | None) -> Path:
    """A new directory for the data; if it is for another user, one that this user can reach."""
    bases = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]
    base = bases[0] if owner is None else next(base for base in bases if reachable(base))
    place = Path(tempfile.mkdtemp(prefix="queuesim-postgres-", dir=base))
    if owner is not None:
        os.chown(place, owner.pw_uid, owner.pw_gid)
    return place


@contextmanager
def private_server() -> Iterator[str]:
    """The URL of a new, empty server's database, without a password. Skips the test where there is no PostgreSQL."""
    directory, owner = programs(), other_user()
    place = make_place(owner)
    identity: dict[str, Any] = {}
    if owner is not None:
        identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}

    def do(program: str, *arguments: str) -> None:
        command = [str(directory / program), "-D", str(place / "data"), *arguments]
        subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL, timeout=60, **identity)

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
