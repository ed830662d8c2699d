"""Which hosts are this machine, and which an owner's list allows."""

import pytest

from ouvert.safety import Hosts, is_this_machine


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost.", "", "0.0.0.0", "::", "::ffff:127.0.0.1"]
)
def test_loopback_is_this_machine(host):
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "::ffff:10.0.0.1",
        "fe80::1%eth0",
        "localhost.evil.org",
        *["127.1", "2130706433", "0x7f.1", "<broadcast>", "255.255.255.255"],
    ],
)
def test_everything_else_is_not(host):
    assert not is_this_machine(host)


def test_a_host_is_allowed_as_it_is_named_and_no_further():
    hosts = Hosts(["Example.org", "a.net:443", "10.0.0.5:8000", "[fd00::1]:80", "fd00::2"])
    assert ("example.org.", 80) in hosts
    assert ("sub.example.org", 80) not in hosts
    assert ("a.net", 443) in hosts
    assert ("a.net", 80) not in hosts
    assert ("a.net", None) in hosts
    assert ("10.0.0.5", 8000) in hosts
    assert ("fd00::1", 80) in hosts
    assert ("fd00::2", 1) in hosts
    assert ("b.net", None) not in hosts


@pytest.mark.parametrize("text", ["", "https://a.net", "a.net/x", "a.net:http", "[::1", "a b"])
def test_what_is_no_host_is_refused(text):
    with pytest.raises(ValueError, match="allowing a host"):
        Hosts([text])
