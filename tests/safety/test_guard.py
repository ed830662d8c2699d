"""The guard of a process. Audit hooks stay for good, so every test has a process of its own.

Nothing here leaves the machine even if the guard fails: the addresses are of the block that is kept for documentation
(192.0.2.0/24, RFC 5737), and the names end in .invalid (RFC 6761).
"""

import subprocess
import sys
import textwrap

import pytest

START = """
import socket, sys
from ouvert.safety import guard, Denied
g = guard()
def denied(act):
    try:
        act()
    except Denied as problem:
        return str(problem)
    sys.exit("it was not denied")
"""


def under_guard(body, start=START):
    """Runs the lines in a process of its own; what it prints, or the test fails."""
    ran = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(body)], capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


ATTEMPTS = {
    "connect": 'socket.socket().connect(("192.0.2.1", 443))',
    "connect_ex": 'socket.socket().connect_ex(("192.0.2.1", 443))',
    "connect to a name": 'socket.socket().connect(("somewhere.invalid", 443))',
    "connect_ex to a name": 'socket.socket().connect_ex(("somewhere.invalid", 443))',
    "sendto a name": 'socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", 0, ("somewhere.invalid", 443))',
    "sendmsg to a name": 'socket.socket(type=socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, ("somewhere.invalid", 443))',
    "IPv6": 'socket.socket(socket.AF_INET6).connect(("2001:db8::1", 443))',
    "create_connection": 'socket.create_connection(("192.0.2.1", 443), timeout=1)',
    "sendto": 'socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))',
    "sendmsg": 'socket.socket(type=socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, ("192.0.2.1", 53))',
    "the resolver on this machine": 'socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.53", 53))',
    "getaddrinfo": 'socket.getaddrinfo("somewhere.invalid", 443)',
    "gethostbyname": 'socket.gethostbyname("somewhere.invalid")',
    "gethostbyname_ex": 'socket.gethostbyname_ex("somewhere.invalid")',
    "gethostbyaddr": 'socket.gethostbyaddr("192.0.2.1")',
    "getnameinfo": 'socket.getnameinfo(("192.0.2.1", 80), 0)',
    "Popen": 'subprocess.Popen(["/bin/true", "secret"])',
    "Popen of text": 'subprocess.Popen("true secret", shell=True)',
    "os.system": 'os.system("true secret")',
    "os.posix_spawn": 'os.posix_spawn("/bin/true", ["true"], {})',
    "os.execv": 'os.execv("/bin/true", ["true"])',
    "raw frames": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_leads_beyond_this_machine_is_denied_and_counted(attempt):
    out = under_guard(f"""
        import os, subprocess
        before = g.counts
        said = denied(lambda: {ATTEMPTS[attempt]})
        assert "expected" in said and "secret" not in said, said
        counted = g.since(before)
        assert (counted["attempted"], counted["allowed"], counted["denied"]) == (1, 0, 1), counted
        print(counted["attempts"][0])
    """)
    assert "secret" not in out
    assert "'allowed': False" in out


def test_a_forked_child_is_under_the_guard_too():
    under_guard("""
        import os
        child = os.fork()
        if not child:
            denied(lambda: socket.socket().connect(("192.0.2.1", 443)))
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    """)


def test_a_program_of_a_forked_child_does_not_run_either():
    """Counted in the child, which is not there any more to tell: SECURITY.md says so."""
    assert (
        under_guard("""
        import os
        print(os.spawnv(os.P_WAIT, "/bin/echo", ["echo", "it ran"]))
    """)
        == "127\n"
    )


def test_asyncio_and_urllib_see_a_connection_that_failed():
    under_guard("""
        import asyncio, urllib.request, urllib.error
        async def connect():
            try:
                await asyncio.open_connection("192.0.2.1", 443)
            except OSError as problem:
                assert isinstance(problem, Denied)
                return
            sys.exit("it was not denied")
        asyncio.run(connect())
        try:
            urllib.request.urlopen("http://somewhere.invalid/")
            sys.exit("it was not denied")
        except urllib.error.URLError as problem:
            assert isinstance(problem.reason, Denied)
        assert g.counts.denied == 2
    """)


def test_this_machine_is_free_to_talk_to_itself():
    under_guard("""
        import os, tempfile, threading
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(("localhost", server.getsockname()[1]))
        there, _ = server.accept()
        there.sendall(b"hello")
        assert client.recv(5) == b"hello"
        client.sendmsg([b"back"])
        a, b = socket.socketpair()
        a.send(b"x")
        path = os.path.join(tempfile.mkdtemp(), "s")
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(path)
        unix.listen()
        socket.socket(socket.AF_UNIX).connect(path)
        assert g.counts.attempted == 0
        assert g.counts.local >= 3
        assert g.since(g.counts) == {"attempted": 0, "allowed": 0, "denied": 0}
    """)


def test_listening_to_other_machines_is_not_its_business():
    under_guard("""
        with socket.create_server(("0.0.0.0", 0)):
            pass
        assert g.counts.attempted == 0
    """)


# A machine where names are found and connections made without either leaving it: what answers stands in the socket
# module's own functions, below the guard's hook.
PRETEND = """
import errno, socket
plain = socket.getaddrinfo
def getaddrinfo(host, port, *args, **more):
    if host == "allowed.invalid":
        import sys
        sys.audit("socket.getaddrinfo", host, port, 0, 0, 0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", port))]
    return plain(host, port, *args, **more)
socket.getaddrinfo = getaddrinfo
def connects(address):
    s = socket.socket()
    s.setblocking(False)
    return s.connect_ex(address)
"""


def test_a_host_its_owner_named_is_allowed_and_counted_by_that_name():
    under_guard(
        """
        g.allow(["allowed.invalid:443"])
        before = g.counts
        [(*_, address)] = socket.getaddrinfo("allowed.invalid", 443)
        assert connects(address) in (errno.EINPROGRESS, errno.ENETUNREACH, errno.EHOSTUNREACH), address
        denied(lambda: connects(("192.0.2.7", 80)))
        denied(lambda: connects(("192.0.2.8", 443)))
        facts = g.since(before)
        assert (facts["attempted"], facts["allowed"], facts["denied"]) == (4, 2, 2)
        assert facts["attempts"][1] == {"kind": "connect", "host": "allowed.invalid", "port": 443, "allowed": True}
        """,
        PRETEND + START,
    )


def test_while_its_owner_fetches_one_thread_is_free_and_all_is_counted():
    under_guard("""
        import errno, subprocess, threading
        def connects():
            s = socket.socket()
            s.setblocking(False)
            return s.connect_ex(("192.0.2.1", 443))
        with g.fetching():
            assert connects() in (errno.EINPROGRESS, errno.ENETUNREACH, errno.EHOSTUNREACH)
            subprocess.run(["/bin/true"], check=True)
            said = []
            other = threading.Thread(target=lambda: said.append(denied(connects)))
            other.start()
            other.join()
            assert said
        denied(connects)
        assert (g.counts.allowed >= 2, g.counts.denied) == (True, 2)
    """)


def test_a_host_named_for_one_purpose_is_reached_for_it_by_one_thread_and_at_one_port():
    under_guard(
        """
        import subprocess, threading
        from ouvert.safety import connecting
        before = g.counts
        denied(lambda: socket.getaddrinfo("allowed.invalid", 8000))
        with connecting("Allowed.invalid", 8000, "engine"):
            [(*_, address)] = socket.getaddrinfo("allowed.invalid", 8000)
            assert connects(address) in (errno.EINPROGRESS, errno.ENETUNREACH, errno.EHOSTUNREACH), address
            denied(lambda: connects(("192.0.2.7", 80)))
            denied(lambda: connects(("192.0.2.8", 8000)))
            denied(lambda: socket.getaddrinfo("other.invalid", 8000))
            denied(lambda: subprocess.run(["/bin/true"]))
            other = threading.Thread(target=lambda: said.append(denied(lambda: connects(address))))
            said = []
            other.start()
            other.join()
            assert said
        denied(lambda: connects(address))
        facts = g.since(before)
        assert (facts["attempted"], facts["allowed"], facts["denied"]) == (9, 2, 7)
        named = {"host": "allowed.invalid", "port": 8000, "allowed": True, "purpose": "engine"}
        assert facts["attempts"][2] == {"kind": "connect", **named}
        assert "purpose" not in facts["attempts"][3]
        """,
        PRETEND + START,
    )


def test_without_a_guard_a_purpose_changes_nothing():
    ran = subprocess.run(
        [sys.executable, "-c", "from ouvert.safety import connecting\nwith connecting('a', 1, 'engine'): print('in')"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.stdout, ran.stderr) == ("in\n", "")


def test_a_process_has_one_guard():
    under_guard("""
        again = guard(["example.org"])
        assert again is g
        assert ("example.org", 1) in g.hosts
    """)


def test_a_hook_that_lets_no_other_in_is_found_out():
    ran = under_guard(
        """
        import sys
        def alone(event, args):
            if event == "sys.addaudithook":
                raise RuntimeError("no other")
        sys.addaudithook(alone)
        from ouvert.safety import guard
        try:
            guard()
        except RuntimeError as problem:
            print(problem)
    """,
        start="",
    )
    assert "does not let another one in" in ran


def test_without_a_guard_the_same_attempt_is_not_denied():
    """What the tests above see is the guard's doing, not this machine's."""
    under_guard(
        """
        import errno, socket
        s = socket.socket()
        s.setblocking(False)
        assert s.connect_ex(("192.0.2.1", 443)) in (errno.EINPROGRESS, errno.ENETUNREACH, errno.EHOSTUNREACH)
    """,
        start="",
    )
