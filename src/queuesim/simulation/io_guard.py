"""The guard that keeps a simulation from the world: it refuses connections, packets, name look-ups and subprocesses.

CPython announces these calls to audit hooks (PEP 578) before it carries them out, whichever library makes them, and a
hook that raises stops them. A hook can't be taken out again, so there is one for the whole process. The rest, which is
to send on a connection that was there before and clients that are written in C, is guarded by replacing functions while
a simulation plays.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as pools
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import get_ident
from types import ModuleType
from typing import Any

from queuesim.simulation.allowed_io import AllowedIO, Reach, Target
from queuesim.simulation.refused_io import STAND_IN, RealIOError, host_target
from queuesim.simulation.threads import Threads

Note = Callable[[str, str, Context], None]
"""Called with every refusal: the call, its target and the context variables of whoever called."""

INTERNET = (socket.AF_INET, socket.AF_INET6)


class IOGuard:
    """Refuses real input and output of one loop's thread, and of the threads that are started there.

    Args:
        allowed: what it lets through. Only blocking calls are: a virtual loop has no sockets of its own.
    """

    def __init__(self, allowed: AllowedIO | None = None) -> None:
        self.allowed = AllowedIO() if allowed is None else allowed
        self.on_refusal: Note | None = None
        """Called with every refusal, in the thread that called."""
        self.threads: Threads | None = None
        """Told of the threads that are started; None: nobody is."""
        self._outer: IOGuard | None = None
        self._plays = 0

    @contextmanager
    def playing(self) -> Iterator[None]:
        """In this block the calling thread is inside of the simulation. May be nested: each guard is told."""
        ident = get_ident()
        self._outer = _playing.get(ident)
        _install()
        _playing[ident] = self
        self._plays += 1
        try:
            yield
        finally:
            self._plays -= 1
            if self._outer is None:
                del _playing[ident]
            else:
                _playing[ident] = self._outer
            _uninstall()

    def check(self, call: str, target: Target) -> None:
        """Let an allowed call through. Raises RealIOError for any other."""
        if self.allowed.permits(target):
            return
        self.note(call, target)
        advice = f'{STAND_IN}, or allow it: allow_io: ["{target.pattern}"]'
        raise RealIOError(call, advice, str(target))

    def note(self, call: str, target: Target | None, context: Context | None = None) -> None:
        """Record that a call was refused."""
        context = context or starting_context() or copy_context()
        if self.on_refusal is not None and self._plays:  # else the recording is closed
            self.on_refusal(call, "" if target is None else str(target), context)
        if self._outer is not None:
            self._outer.note(call, target, context)


# -- which threads are inside


@dataclass(frozen=True, slots=True)
class ThreadOrigin:
    """Where a thread was started: in which simulation, and with which context variables."""

    guard: IOGuard
    context: Context
    number: int = 0
    """Of the work, if it was handed to a pool of threads."""


_playing: dict[int, IOGuard] = {}
"""By the identifier of a loop's thread, the guard of the simulation that plays there now."""
_outside: set[int] = set()
"""Threads that are outside of a simulation for a moment."""


@contextmanager
def outside() -> Iterator[None]:
    """In this block the calling thread may reach the world: for code that watches a simulation from outside."""
    ident = get_ident()
    if ident in _outside:
        yield
        return
    _outside.add(ident)
    try:
        yield
    finally:
        _outside.discard(ident)


def current_guard() -> IOGuard | None:
    """The guard of the simulation that the calling thread belongs to; None if it belongs to none.

    A thread that was started in a simulation, or the work that it handed to a pool of threads, belongs to it also when
    it is over, so that a `threading.Timer` reaches nothing later. While another simulation plays, it belongs to that
    one. A pool's thread that now does other work, and all other threads, such as those of a notebook or a debugger, are
    outside.
    """
    ident = get_ident()
    if ident in _outside:
        return None
    guard = _playing.get(ident)
    if guard is not None:
        return guard
    origin = thread_origin()
    if origin is None:
        return None
    guards = list(_playing.values())
    if origin.guard in guards:
        return origin.guard
    if guards:
        return guards[0]
    return None if ident not in _lent and _serves_a_pool(ident) else origin.guard


