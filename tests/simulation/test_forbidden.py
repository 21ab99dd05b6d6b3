"""Real input and output in a simulation is a clear error that names the call, never a hang."""

import asyncio
import inspect
import signal
import socket

import pytest

from queuesim.error import QueuesimError
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.refused_io import REFUSED, RealIOError
from queuesim.simulation.runner import run

CALLS = {
    "create_connection": lambda loop: asyncio.open_connection("127.0.0.1", 9),
    "create_server": lambda loop: asyncio.start_server(print, "127.0.0.1", 0),
    "create_unix_connection": lambda loop: asyncio.open_unix_connection("/nowhere"),
    "create_unix_server": lambda loop: asyncio.start_unix_server(print, "/nowhere"),
    "create_datagram_endpoint": lambda loop: loop.create_datagram_endpoint(asyncio.DatagramProtocol),
    "getaddrinfo": lambda loop: loop.getaddrinfo("localhost", 80),
    "getnameinfo": lambda loop: loop.getnameinfo(("127.0.0.1", 80)),
    "subprocess_exec": lambda loop: asyncio.create_subprocess_exec("true"),
    "subprocess_shell": lambda loop: asyncio.create_subprocess_shell("true"),
    "sock_connect": lambda loop: loop.sock_connect(None, ("127.0.0.1", 9)),
    "sock_recv": lambda loop: loop.sock_recv(None, 1),
    "sock_sendall": lambda loop: loop.sock_sendall(None, b""),
    "connect_read_pipe": lambda loop: loop.connect_read_pipe(asyncio.Protocol, None),
    "connect_write_pipe": lambda loop: loop.connect_write_pipe(asyncio.Protocol, None),
    "start_tls": lambda loop: loop.start_tls(None, None, None),
    "sendfile": lambda loop: loop.sendfile(None, None),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_call_is_named_and_the_way_out(call):
    async def main():
        with pytest.raises(RealIOError, match=rf"loop\.{call}\(.*\) is real input or output") as caught:
            await CALLS[call](asyncio.get_running_loop())
        assert isinstance(caught.value, QueuesimError)
        assert caught.value.call == f"loop.{call}"
        assert len(str(caught.value).partition(" time: ")[2]) > 20

    run(main())


def test_readers_and_signal_handlers_are_refused():
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as endpoint:
            for method in (loop.add_reader, loop.add_writer):
                with pytest.raises(RealIOError, match=method.__name__):
                    method(endpoint, print)
        with pytest.raises(RealIOError, match="add_signal_handler"):
            loop.add_signal_handler(signal.SIGTERM, print)

    run(main())


def test_no_such_method_of_asyncios_loops_is_forgotten():
    """Every public method of the abstract loop is refused, or is one of those that a simulation has."""
    provided = {
        *("call_at", "call_exception_handler", "call_later", "call_soon", "call_soon_threadsafe", "close"),
        *("create_future", "create_task", "default_exception_handler", "get_debug", "get_exception_handler"),
        *("get_task_factory", "is_closed", "is_running", "run_forever", "run_in_executor", "run_until_complete"),
        *("set_debug", "set_default_executor", "set_exception_handler", "set_task_factory", "shutdown_asyncgens"),
        *("shutdown_default_executor", "stop", "time"),
    }
    methods = {
        name
        for name, _ in inspect.getmembers(asyncio.AbstractEventLoop, inspect.isfunction)
        if not name.startswith("_")
    }
    assert methods - provided == set(REFUSED)
    loop = VirtualLoop()
    for call in REFUSED:
        with pytest.raises(RealIOError, match=call):
            getattr(loop, call)()
    loop.close()


def test_a_refused_call_does_not_end_the_run():
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            await together()
        await asyncio.sleep(5)
        return caught.value.exceptions[0].call, asyncio.get_running_loop().time()

    async def together():
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.open_connection("example.org", 80))

    assert run(main()) == ("loop.create_connection", 5)


@pytest.mark.parametrize(
    ("call", "target"),
    [
        (lambda loop: asyncio.open_connection("db.example.org", 5432), "db.example.org:5432"),
        (lambda loop: asyncio.open_connection("::1", 80), "[::1]:80"),
        (lambda loop: asyncio.open_unix_connection("/run/db.sock"), "/run/db.sock"),
        (lambda loop: loop.getaddrinfo("example.org", "https"), "example.org"),
        (lambda loop: loop.create_datagram_endpoint(print, remote_addr=("10.0.0.1", 53)), "10.0.0.1:53"),
        (lambda loop: loop.sock_connect(None, ("127.0.0.1", 9)), "127.0.0.1:9"),
        (lambda loop: asyncio.create_subprocess_exec("git", "pull"), "git"),
        (lambda loop: loop.sock_recv(None, 1), ""),
    ],
)
def test_the_error_says_what_would_have_been_reached(call, target):
    async def main():
        with pytest.raises(RealIOError) as caught:
            await call(asyncio.get_running_loop())
        return caught.value.target

    assert run(main()) == target
