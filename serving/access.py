"""Access: who may ask, by Host, Origin and token, and what a browser may do with an answer."""

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from configs.serving_settings import ServingSettings
from serving.metrics import Metrics
from serving.problems import ProblemError, unexpected

# without a token: the page, which asks for it, and the probes
OPEN = ("/", "/favicon.ico", "/v2/health/live", "/v2/health/ready")
PAGE = "/page/"
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; font-src 'self'; connect-src 'self' blob:; worker-src 'self' blob:; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


@dataclass(frozen=True)
class Rules:
    """Who may ask. An address in `Host` cannot be rebound to another machine as a name can, so any is right."""

    hosts: frozenset[str]
    origins: frozenset[str]
    token: bytes

    @classmethod
    def of(cls, settings: ServingSettings) -> "Rules":
        """Return the rules that the settings say."""
        hosts = {"localhost", settings.host, *settings.allowed_hosts}
        return cls(
            frozenset(host.lower() for host in hosts),
            frozenset(settings.allowed_origins),
            settings.token.get_secret_value().encode(),
        )

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Raise ProblemError for a request that is not answered."""
        host = headers.get("host", "")
        if not self._is_known(host):
            raise ProblemError(403, f"the Host {host[:100]!r} is not a name of this service (serving.allowed_hosts)")
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and not _is_own(origin, host):
            raise ProblemError(403, f"pages of {origin[:100]!r} may not ask here (serving.allowed_origins)")
        preflight = method == "OPTIONS" and origin is not None
        if self.token and not preflight and path not in OPEN and not path.startswith(PAGE):
            self._check_token(headers.get("authorization", ""))

    def _is_known(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:  # brackets that do not match
            return False
        try:
            return name in self.hosts or bool(ip_address(name))
        except ValueError:
            return False

    def _check_token(self, given: str) -> None:
        scheme, _, token = given.partition(" ")
        is_right = hmac.compare_digest(token.strip().encode("utf-8", "replace"), self.token)
        if scheme.lower() != "bearer" or not is_right:
            raise ProblemError(401, "this service asks for its token: Authorization: Bearer …")


def _is_own(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # brackets that do not match
        return False


class Door:
    """Lets in what the rules allow, answers what nothing expected, adds the headers to every answer, and counts it."""

    def __init__(self, app: ASGIApp, rules: Rules, metrics: Metrics) -> None:
        self.app, self.rules, self.metrics = app, rules, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add(message, HEADERS)
            await send(message)

        try:
            self.rules.check(scope["method"], scope["path"], Headers(scope=scope))
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            if status:  # the answer is under way
                raise
            problem = error if isinstance(error, ProblemError) else unexpected(scope["method"], scope["path"], error)
            await problem.response(scope["path"])(scope, receive, send_with_headers)
        finally:
            endpoint = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(endpoint, str(status)).inc()
            self.metrics.seconds.labels(endpoint).observe(time.perf_counter() - started)


def _add(message: Message, headers: Mapping[str, str]) -> None:
    present = MutableHeaders(scope=message)
    for name, value in headers.items():
        present.setdefault(name, value)
