"""What the server counts, for Prometheus: GET /metrics."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ouvert.assistant import Model

FIRST_TOKEN_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """One set of counters for one server; nothing of what people ask is in them."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, loaded: Callable[[], int], memory: Callable[[], int]) -> None:
        """`loaded`: models in memory; `memory`: bytes this process holds. Both are asked when the numbers are read."""
        self._registry = CollectorRegistry()
        registry = self._registry
        self.requests = Counter("ouvert_requests", "Requests answered", ["endpoint", "status"], registry=registry)
        self.waiting = Gauge("ouvert_answers_waiting", "Answers without a first event yet", registry=registry)
        self.running = Gauge("ouvert_answers_running", "Answers being written", registry=registry)
        self.refused = Counter("ouvert_answers_refused", "Answers refused: too many at once", registry=registry)
        self.cancelled = Counter("ouvert_answers_cancelled", "Answers whose clients went away", registry=registry)
        self.prompt_tokens = Counter("ouvert_prompt_tokens", "Tokens of prompts", ["model"], registry=registry)
        self.reused_tokens = Counter("ouvert_prompt_tokens_reused", "Those from a cache", ["model"], registry=registry)
        self.output_tokens = Counter("ouvert_output_tokens", "Tokens of answers", ["model"], registry=registry)
        self.reasoning_tokens = Counter("ouvert_reasoning_tokens", "Those of thoughts", ["model"], registry=registry)
        self.first_token = Histogram(
            "ouvert_first_token_seconds",
            "From the request to the first event of its answer",
            ["model"],
            buckets=FIRST_TOKEN_SECONDS,
            registry=registry,
        )
        self._sequences = Gauge(
            "ouvert_engine_sequences", "Sequences in the engine", ["model", "state"], registry=registry
        )
        self._cache = Gauge("ouvert_engine_cache_bytes", "Bytes of caches", ["model", "kind"], registry=registry)
        self._cache_usage = Gauge(
            "ouvert_engine_cache_usage", "Share of the memory for caches in use, 0 to 1", ["model"], registry=registry
        )
        labels = ["model", "member"]
        self._member_in = Gauge("ouvert_pool_member_in", "1: it is asked; 0: it is out", labels, registry=registry)
        self._member_running = Gauge("ouvert_pool_member_running", "Answers being written", labels, registry=registry)
        self._member_answers = Gauge("ouvert_pool_member_answers", "Answers begun there", labels, registry=registry)
        self._member_lost = Gauge("ouvert_pool_member_lost", "Answers lost there", labels, registry=registry)
        self._experts = Gauge(
            "ouvert_engine_experts_read_bytes", "Bytes read of experts on disk", ["model"], registry=registry
        )
        self._hits = Gauge(
            "ouvert_engine_experts_hit_rate",
            "Uses of experts on disk that found them in memory",
            ["model"],
            registry=registry,
        )
        Gauge("ouvert_models_loaded", "Models in memory", registry=registry).set_function(loaded)
        Gauge("ouvert_resident_memory_bytes", "Memory this process holds", registry=registry).set_function(memory)

    def observe(self, models: Iterable[Model]) -> None:
        """Take the numbers of these models' engines as they are now, and drop those of all other models."""
        self._sequences.clear()
        self._cache.clear()
        for each_gauge in (self._cache_usage, self._experts, self._hits):
            each_gauge.clear()
        members = (self._member_in, self._member_running, self._member_answers, self._member_lost)
        for gauge in members:
            gauge.clear()
        for model in models:
            name, load = model.info.name, model.engine.load
            self._sequences.labels(name, "running").set(load.running)
            self._sequences.labels(name, "waiting").set(load.waiting)
            self._cache.labels(name, "all").set(load.cache_bytes)
            self._cache.labels(name, "kept").set(load.kept_bytes)
            self._cache_usage.labels(name).set(load.cache_bytes / load.cache_limit if load.cache_limit else 0.0)
            for each in load.members:
                numbers = (float(each.is_in), each.running, each.answers, each.lost)
                for gauge, number in zip(members, numbers, strict=True):
                    gauge.labels(name, each.name).set(number)
            if load.experts is not None:
                self._experts.labels(name).set(load.experts.read_bytes)
                self._hits.labels(name).set(load.experts.hit_rate)

    def text(self, admits: Callable[[str], bool] | None = None) -> bytes:
        """All numbers as Prometheus reads them; with `admits`, only those of models that it says yes to."""
        return generate_latest(self._registry if admits is None else ModelMetrics(self._registry, admits))


class ModelMetrics(Collector):
    """The numbers of some models, without those that belong to no model."""

    def __init__(self, registry: CollectorRegistry, admits: Callable[[str], bool]) -> None:
        self._registry, self._admits = registry, admits

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            kept = [
                sample for sample in metric.samples if "model" in sample.labels and self._admits(sample.labels["model"])
            ]
            if kept:
                metric.samples = kept
                yield metric
