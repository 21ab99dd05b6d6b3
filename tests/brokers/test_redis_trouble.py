"""What servers refuse, and what other programs leave behind: a message that says what to do, nothing lost."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from queuesim import Processor, Queue, Worker
from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.server import Address, AddressError, RealServer, connect, find_address
from queuesim.core.broker import Completed, Terms
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import Job, JobState, NewJob

pytestmark = pytest.mark.server

NOW = 1_700_000_000.0


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(port=0) as server:
        yield server


@asynccontextmanager
async def place_at(url: str, timeout: float = 10.0) -> AsyncIterator[RealServer]:
    place = RealServer(Address(url), timeout=timeout)
    try:
        yield place
    finally:
        await place.close()


def refusal(url: str, timeout: float = 10.0) -> str:
    async def try_it() -> None:
        place = await connect(url, timeout=timeout)
        await place.close()

    with pytest.raises(BrokerUnavailableError) as caught:
        asyncio.run(try_it())
    return str(caught.value)


# -- addresses


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "redis://localhost:6379"),
        ({"REDIS_HOST": "cache", "REDIS_PORT": "7000"}, "redis://cache:7000"),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379"),
        ({"REDIS_HOST": "cache", "REDIS_URL": "rediss://other/2"}, "rediss://other/2"),
        ({"REDIS_HOST": "", "REDIS_PORT": ""}, "redis://localhost:6379"),
    ],
)
def test_the_environment_says_where_the_server_is(environment: dict[str, str], url: str) -> None:
    assert find_address(None, environment).url == url
    assert find_address("redis://given", environment).url == "redis://given"


@pytest.mark.parametrize("url", ["localhost:6379", "http://x", "redis://h:port", "redis://", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(AddressError):
        find_address(url)
    with pytest.raises(AddressError):
        find_address(None, {"REDIS_PORT": "70000"})


def test_passwords_are_never_shown() -> None:
    address = Address("redis://ann:s3cret@host:1/0?x=y")
    assert "s3cret" not in f"{address} {address!r}"
    assert str(address) == "redis://ann:***@host:1/0?x=y"
    with pytest.raises(AddressError) as caught:
        Address("http://ann:s3cret@host")
    assert "s3cret" not in str(caught.value)


# -- servers that refuse


def test_a_wrong_password_and_a_missing_one() -> None:
    with EmbeddedServer(port=0, options={"requirepass": "right"}) as server:
        port = server.port
        assert "refuses the user or the password" in refusal(f"redis://:wrong@127.0.0.1:{port}")
        message = refusal(f"redis://127.0.0.1:{port}")
        assert "wants a password: give it in the URL" in message
        assert "wrong" not in refusal(f"redis://:wrong@127.0.0.1:{port}")
        asyncio.run(_ping(server.tcp_url))


async def _ping(url: str) -> None:
    place = await connect(url)
    assert await place.command("PING") == "PONG"
    await place.close()


def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert "can't be reached" in refusal(f"redis://127.0.0.1:{taken.getsockname()[1]}")


def test_tls_where_there_is_none(server: EmbeddedServer) -> None:
    assert "does not speak TLS there, write redis://" in refusal(f"rediss://127.0.0.1:{server.port}", timeout=1.0)


def write_certificate(certificate: Path, key: Path) -> None:
    """Files of a certificate for 127.0.0.1 that no authority knows, valid for a day, and of its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(private.private_bytes(*plain))


