"""Which targets an entry of `allow_io` allows."""

import pytest

from queuesim.simulation.allowed_io import AllowedIO, Reach, Target, parse_pattern


def host(name, port=None):
    return Target(Reach.HOST, name, port)


@pytest.mark.parametrize(
    ("entry", "target", "allowed"),
    [
        ("db.example.org", host("db.example.org", 5432), True),
        ("db.example.org", host("DB.Example.org.", 5432), True),
        ("db.example.org", host("example.org", 5432), False),
        ("db.example.org:5432", host("db.example.org", 5432), True),
        ("db.example.org:5432", host("db.example.org", 5433), False),
        ("db.example.org:5432", host("db.example.org"), True),  # a look-up that names no port
        ("db.example.org:*", host("db.example.org", 1), True),
        ("*.example.org", host("a.b.example.org", 1), True),
        ("*.example.org", host("example.org.evil.net", 1), False),
        ("10.0.0.*", host("10.0.0.7", 1), True),
        ("localhost:5432", host("127.0.0.1", 5432), True),
        ("127.0.0.1", host("localhost", 1), True),
        ("[::1]:80", host("localhost", 80), True),
        ("[::1]:80", host("::1", 81), False),
        ("2001:db8::1", host("2001:db8::1", 443), True),
        ("localhost", host("127.0.0.2", 1), False),
        ("unix:/run/*.sock", Target(Reach.UNIX_SOCKET, "/run/db.sock"), True),
        ("unix:/run/*.sock", Target(Reach.UNIX_SOCKET, "/tmp/db.sock"), False),
        ("process:git", Target(Reach.PROCESS, "/usr/bin/git"), True),
        ("process:git", Target(Reach.PROCESS, "curl"), False),
        ("git", Target(Reach.PROCESS, "git"), False),
        ("*", Target(Reach.OTHER, "AF_NETLINK (0, 0)"), True),
        ("*.org", Target(Reach.OTHER, "x.org"), False),
    ],
)
def test_entry(entry, target, allowed):
    assert AllowedIO([entry]).permits(target) is allowed


@pytest.mark.parametrize(
    "target",
    [host("example.org", 443), host("::1", 80), host("x"), Target(Reach.UNIX_SOCKET, "/a"), Target(Reach.PROCESS, "b")],
)
def test_the_pattern_that_is_suggested_allows_the_target_and_nothing_is_allowed_without_it(target):
    assert AllowedIO([target.pattern]).permits(target)
    assert not AllowedIO().permits(target)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("", "not a host"),
        ("http://example.org", "no valid port"),
        ("user@example.org", "not a host"),
        ("a b", "not a host"),
        ("host:0", "1 to 65535"),
        ("host:65536", "1 to 65535"),
        ("host:http", "1 to 65535"),
        ("unix:", "no path"),
        ("process:", "no program"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(entry, told):
    with pytest.raises(ValueError, match=told):
        parse_pattern(entry)


def test_an_address_of_an_allowed_name_is_allowed_at_the_same_port(monkeypatch):
    def getaddrinfo(name, port):
        assert name == "db.example.org"
        return [(2, 1, 6, "", ("192.0.2.7", 0))]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    allowed = AllowedIO(["*.example.org:5432"])
    assert not allowed.permits(host("192.0.2.7", 5432))
    allowed.learn_addresses("db.example.org")
    assert allowed.permits(host("192.0.2.7", 5432))
    assert not allowed.permits(host("192.0.2.7", 22))
    assert not allowed.permits(host("192.0.2.8", 5432))