def _serves_a_pool(ident: int) -> bool:
    """Whether a thread is one of a ThreadPoolExecutor, which serves one run after another."""
    return getattr(threading._active.get(ident), "_target", None) is pools._worker  # type: ignore[attr-defined]


_lent: dict[int, ThreadOrigin] = {}
"""Threads that do a simulation's work now, by their identifiers, wherever they were started."""


def thread_origin() -> ThreadOrigin | None:
    """Where the calling thread, or the work that it does, was started; None if not in a simulation."""
    ident = get_ident()
    lent = _lent.get(ident)
    if lent is not None:
        return lent
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # current_thread() would make one up
    origin: ThreadOrigin | None = getattr(thread, "_queuesim_origin", None)
    return origin


def _present_origin() -> ThreadOrigin | None:
    """What a thread or a piece of work that is started now comes from; None outside of simulations."""
    guard = current_guard()
    return None if guard is None else ThreadOrigin(guard, starting_context() or copy_context())


def _work(origin: ThreadOrigin, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call `function`, which a simulation handed to this thread."""
    ident = get_ident()
    _lent[ident] = origin
    threads = origin.guard.threads
    if threads is not None:
        threads.begin(origin.number)
    try:
        return function(*args, **options)
    finally:
        del _lent[ident]
        if threads is not None:
            threads.end()


def starting_context() -> Context | None:
    """The context variables of whoever started the calling thread, if it was started in a simulation."""
    origin = thread_origin()
    return None if origin is None or get_ident() in _playing else origin.context


# -- calls that CPython announces


def _socket_target(endpoint: socket.socket, address: object) -> Target:
    if endpoint.family in INTERNET and isinstance(address, tuple):
        return host_target(address[0], address[1])
    if endpoint.family == getattr(socket, "AF_UNIX", None):
        path = address.decode(errors="replace") if isinstance(address, bytes) else str(address)
        return Target(Reach.UNIX_SOCKET, path)
    return Target(Reach.OTHER, f"{getattr(endpoint.family, 'name', endpoint.family)} {address}")


def _program(command: object) -> Target:
    """The program of a command, given as a line or as a list."""
    if isinstance(command, (list, tuple)):
        command = command[0] if command else ""
    text = command.decode(errors="replace") if isinstance(command, bytes) else str(command)
    return Target(Reach.PROCESS, text.split()[0] if text.split() else text)


def _connect(guard: IOGuard, event: str, endpoint: socket.socket, address: object) -> None:
    guard.check(event, _socket_target(endpoint, address))


def _send(guard: IOGuard, event: str, endpoint: socket.socket, address: object = None) -> None:
    if address is not None:  # sendmsg on a socket that is connected: see send() below
        guard.check(event, _socket_target(endpoint, address))


def _look_up(guard: IOGuard, event: str, host: object, port: object = None, *_: object) -> None:
    if host is None:
        return  # any address of this machine: nothing is asked
    address = isinstance(host, tuple)
    target = host_target(host[0], host[1]) if isinstance(host, tuple) and len(host) > 1 else host_target(host, port)
    guard.check(event, target)
    if not address:
        with outside():
            guard.allowed.learn_addresses(target.name)


def _popen(guard: IOGuard, event: str, executable: object, args: object, *_: object) -> None:
    command = executable or args
    if isinstance(args, (list, tuple)) and len(args) > 2 and args[1] == "-c" and str(args[0]).endswith("sh"):
        command = args[2]  # what the shell is to run
    guard.check(event, _program(command))


def _start_process(guard: IOGuard, event: str, path: object, *_: object) -> None:
    guard.check(event, _program(path))


def _spawn(guard: IOGuard, event: str, mode: object, path: object, *_: object) -> None:
    guard.check(event, _program(path))


def _fork(guard: IOGuard, event: str, *_: object) -> None:
    guard.check(event, Target(Reach.PROCESS, "fork"))


def _signal(guard: IOGuard, event: str, process: object, number: object, *_: object) -> None:
    # 0 is no signal: it asks whether there is such a process
    if number != 0:
        guard.check(event, Target(Reach.PROCESS, f"signal to {process}"))


def _raised(_: object) -> Target:
    return Target(Reach.PROCESS, "signal to itself")


def _symbol(guard: IOGuard, event: str, library: object, name: object, *_: object) -> None:
    """A function of a C library that is looked up by its name, in order to be called."""
    if name in C_FUNCTIONS:
        guard.check(f"{event}: {name}", Target(C_FUNCTIONS[name], f"ctypes {name}"))


C_FUNCTIONS: dict[object, Reach] = {
    **dict.fromkeys(("connect", "send", "sendto", "sendmsg", "sendmmsg", "getaddrinfo", "gethostbyname"), Reach.OTHER),
    **dict.fromkeys(("system", "popen", "fork", "vfork", "execve", "execvp", "posix_spawn"), Reach.PROCESS),
    "syscall": Reach.OTHER,
}
"""Functions of the C library that ctypes may not look up in a simulation, and what they reach."""


ANNOUNCED: dict[str, Callable[..., None]] = {
    "socket.connect": _connect,
    "socket.bind": _connect,
    "socket.sendto": _send,
    "socket.sendmsg": _send,
    "socket.getaddrinfo": _look_up,
    "socket.gethostbyname": _look_up,
    "socket.gethostbyaddr": _look_up,
    "socket.getnameinfo": _look_up,
    "subprocess.Popen": _popen,
    "os.system": _start_process,
    "os.exec": _start_process,
    "os.posix_spawn": _start_process,
    "os.spawn": _spawn,
    "os.startfile": _start_process,
    "pty.spawn": _start_process,
    "os.fork": _fork,
    "os.forkpty": _fork,
    "os.kill": _signal,
    "os.killpg": _signal,
    "signal.pthread_kill": _signal,
    "ctypes.dlsym": _symbol,
}
"""The audit events that a simulation does not allow, with what finds out what they reach for."""


def _make_hook() -> Callable[[str, tuple[Any, ...]], None]:
    announced = ANNOUNCED

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in announced:
            guard = current_guard()
            if guard is not None:
                announced[event](guard, event, *args)

    return hook


# -- calls that it does not announce


def _guard_connected(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """A socket's method that sends: on a connection to the world that was there before the simulation."""

    def send(self: socket.socket, *args: Any, **options: Any) -> Any:
        guard = current_guard()
        if guard is not None and self.family in INTERNET:
            try:
                peer = self.getpeername()
            except OSError:
                peer = None  # not connected: the call itself says so, or announces where it sends to
            if peer is not None:
                guard.check(f"socket.{name}", host_target(peer[0], peer[1]))
        return original(self, *args, **options)

    return send


def _guard_first(call: str, target_of: Callable[[Any], Target]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Guards a function whose first argument says what it reaches."""

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def function(first: Any, *args: Any, **options: Any) -> Any:
            guard = current_guard()
            if guard is not None:
                guard.check(call, target_of(first))
            return original(first, *args, **options)

        return function

    return guarded


def _mark_thread(original: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    """A thread that is started in a simulation belongs to it. CPython announces that from 3.12 on only."""

    def start(self: threading.Thread) -> None:
        origin = _present_origin()
        if origin is not None:
            self._queuesim_origin = origin  # type: ignore[attr-defined]
            if origin.guard.threads is not None:
                origin.guard.threads.add(self)
        original(self)

    return start


def _mark_submitted(original: Callable[..., Any]) -> Callable[..., Any]:
    """The same for work that is handed to a pool, whose threads may be older than the simulation."""

    def submit(self: object, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        origin = _present_origin()
        if origin is None:
            return original(self, function, *args, **options)
        threads = origin.guard.threads
        if threads is None:
            return original(self, _work, origin, function, *args, **options)
        number = threads.queue()
        try:
            future = original(self, _work, replace(origin, number=number), function, *args, **options)
        except BaseException:
            threads.unqueue(number)
            raise
        future.add_done_callback(lambda _: threads.unqueue(number))  # it may be cancelled before it begins
        return future

    return submit


def _mark_bare_thread(original: Callable[..., int]) -> Callable[..., int]:
    """The same for a thread without a `threading.Thread`."""

    def start_new_thread(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any = None, /) -> int:
        origin = _present_origin()
        if origin is not None:
            if origin.guard.threads is not None:
                origin = replace(origin, number=origin.guard.threads.queue())
            function, args = _work, (origin, function, *args)
        return original(function, args) if kwargs is None else original(function, args, kwargs)

    return start_new_thread


def _postgres_target(conninfo: str) -> Target:
    """Where a connection string of libpq leads, in its keyword form, which both drivers make of all others."""
    words = dict(word.partition("=")[::2] for word in conninfo.split() if "=" in word)
    host = (words.get("hostaddr") or words.get("host") or "localhost").strip("'")
    port = words.get("port", "5432").strip("'")
    if host.startswith("/"):
        return Target(Reach.UNIX_SOCKET, f"{host}/.s.PGSQL.{port}")
    return host_target(host, port)


def _replacements() -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """What to replace while a simulation plays: owner, attribute and replacement."""
    for name in ("send", "sendall", "sendmsg", "sendfile"):
        if hasattr(socket.socket, name):
            yield socket.socket, name, _guard_connected(name, getattr(socket.socket, name))
    modules = sys.modules
    if "ssl" in modules:
        for name in ("send", "sendall", "write"):
            yield modules["ssl"].SSLSocket, name, _guard_connected(name, getattr(modules["ssl"].SSLSocket, name))
    for module, name, guarded in FUNCTIONS:
        if hasattr(modules.get(module), name):
            yield modules[module], name, guarded(getattr(modules[module], name))
    yield threading.Thread, "start", _mark_thread(threading.Thread.start)
    yield ThreadPoolExecutor, "submit", _mark_submitted(ThreadPoolExecutor.submit)


FUNCTIONS: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("psycopg.generators", "connect", _guard_first("psycopg.connect", _postgres_target)),
    ("psycopg2", "_connect", _guard_first("psycopg2.connect", _postgres_target)),
    ("_posixsubprocess", "fork_exec", _guard_first("fork_exec", _program)),  # as multiprocessing starts processes
    ("_thread", "start_new_thread", _mark_bare_thread),
    ("signal", "raise_signal", _guard_first("signal.raise_signal", _raised)),  # announced to nobody
)
"""Functions of modules to replace, if the module is loaded: libpq looks names up and connects in C."""


class LateImports(MetaPathFinder):
    """Guards the functions of a module that is first imported while a simulation plays."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """What PathFinder finds, if it is a module with functions to replace."""
        if fullname not in {module for module, _, _ in FUNCTIONS}:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _GuardingLoader(spec.loader)
        return spec


class _GuardingLoader(Loader):
    """Loads a module by its own loader, and then replaces its functions."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        with _lock:
            for name, function, guarded in FUNCTIONS if _installed else ():
                if name == module.__name__ and hasattr(module, function):
                    _replace(module, function, guarded(getattr(module, function)))


def _replace(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    _undo.append((owner, name, vars(owner).get(name, _MISSING)))
    setattr(owner, name, replacement)


_late_imports = LateImports()
_lock = threading.Lock()
_installed = 0
_hooked = False
_undo: list[tuple[Any, str, Any]] = []
_MISSING = object()
"""Stands for an attribute that the owner inherits."""


def _install() -> None:
    """Add the hook, once in the life of the process, and replace what it does not see, while any simulation plays."""
    global _hooked, _installed
    with _lock:
        _installed += 1
        if not _hooked:
            sys.addaudithook(_make_hook())
            _hooked = True
        if _installed == 1:
            for owner, name, replacement in _replacements():
                _replace(owner, name, replacement)
            sys.meta_path.insert(0, _late_imports)


def _uninstall() -> None:
    global _installed
    with _lock:
        _installed -= 1
        if not _installed:
            sys.meta_path.remove(_late_imports)
            while _undo:
                owner, name, original = _undo.pop()
                if original is _MISSING:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)
