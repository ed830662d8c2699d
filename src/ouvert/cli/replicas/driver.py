"""The process that speaks to Ray: it starts Serve with the replicas, and says where they are, one JSON line at a time.

A process of its own, because Ray ends the process that speaks to it when its own processes die, takes its signals and
writes to its streams. It does what its first line of input says, until its input ends.
"""

import json
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, TextIO

from ouvert.cli.replicas.places import Place
from ouvert.cli.replicas.replica import Order, Registry, Replica

OBJECT_STORE_BYTES = 80 << 20  # Ray wants 75 MB at least; nothing is put there
ATTEMPTS = 2  # of starting one replica, before a start has failed
HEALTH_SECONDS = 2.0
LEAVE_SECONDS = 8.0  # in which Ray has to be ended, before this process goes with all that it started
NO_MACHINE_SECONDS = 60.0
DEPLOYMENT = "ouvert-engine"


class ClusterError(Exception):
    """The cluster cannot have the replicas. The message says why and what to do."""


def main() -> None:
    said = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what Ray prints is no line of ours
    order = json.loads(sys.stdin.readline())
    ending = threading.Event()
    threading.Thread(target=end_with_input, args=(ending,), daemon=True).start()
    try:
        run(order, said, ending)
    except Exception as problem:
        say(said, {"failed": reason_of(problem)})
        sys.exit(1)


def end_with_input(ending: threading.Event) -> None:
    """Whoever started this process has closed its input, or is gone."""
    sys.stdin.read()
    ending.set()
    time.sleep(LEAVE_SECONDS)
    os._exit(1)  # the processes of a Ray that was started here end with this one


def say(said: TextIO, line: Mapping[str, Any]) -> None:
    try:
        print(json.dumps(line), file=said)
    except BrokenPipeError:
        sys.exit(1)


def reason_of(problem: Exception) -> str:
    """Its last line with text: Ray's errors carry the trace of another process."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[-1] if lines else type(problem).__name__


def run(order: Mapping[str, Any], said: TextIO, ending: threading.Event) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    logging.disable(logging.WARNING)  # Ray tells how it starts; what fails is said in a line of ours
    if order["cluster"] is None:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        # Its names. Niceness is 15 as a rule: behind all other programs. Without the second it takes this machine's
        # address in the network for its own whatever it is told, and listens there.
        os.environ.update(RAY_worker_niceness="0", RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
    import ray
    from ray import serve
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    join(ray, order)
    serves = replace(Order(**order["serves"]), scratch=order["folder"] if order["cluster"] is None else None)
    try:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        # Not detached: it ends with this process.
        actor = ray.remote(Registry).options(
            num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here, max_concurrency=1000
        )
        registry = actor.remote(order["count"])
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR", "enable_access_log": False})
        deployment = serve.deployment(Replica).options(
            name=DEPLOYMENT,
            num_replicas=order["count"],
            max_replicas_per_node=None if order["cluster"] is None else 1,
            max_constructor_retry_count=ATTEMPTS * order["count"],
            health_check_period_s=HEALTH_SECONDS,
            graceful_shutdown_timeout_s=LEAVE_SECONDS / 2,
            ray_actor_options={"num_cpus": 1},
        )
        serve.run(deployment.bind(registry, serves), name=order["name"], route_prefix=None)
        watch(ray, registry, said, ending)
    finally:
        if order["cluster"] is not None:
            serve.delete(order["name"])
        ray.shutdown()


def join(ray: Any, order: Mapping[str, Any]) -> None:
    """Start a Ray on this machine that listens to it alone, or join the one that runs already."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if order["cluster"] is None:
        ray.init(
            address="local",
            num_cpus=order["count"],
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=order["folder"],
            **quiet,
        )
        return
    local = order["cluster"].startswith(("127.", "localhost:", "[::1]"))
    ray.init(address=order["cluster"], **({"_node_ip_address": "127.0.0.1"} if local else {}), **quiet)
    able = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if len(able) < order["count"]:
        raise ClusterError(
            f"placing {order['count']} replicas: the cluster at {order['cluster']} has {len(able)} machines that can "
            "compute, expected one for each replica. Add machines with `ray start`, or ask for fewer with --replicas."
        )


def watch(ray: Any, registry: Any, said: TextIO, ending: threading.Event) -> None:
    """Say where the replicas are whenever one is somewhere else, until told to end."""
    version = 0
    while not ending.is_set():
        before = version
        version, places = ray.get(registry.after.remote(before), timeout=NO_MACHINE_SECONDS)
        if version != before:
            say(said, {"replicas": {name: facts_of(place) for name, place in places.items()}})


def facts_of(place: Place) -> dict[str, Any]:
    return asdict(place)


if __name__ == "__main__":
    main()
