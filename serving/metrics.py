"""Metrics: what the service counts of itself, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PREFIX = "face_emotion"
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The figures of one service; another one in the same process has its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", meaning, labels, registry=self.registry)

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(f"{PREFIX}_{name}", meaning, labels, registry=self.registry)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"{PREFIX}_{name}", meaning, labels, buckets=buckets, registry=self.registry)

        self.requests = counter("requests", "Requests answered", "endpoint", "status")
        self.seconds = histogram("request_seconds", "Time from the request's head to its answer", SECONDS, "endpoint")
        self.faces = counter("faces", "Faces answered", "emotion")
        self.too_small = counter("faces_too_small", "Faces found under min_face_pixels, which are not answered")
        self.several = counter("files_of_several", "Files with several pictures, of which only the first is answered")
        self.batches = histogram("batch_faces", "Faces that were predicted together", BATCHES)
        self.waiting = gauge("queue_faces", "Faces that wait to be predicted")
        self.under_way = gauge("requests_under_way", "Requests that wait or are worked on")
        self.dropped = counter("work_dropped", "Work that was not done, because its client or its time was gone")
        self.model = gauge("model_info", "The model that answers", "name", "version", "sha256", "source")
        self.swaps = counter("model_swaps", "Models that took another one's place")
        self.failures = counter("model_failures", "Champions that could not be loaded")
        self.registry_up = gauge("registry_up", "1 while the registry answers")
        self.shadow = counter("shadow_faces", "Faces that the challenger answered too", "agrees")
        self.logged = counter("logged_faces", "Rows written to serving.log_folder")
        self.not_logged = counter("not_logged_faces", "Rows that could not be written")

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self.registry)
