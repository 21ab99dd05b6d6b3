"""A simulation can't reach the world: no connection, packet, name look-up or subprocess, whoever asks for it."""

import _thread
import asyncio
import concurrent.futures
import ctypes
import http.client
import multiprocessing
import os
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing
from contextvars import copy_context

import httpx
import psycopg
import pytest
import requests

from queuesim.simulation.io_guard import current_guard, outside
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.refused_io import RealIOError
from queuesim.simulation.runner import run

CLOSED = ("127.0.0.1", 9)
"""Nobody listens there: if a call came through, its error would be another one."""


def connect(family=socket.AF_INET, address=CLOSED):
    with socket.socket(family) as endpoint:
        endpoint.connect(address)


def connect_ex():
    with socket.socket() as endpoint:
        endpoint.connect_ex(CLOSED)


def bind():
    with socket.socket() as endpoint:
        endpoint.bind(("127.0.0.1", 0))


def send_packet():
    with socket.socket(type=socket.SOCK_DGRAM) as endpoint:
        endpoint.sendto(b"x", CLOSED)


def send_message():
    with socket.socket(type=socket.SOCK_DGRAM) as endpoint:
        endpoint.sendmsg([b"x"], (), 0, CLOSED)


def fork():
    if os.fork() == 0:
        os._exit(0)


def start_with(method):
    process = multiprocessing.get_context(method).Process(target=print)
    process.start()
    process.join()


OTHER = 2**22 + 1
"""No process has this number: if a signal to it came through, the error would be another one."""
CALLS = {
    "kill": (lambda: os.kill(OTHER, signal.SIGTERM), "os.kill", f"signal to {OTHER}"),
    "killpg": (lambda: os.killpg(OTHER, signal.SIGTERM), "os.killpg", f"signal to {OTHER}"),
    "raise_signal": (lambda: signal.raise_signal(signal.SIGURG), "signal.raise_signal", "signal to itself"),
    "pthread_kill": (
        lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGURG),
        "signal.pthread_kill",
        f"signal to {threading.main_thread().ident}",
    ),
    "connect": (connect, "socket.connect", "127.0.0.1:9"),
    "connect_ex": (connect_ex, "socket.connect", "127.0.0.1:9"),
    "unix socket": (lambda: connect(socket.AF_UNIX, "/nowhere"), "socket.connect", "/nowhere"),
    "udp": (send_packet, "socket.sendto", "127.0.0.1:9"),
    "sendmsg": (send_message, "socket.sendmsg", "127.0.0.1:9"),
    "server": (bind, "socket.bind", "127.0.0.1"),
    "create_connection": (lambda: socket.create_connection(CLOSED), "socket.getaddrinfo", "127.0.0.1:9"),
    "look-up": (lambda: socket.gethostbyname("example.invalid"), "socket.gethostbyname", "example.invalid"),
    "extended look-up": (lambda: socket.gethostbyname_ex("example.invalid"), "socket.gethostbyname", "example.invalid"),
    "reverse look-up": (lambda: socket.gethostbyaddr("192.0.2.1"), "socket.gethostbyaddr", "192.0.2.1"),
    "name of a socket's address": (lambda: socket.getnameinfo(CLOSED, 0), "socket.getnameinfo", "127.0.0.1:9"),
    "httpx": (lambda: httpx.post("http://127.0.0.1:9/"), "socket.getaddrinfo", "127.0.0.1:9"),
    "requests": (lambda: requests.get("http://example.invalid/"), "socket.getaddrinfo", "example.invalid:80"),
    "urllib": (lambda: urllib.request.urlopen("https://example.invalid/"), "socket.getaddrinfo", "example.invalid:443"),
    "http.client": (
        lambda: http.client.HTTPConnection("example.invalid").request("GET", "/"),
        "socket.getaddrinfo",
        "example.invalid:80",
    ),
    "smtplib": (lambda: smtplib.SMTP("example.invalid", 587), "socket.getaddrinfo", "example.invalid:587"),
    "psycopg": (lambda: psycopg.connect("postgresql://me@127.0.0.1:9/db"), "psycopg.connect", "127.0.0.1:9"),
    "psycopg on a unix socket": (
        lambda: psycopg.connect("host=/nowhere user=me"),
        "psycopg.connect",
        "/nowhere/.s.PGSQL.5432",
    ),
    "Popen": (lambda: subprocess.run(["/bin/true"], check=False), "subprocess.Popen", "/bin/true"),
    "shell": (lambda: subprocess.run("true x", shell=True, check=False), "subprocess.Popen", "true"),
    "popen": (lambda: os.popen("true x"), "subprocess.Popen", "true"),
    "system": (lambda: os.system("true x"), "os.system", "true"),
    "exec": (lambda: os.execv("/bin/true", ["true"]), "os.exec", "/bin/true"),
    "posix_spawn": (lambda: os.posix_spawn("/bin/true", ["true"], {}), "os.posix_spawn", "/bin/true"),
    "fork": (fork, "os.fork", "fork"),
    "multiprocessing by fork": (lambda: start_with("fork"), "os.fork", "fork"),
    "multiprocessing by spawn": (lambda: start_with("spawn"), "fork_exec", sys.executable),
}


