"""Load on a server: callers that send requests one after another over connections that stay open.

Runs in a process of its own, beside the server, and imports the standard library and NumPy only. Prints one line of
JSON; `--answers FILE` keeps when each request began, how long it took, and its status.
"""

import argparse
import http.client
import itertools
import json
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TIMEOUT = 60.0  # seconds; a request without an answer by then counts as hanging
UNANSWERED = 0  # the status of a request whose connection failed


@dataclass(frozen=True)
class Target:
    """A request: where it goes, its body, and what that is."""

    path: str
    content_type: str
    body: bytes


@dataclass
class Load:
    """What the callers share: the server's port, requests in turn, when to stop, and the answers."""

    port: int
    targets: list[Target]
    until: float
    left: "itertools.count[int]"
    limit: int
    answers: list[tuple[float, float, int]] = field(default_factory=list)

    def call(self, first: int) -> None:
        """Send requests until the time or the number of them is reached."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        for target in itertools.islice(itertools.cycle(self.targets), first, None):
            if time.time() >= self.until or next(self.left) >= self.limit:
                break
            began, started = time.time(), time.perf_counter()
            try:
                connection.request("POST", target.path, target.body, {"Content-Type": target.content_type})
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()  # the next request opens another
                status = UNANSWERED
            self.answers.append((began, time.perf_counter() - started, status))
        connection.close()


def summarize(answers: np.ndarray, seconds: float, cpu_seconds: float) -> dict[str, object]:
    """Return counts by status, requests a second, and the times of the answered requests in milliseconds."""
    answered = answers[answers[:, 2] == 200, 1] * 1000
    statuses, counts = np.unique(answers[:, 2].astype(int), return_counts=True)
    middle, late, longest = np.percentile(answered, [50, 99, 100]).tolist() if len(answered) else [float("nan")] * 3
    return {
        "requests": len(answers),
        "statuses": {str(status): int(count) for status, count in zip(statuses, counts, strict=True)},
        "a_second": len(answered) / seconds,
        "p50": middle,
        "p99": late,
        "longest": longest,
        "longest_of_all": float(answers[:, 1].max() * 1000) if len(answers) else float("nan"),
        "client_cores": cpu_seconds / seconds,
    }


def main() -> None:
    """Run the callers and print what they saw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", type=Path, help="a JSON list of path, content_type and file, sent in turn")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--requests", type=int, default=10**9)
    parser.add_argument("--answers", type=Path, help="an .npy file: (n, 3) of begin, seconds and status")
    options = parser.parse_args()
    listed = json.loads(options.targets.read_text(encoding="utf-8"))
    targets = [Target(one["path"], one["content_type"], Path(one["file"]).read_bytes()) for one in listed]
    began = time.perf_counter()
    load = Load(options.port, targets, time.time() + options.seconds, itertools.count(), options.requests)
    signal.signal(signal.SIGTERM, lambda *_: setattr(load, "until", 0.0))  # ends as if its time were up
    threads = [threading.Thread(target=load.call, args=(first,)) for first in range(options.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = np.array(load.answers).reshape(-1, 3)
    if options.answers:
        np.save(options.answers, answers)
    print(json.dumps(summarize(answers, time.perf_counter() - began, time.process_time())))


if __name__ == "__main__":
    main()
