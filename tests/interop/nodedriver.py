"""BullMQ on Node, driven from Python: any class, any method, without a line of JavaScript in most tests.

```python
node = Node(server)
queue = node.new("Queue", "mail", {"connection": node.connection})
job = queue.add("welcome", {"to": "ann"}, {"delay": 500})
job.json["delay"], queue.getJobCounts("delayed")
```

Calls block until Node has answered; a test whose event loop must go on meanwhile uses `asyncio.to_thread`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from needs import NODE, Lacking
from queuesim.brokers.redis.embedded import EmbeddedServer

HERE = Path(__file__).parent
PATIENCE = 30.0
"""Seconds that any call may take."""
DEFAULT = "bullmq"
VERSIONS = (DEFAULT, "bullmq60", "bullmq5")
"""Names in package.json of the versions of BullMQ that Node applications run: 6.7, the last 6.0, the last 5."""


class NodeError(Exception):
    """What Node threw."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.name: str = error["name"]
        self.code: int | None = error.get("code")
        super().__init__(f"{error['name']}: {error['message']}")
        self.add_note(error.get("stack", ""))


class NodeGoneError(ConnectionError):
    """The Node process has ended."""

    def __init__(self) -> None:
        super().__init__("node is gone")


class Js:
    """An expression of JavaScript as an argument; it sees `lib` (all of bullmq, and Redis) and `kept`."""

    def __init__(self, code: str) -> None:
        self.code = code


class NodeObject:
    """An object that lives in Node. Methods that are not ours are its own."""

    def __init__(self, node: Node, ref: int, fields: dict[str, Any] | None = None) -> None:
        self._node = node
        self._ref = ref
        self.json: dict[str, Any] = fields or {}
        """A job as `toJSON` had it when it was returned."""

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("__"):
            raise AttributeError(method)
        return lambda *args: self._node.request(op="call", ref=self._ref, method=method, args=args)

    def get(self, name: str) -> Any:
        """A property."""
        return self._node.request(op="get", ref=self._ref, property=name)

    def listen(self) -> None:
        """Remember what it emits from now on, for `heard`."""
        self._node.request(op="listen", ref=self._ref)

    def heard(self, *kinds: str) -> list[list[Any]]:
        """What it emitted since `listen`, as [event, arguments...]; of some kinds only, where any are given."""
        entries: list[list[Any]] = self._node.request(op="heard", ref=self._ref)
        return [entry for entry in entries if not kinds or entry[0] in kinds]


class Node:
    """A Node process with BullMQ, and the connection options for a server.

    Args:
        package: which version of BullMQ, by its name in package.json.
    """

    def __init__(self, server: EmbeddedServer | None = None, package: str = DEFAULT) -> None:
        install()
        self.connection: dict[str, Any] = {} if server is None else {"path": str(server.socket)}
        self._process = subprocess.Popen(
            ["node", "driver.mjs", package], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._requests = 0
        self._answers: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._gone = False
        self._reader = threading.Thread(target=self._read, name="answers of node", daemon=True)
        self._reader.start()

    @property
    def is_running(self) -> bool:
        """Whether the process can still answer."""
        return self._process.poll() is None and not self._gone

    @property
    def pid(self) -> int:
        """The process, for whoever wants to kill it."""
        return self._process.pid

    def new(self, kind: str, *args: Any) -> NodeObject:
        """Make an object of one of BullMQ's classes, or a `Redis`."""
        made: NodeObject = self.request(op="new", args=args, **{"class": kind})
        return made

    def run(self, code: str, **args: Any) -> Any:
        """Run the body of an async function that sees `args`, `lib`, and `kept`, which lasts from call to call."""
        return self.request(op="run", code=code, args=args)

    def set_clock(self, milliseconds: int | None) -> None:
        """Let `Date.now` stand still there, or run again with None."""
        self.request(op="clock", now=milliseconds)

    def request(self, **request: Any) -> Any:
        """Ask for one of the driver's operations and wait for the answer.

        Raises:
            NodeError: Node threw it.
            NodeGoneError: the process has ended.
        """
        answer: Future[Any] = Future()
        with self._lock:
            if self._gone:
                raise NodeGoneError
            self._requests += 1
            self._answers[self._requests] = answer
            assert self._process.stdin is not None
            line = json.dumps({"id": self._requests, **request}, default=_sent) + "\n"
            # if it has just died, the reader answers
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line)
                self._process.stdin.flush()
        return self._received(answer.result(PATIENCE))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # what a dead process did not read is lost
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            future = self._answers.pop(answer["id"])
            if "error" in answer:
                future.set_exception(NodeError(answer["error"]))
            else:
                future.set_result(answer["value"])
        with self._lock:
            self._gone = True
            for future in self._answers.values():
                future.set_exception(NodeGoneError())

    def _received(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._received(part) for part in value]
        if isinstance(value, dict):
            if "$ref" in value:
                return NodeObject(self, value["$ref"], value.get("json"))
            return {key: self._received(part) for key, part in value.items()}
        return value


class SharedNode:
    """The Node process that tests share. One that has died, by whatever a test did, is replaced for the next test."""

    def __init__(self, server: EmbeddedServer, package: str = DEFAULT) -> None:
        self._server = server
        self._package = package
        self._node: Node | None = None

    def running(self) -> Node:
        """The process, started if there is none that runs. Objects of one that died are gone with it."""
        if self._node is None or not self._node.is_running:
            self.close()
            self._node = Node(self._server, self._package)
        return self._node

    def close(self) -> None:
        """End the process, if there is one."""
        if self._node is not None:
            self._node.close()
            self._node = None


def _sent(value: Any) -> Any:
    if isinstance(value, NodeObject):
        return {"$ref": value._ref}
    if isinstance(value, Js):
        return {"$js": value.code}
    raise TypeError(f"{value!r} can't be sent to node")


def install() -> None:
    """Install what package-lock.json says, once; skip the test where there is no Node. In CI a skip fails."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Lacking(NODE)
    installed = HERE / "node_modules" / ".installed"
    wanted = (HERE / "package-lock.json").read_text()
    if installed.exists() and installed.read_text() == wanted:
        return
    import fcntl

    with (HERE / ".install.lock").open("w") as lock:
        # several test processes may be here at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.exists() and installed.read_text() == wanted:
            return
        # not "npm ci": that insists on optional packages for machines of other kinds, which a mirror may lack
        command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.DEVNULL)
        installed.write_text(wanted)