def refusals_of(program, **options):
    """Run a function in a simulation: the refusals that are recorded."""
    found = []
    loop = VirtualLoop(**options)
    loop.guard.on_refusal = lambda call, target, context: found.append((call, target))

    async def main():
        return program()

    run(main(), loop=loop)
    return found


@pytest.mark.parametrize("name", CALLS)
def test_call_is_refused_by_name_and_recorded(name):
    function, call, target = CALLS[name]

    def program():
        with pytest.raises(RealIOError, match="allow_io") as caught:
            function()
        assert (caught.value.call, caught.value.target) == (call, target)

    assert refusals_of(program) == [(call, target)]


def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(error_of(function)))
    thread.start()
    thread.join()
    return found[0]


def in_bare_thread(function):
    found, done = [], threading.Event()
    _thread.start_new_thread(lambda: (found.append(error_of(function)), done.set()), ())
    assert done.wait(10)
    return found[0]


def in_pool(function):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(error_of, function).result()


def in_thread_of_thread(function):
    return in_thread_result(lambda: in_thread(function))


def in_thread_result(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def error_of(function):
    try:
        function()
    except Exception as error:  # noqa: BLE001
        return error


@pytest.mark.parametrize("start", [in_thread, in_bare_thread, in_pool, in_thread_of_thread])
def test_threads_that_it_starts_belong_to_it(start):
    found = []
    assert refusals_of(lambda: found.append(start(connect))) == [("socket.connect", "127.0.0.1:9")]
    assert isinstance(found[0], RealIOError)


def test_a_pool_that_is_older_than_the_simulation_works_for_it():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert isinstance(pool.submit(error_of, connect).result(), ConnectionRefusedError)
        found = []
        refusals_of(lambda: found.append(pool.submit(error_of, connect).result()))
        assert isinstance(found[0], RealIOError)
        assert isinstance(pool.submit(error_of, connect).result(), ConnectionRefusedError)


def thread_that_connects(orders, answers):
    def work():
        for order, answer in zip(orders, answers, strict=True):
            assert order.wait(10)
            answer.append(error_of(connect))

    return work


def pool_of_one(work):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(work)
    pool.shutdown(wait=False)


@pytest.mark.parametrize(
    "start",
    [
        lambda work: threading.Thread(target=work).start(),
        lambda work: threading.Timer(0.001, work).start(),
        lambda work: _thread.start_new_thread(work, ()),
        pool_of_one,
    ],
    ids=["thread", "timer", "bare thread", "work of a pool"],
)
def test_what_outlives_its_simulation_reaches_nothing_later_and_is_recorded_nowhere(start):
    orders, answers = [threading.Event() for _ in range(2)], [[], []]

    def wait_for(answer):
        while not answer:
            time.sleep(0.001)

    recorded = refusals_of(lambda: start(thread_that_connects(orders, answers)))
    orders[0].set()
    wait_for(answers[0])
    assert isinstance(answers[0][0], RealIOError)
    assert recorded == []

    def second():
        orders[1].set()
        wait_for(answers[1])

    assert refusals_of(second) == [("socket.connect", "127.0.0.1:9")]


def test_a_pool_of_a_simulation_serves_others_after_it():
    pools = []

    def program():
        pools.append(concurrent.futures.ThreadPoolExecutor(1))
        assert isinstance(pools[0].submit(error_of, connect).result(), RealIOError)

    refusals_of(program)
    with pools[0] as pool:
        assert isinstance(pool.submit(error_of, connect).result(), ConnectionRefusedError)


def test_threads_of_the_surroundings_are_not_touched_while_a_simulation_plays():
    asked, answered, found = threading.Event(), threading.Event(), []

    def surroundings():
        assert asked.wait(10)
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            client.sendall(b"x")
        found.append(subprocess.run([sys.executable, "-c", ""], check=False).returncode)
        found.append(asyncio.run(asyncio.sleep(0, "a loop of its own")))
        answered.set()

    thread = threading.Thread(target=surroundings)
    thread.start()

    def program():
        asked.set()
        assert answered.wait(60)

    assert refusals_of(program) == []
    thread.join()
    assert found == [0, "a loop of its own"]


def test_what_needs_no_world_goes_on(tmp_path):
    import sqlite3

    def program():
        with closing(sqlite3.connect(tmp_path / "tasks.db")) as connection:
            connection.execute("create table tasks (id)")
        (tmp_path / "file").write_text("x")
        left, right = socket.socketpair()
        with left, right:
            left.sendall(b"x")
            right.recv(1)
        assert asyncio.new_event_loop().close() is None
        return threading.Thread(target=print, args=("",)).start()

    async def main():
        await asyncio.to_thread(program)
        return await asyncio.to_thread(lambda: asyncio.run(asyncio.sleep(0, "an inner loop")))

    assert run(main()) == "an inner loop"


def test_a_connection_from_before_is_not_sent_on():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        host, port = server.getsockname()

        def program():
            for send in (client.send, client.sendall, lambda data: client.sendmsg([data])):
                with pytest.raises(RealIOError, match=rf"{host}:{port}"):
                    send(b"x")

        refused = refusals_of(program)
        assert refused == [(f"socket.{name}", f"{host}:{port}") for name in ("send", "sendall", "sendmsg")]
        assert refusals_of(lambda: client.sendall(b"allowed"), allow_io=[f"{host}:{port}"]) == []
        peer = server.accept()[0]
        with peer:
            assert peer.recv(100) == b"allowed"
        assert "send" not in vars(socket.socket)


def test_an_allowed_host_is_reached_and_another_is_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def program():
            for host in ("127.0.0.1", "localhost"):
                with socket.create_connection((host, port)) as client:
                    client.sendall(b"x")
            with pytest.raises(RealIOError):
                connect()

        assert refusals_of(program, allow_io=[f"localhost:{port}"]) == [("socket.connect", "127.0.0.1:9")]


def test_an_allowed_program_is_run():
    def program():
        return subprocess.run([sys.executable, "-c", ""], check=True)

    assert refusals_of(program, allow_io=["process:python*"]) == []
    assert refusals_of(program, allow_io=["*"]) == []


def test_an_entry_that_is_wrong_is_refused_at_once():
    with pytest.raises(ValueError, match="1 to 65535"):
        run(asyncio.sleep(0), allow_io=["host:http"])
    with pytest.raises(ValueError, match="1 to 65535"):
        VirtualLoop(allow_io=["host:http"])


def test_code_that_watches_from_outside_may_reach_the_world():
    def program():
        with outside():
            with outside():
                assert current_guard() is None
            assert isinstance(error_of(connect), ConnectionRefusedError)
        assert isinstance(error_of(connect), RealIOError)

    assert refusals_of(program) == [("socket.connect", "127.0.0.1:9")]


def test_a_simulation_inside_of_one_tells_both():
    inner = []

    def program():
        inner.extend(refusals_of(lambda: error_of(connect)))

    assert refusals_of(program) == inner == [("socket.connect", "127.0.0.1:9")]


def test_a_refusal_in_a_thread_has_the_context_of_whoever_started_it():
    from queuesim.core.job import RUNNING_JOB, Job

    job = Job("7", "mail", None)
    found = []
    loop = VirtualLoop()
    loop.guard.on_refusal = lambda call, target, context: found.append(context.get(RUNNING_JOB))

    async def main():
        copy_context().run(lambda: (RUNNING_JOB.set(job), in_thread(connect), in_pool(connect)))

    run(main(), loop=loop)
    assert found == [job, job]


def test_nothing_is_refused_when_no_simulation_plays():
    refusals_of(lambda: None)
    assert current_guard() is None
    assert isinstance(error_of(connect), ConnectionRefusedError)
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0


def test_a_driver_in_c_that_is_first_imported_in_a_simulation_is_guarded() -> None:
    """In a process of its own: here it may be imported already."""
    program = (
        "import sys\n"
        "from queuesim.simulation import RealIOError, run\n"
        "async def connect():\n"
        "    import psycopg\n"
        "    try:\n"
        "        psycopg.connect('host=127.0.0.1 port=1 connect_timeout=1')\n"
        "    except RealIOError as error:\n"
        "        print(error)\n"
        "assert 'psycopg' not in sys.modules\n"
        "before = list(sys.meta_path)\n"
        "run(connect())\n"
        "import psycopg.generators\n"
        "assert sys.meta_path == before\n"
        "assert psycopg.generators.connect.__module__ != 'queuesim.simulation.io_guard'\n"
        "assert type(psycopg.generators.__loader__).__module__ != 'queuesim.simulation.io_guard'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("psycopg.connect(127.0.0.1:1) is real input or output")


@pytest.mark.parametrize("name", ["connect", "sendto", "system", "fork", "execve", "posix_spawn"])
def test_ctypes_finds_no_function_that_reaches_the_world(name: str) -> None:
    async def look_up() -> object:
        return getattr(ctypes.CDLL(None), name)

    with pytest.raises(RealIOError, match=rf"ctypes\.dlsym: {name}"):
        run(look_up())
    assert asyncio.run(look_up())


def test_ctypes_finds_all_others() -> None:
    async def look_up() -> int:
        return int(ctypes.CDLL(None).abs(-3))

    assert run(look_up()) == 3


def test_to_ask_whether_a_process_is_there_sends_nothing() -> None:
    async def ask() -> None:
        os.kill(os.getpid(), 0)

    run(ask())


def test_a_signal_from_outside_of_the_simulation_is_sent() -> None:
    came = []
    before = signal.signal(signal.SIGURG, lambda *_: came.append(True))
    try:

        async def send() -> None:
            with outside():
                signal.raise_signal(signal.SIGURG)

        run(send())
    finally:
        signal.signal(signal.SIGURG, before)
    assert came == [True]