def test_no_tls_where_there_is_some_and_an_unknown_authority(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_certificate(certificate, key)

    async def with_tls() -> tuple[str, str, str]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # as much of a server as a client that only says PING wants
            while await reader.readline():
                writer.write(b"+OK\r\n")
            writer.close()

        listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        port = listener.sockets[0].getsockname()[1]
        messages = []
        for url in (f"redis://127.0.0.1:{port}", f"rediss://127.0.0.1:{port}"):
            async with place_at(url, timeout=2.0) as place:
                with pytest.raises(BrokerUnavailableError) as caught:
                    await place.command("PING")
                messages.append(str(caught.value))
        async with place_at(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}") as place:
            answer_of_ours = str(await place.command("PING"))
        listener.close()
        return messages[0], messages[1], answer_of_ours

    plain, untrusted, trusted = asyncio.run(with_tls())
    assert "rediss:// in place of redis://" in plain
    assert "certificate is not trusted" in untrusted
    assert trusted == "OK"


def test_a_read_only_replica(server: EmbeddedServer) -> None:
    with EmbeddedServer(port=0, options={"replicaof": f"127.0.0.1 {server.port}"}) as replica:
        assert "read-only replica: connect to the primary" in refusal(replica.tcp_url)


def test_a_worker_that_waits_outlives_that_its_server_becomes_a_replica(server: EmbeddedServer) -> None:
    """As an old primary does when another takes over: it throws out whoever waits, with an error of its own."""

    async def play() -> None:
        async with place_at(server.url) as place, place_at(server.url) as hand:
            waiting = asyncio.create_task(place.block("bull", "jobs", None, 0.0))
            while "cmd=bzpopmin" not in await hand.command("CLIENT", "LIST"):  # noqa: ASYNC110 - the server is asked
                await asyncio.sleep(0.01)
            await hand.command("REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(BrokerUnavailableError, match="it has become a replica"):
                await waiting

    asyncio.run(play())


def test_a_server_that_is_too_old(monkeypatch: pytest.MonkeyPatch, server: EmbeddedServer) -> None:
    async def old(self: RealServer, *words: object) -> str:
        return "redis_version:6.0.16\r\nrole:master\r\n"

    monkeypatch.setattr(RealServer, "command", old)
    assert "is Redis 6.0.16; queues need 6.2 or newer" in refusal(server.tcp_url)


def test_a_server_out_of_memory_takes_no_jobs_and_workers_go_on(server: EmbeddedServer) -> None:
    async def program() -> None:
        place = await connect(server.url)
        broker = RedisBroker("q", place)
        await broker.add([NewJob("a")], NOW)
        await place.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(BrokerUnavailableError, match="out of memory and refuses to write: raise maxmemory"):
            await broker.add([NewJob("a"), NewJob("a")], NOW)
        assert (await broker.counts())[JobState.WAITING] == 1
        # what is there can be worked: a script that has begun to write may end
        (job,) = (await broker.exchange([], 1, Terms(), "t:1", NOW)).jobs
        assert (await broker.exchange([Completed(job.id, job.token)], 0, Terms(), "t:2", NOW)).refused is None
        await place.command("CONFIG", "SET", "maxmemory", "0")
        assert await broker.add([NewJob("a")], NOW) == ["2"]
        await place.close()

    asyncio.run(program())


def test_a_worker_outlives_a_server_that_refuses_it(server: EmbeddedServer) -> None:
    async def program() -> None:
        place = await connect(server.url)
        broker = RedisBroker("q", place)
        await broker.add([NewJob("a")], NOW)
        done, tried = asyncio.Event(), asyncio.Event()
        processor = Processor("q")

        @processor.job("a")
        async def handle(job: Job) -> None:
            done.set()

        async def run(*arguments: object) -> object:
            try:
                return await RealServer.run(place, *arguments)  # type: ignore[arg-type]
            except BrokerUnavailableError:
                tried.set()
                raise

        place.run = run  # type: ignore[assignment]
        async with place_at(server.url) as master:
            await master.command("ACL", "SETUSER", "default", "-evalsha", "-eval")
            worker = Worker(processor, broker, clock=lambda: NOW)  # type: ignore[arg-type]
            running = asyncio.create_task(worker.run())
            await tried.wait()
            assert await master.command("LRANGE", "bull:q:wait", 0, -1) == ["1"]
            await master.command("ACL", "SETUSER", "default", "+evalsha", "+eval")
            await done.wait()
        await worker.close()
        await running
        assert (await broker.counts())[JobState.COMPLETED] == 1
        await place.close()

    asyncio.run(program())


# -- a server that goes and comes


def test_scripts_survive_their_removal_and_connections_their_end(server: EmbeddedServer) -> None:
    async def program() -> None:
        place = await connect(server.url)
        broker = RedisBroker("q", place)
        for disturb in (("SCRIPT", "FLUSH"), ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")):
            await broker.add([NewJob("a")], NOW)
            await place.command(*disturb)
            await broker.add([NewJob("a")], NOW)
        assert (await broker.counts())[JobState.WAITING] == 4
        await place.close()

    asyncio.run(program())


def test_a_worker_goes_on_after_a_restart_and_counts_nothing_twice() -> None:
    seen: list[str] = []

    async def program(server: EmbeddedServer) -> None:
        place = await connect(server.url)
        broker = RedisBroker("q", place)
        loop = asyncio.get_running_loop()
        processor = Processor("q", concurrency=4)
        processor.stack_traces = False
        halfway, done = asyncio.Event(), asyncio.Event()

        @processor.job("a")
        async def handle(job: Job) -> None:
            seen.append(job.id)
            if len(seen) == 30:
                halfway.set()
            await asyncio.sleep(0.002)

        for _ in range(60):
            await broker.add([NewJob("a")], loop.time() + NOW)
        worker = Worker(processor, broker, clock=lambda: loop.time() + NOW)  # type: ignore[arg-type]
        running = asyncio.create_task(worker.run())
        await halfway.wait()
        await asyncio.to_thread(server.crash)
        await asyncio.to_thread(server.start)
        while (await _counts(broker)).get(JobState.COMPLETED) != 60:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        done.set()
        await worker.close()
        await running
        await place.close()

    with EmbeddedServer(options={"appendonly": "yes", "appendfsync": "always"}) as server:
        asyncio.run(program(server))
    assert sorted(set(seen), key=int) == [str(number) for number in range(1, 61)]
    assert len(seen) == 60


async def _counts(broker: RedisBroker) -> dict[JobState, int]:
    try:
        return await broker.counts()
    except BrokerUnavailableError:
        return {}


def test_an_answer_that_never_comes_is_not_waited_for_for_ever() -> None:
    async def program() -> None:
        hung_up = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()
            hung_up.set()

        listener = await asyncio.start_server(silent, "127.0.0.1", 0)
        async with place_at(f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}", timeout=0.2) as place:
            with pytest.raises(BrokerUnavailableError):
                await place.command("PING")
        await hung_up.wait()
        listener.close()

    asyncio.run(program())


# -- what other programs leave behind


@pytest.fixture
def drive(server: EmbeddedServer) -> Callable[[Callable[[RedisBroker, RealServer], object]], None]:
    def run(program: Callable[[RedisBroker, RealServer], object]) -> None:
        async def whole() -> None:
            place = await connect(server.url)
            await program(RedisBroker("q", place), place)  # type: ignore[misc]
            await place.close()

        asyncio.run(whole())

    return run


Drive = Callable[[Callable[[RedisBroker, RealServer], object]], None]


@pytest.mark.parametrize(("key", "command"), [("wait", "SADD"), ("meta", "SADD"), ("completed", "LPUSH")])
def test_a_key_of_a_foreign_type_is_named(drive: Drive, key: str, command: str) -> None:
    async def program(broker: RedisBroker, place: RealServer) -> None:
        await place.command(command, f"bull:q:{key}", "x")
        kind = "set" if command == "SADD" else "list"
        looks = {"wait": (JobState.WAITING,), "meta": (), "completed": (JobState.COMPLETED,)}[key]
        message = rf"the key bull:q:{key} is a {kind}, where .* Rename or remove"
        with pytest.raises(BrokerUnavailableError, match=message):
            await (broker.jobs(*looks, 0, -1, True) if looks else broker.add([NewJob("a")], NOW))

    drive(program)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data", "{no json", r"data is not valid JSON"),
        ("data", None, "data is missing"),
        ("name", None, "name is missing"),
        ("opts", "[1]", "opts is not an object"),
        ("opts", '{"priority":-5}', "priority must be"),
    ],
)
def test_a_job_that_can_not_be_read_fails_with_what_is_wrong_and_runs_once_it_is_mended(
    drive: Drive, field: str, value: str | None, message: str
) -> None:
    async def program(broker: RedisBroker, place: RealServer) -> None:
        await broker.add([NewJob("a", '{"x":1}'), NewJob("a")], NOW)
        good = await place.command("HGET", "bull:q:1", field)
        await place.command(*(("HSET", "bull:q:1", field, value) if value is not None else ("HDEL", "bull:q:1", field)))
        seen: list[str] = []
        both, mended = asyncio.Event(), asyncio.Event()
        processor = Processor("q")

        @processor.job("a")
        async def handle(job: Job) -> None:
            seen.append(job.id)
            (mended if job.id == "1" else both).set()

        worker = Worker(processor, broker, clock=lambda: NOW)  # type: ignore[arg-type]
        running = asyncio.create_task(worker.run())
        await both.wait()
        job = await broker.get("1")
        assert job is not None
        assert await broker.state("1") is JobState.FAILED
        assert re.search(rf"job 1 can't be read: .*{message}.* Correct its hash and retry it", job.failed_reason or "")
        await place.command("HSET", "bull:q:1", field, good)
        await Queue(broker).retry("1")  # type: ignore[arg-type]
        await mended.wait()
        assert seen == ["2", "1"]
        await worker.close()
        await running

    drive(program)


def test_an_id_without_a_job_holds_up_nobody(drive: Drive) -> None:
    async def program(broker: RedisBroker, place: RealServer) -> None:
        await place.command("RPUSH", "bull:q:wait", "ghost")
        await broker.add([NewJob("a")], NOW)
        reply = await broker.exchange([], 2, Terms(), "t:1", NOW)
        assert [job.id for job in reply.jobs] == ["1"]
        assert (await broker.exchange([Completed("1", "t:1")], 0, Terms(), "t:2", NOW)).refused is None
        assert (await broker.counts())[JobState.ACTIVE] == 0

    drive(program)
