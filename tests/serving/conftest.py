"""A server on a free port of loopback, in a thread, over models that say what they are told."""

import asyncio
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import pytest

from ouvert.serving import Settings, make_app, make_server
from ouvert.serving.app import ENDPOINTS, JOB_KINDS
from ouvert.serving.server import bound_socket
from ouvert.store import Store


@dataclass
class Server:
    """`base` is its address; `service` what it holds; `loop` where it runs."""

    base: str
    port: int
    app: object
    loop: asyncio.AbstractEventLoop
    uvicorn: object

    @property
    def service(self):
        return self.app.state.service

    def client(self, **settings):
        return httpx2.Client(base_url=self.base, timeout=30, **settings)

    def idle(self, seconds=30):
        """Wait until nothing is being answered; fails if that takes too long."""
        until = time.monotonic() + seconds
        while self.service.answers.in_flight:
            assert time.monotonic() < until, f"{self.service.answers.in_flight} answers are still being written"
            time.sleep(0.01)


@contextmanager
def starting_servers(tmp_path_factory):
    """Gives start(Settings-fields..., home=store folder) -> Server, and stops all that it has started."""
    running = []

    def start(*, home=None, endpoints=ENDPOINTS, kinds=JOB_KINDS, comparison=None, **fields):
        settings = Settings(
            **{"port": 0, "load_options": {"threads": 1, "receipts": False}, "stop_seconds": 2.0, **fields}
        )
        store = Store(home or tmp_path_factory.mktemp("store"))
        app = make_app(settings, store, endpoints=endpoints, kinds=kinds, comparison=comparison)
        server = make_server(app, settings)
        listening = bound_socket(settings.host, settings.port)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve([listening])))
        thread.start()
        running.append((server, thread, listening, loop))
        until = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < until
            assert thread.is_alive()
            time.sleep(0.005)
        port = listening.getsockname()[1]
        return Server(f"http://127.0.0.1:{port}", port, app, loop, server)

    yield start
    for server, *_ in running:
        server.should_exit = True
    for _, thread, listening, loop in running:
        thread.join(30)
        assert not thread.is_alive(), "a server did not stop"
        listening.close()
        for task in asyncio.all_tasks(loop):  # of libraries that leave one to the end of the loop
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()


@pytest.fixture(scope="module")
def start_server(tmp_path_factory):
    """start_server(Settings-fields..., home=store folder) -> Server. All are stopped behind the last test of a file:
    hundreds of them, each with its threads and files, would be a machine that nobody has."""
    with starting_servers(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def server(speaking_model, tmp_path_factory):
    """Serves `tiny`, which answers "Hello from a tiny model." to everything."""
    model = tmp_path_factory.mktemp("models") / "tiny"
    model.symlink_to(speaking_model())
    with starting_servers(tmp_path_factory) as start:
        yield start(models=(str(model),), state=tmp_path_factory.mktemp("state"))


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client
