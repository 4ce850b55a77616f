"""Servers: whether one answers, and whether a proxy stands before it."""

from threading import Thread
from urllib.parse import urlsplit

from configs.environment import shown_address, without_login
from configs.errors import UserError

SERVER_SECONDS = 20
NETWORK_SECONDS = 4  # for a look from outside
PROXY_FAILED = 500  # a proxy's status where it cannot reach a server, or one above


def check_server(uri: str, seconds: float = SERVER_SECONDS) -> None:
    """Raise UserError where no server answers, or only a proxy; MLflow itself would try for minutes."""
    import requests

    shown, proxy = shown_address(uri), ""
    try:
        proxy = _proxy_for(uri)
        status = requests.get(uri, timeout=seconds).status_code
    except (requests.RequestException, ValueError) as error:  # ValueError: of some impossible names of servers
        trouble = f"MLFLOW_TRACKING_URI {shown}: no server answers ({type(error).__name__})"
        raise UserError(trouble + _way_around(proxy, shown)) from error
    if proxy and status >= PROXY_FAILED:
        raise UserError(f"MLFLOW_TRACKING_URI {shown}: no server answers (status {status}){_way_around(proxy, shown)}")


def why_silent(url: str) -> str:
    """Return why a server does not answer, or "" where it does; a silent name server is not waited for either."""
    reasons: list[str] = []

    def ask() -> None:
        try:
            check_server(url, NETWORK_SECONDS)
            reasons.append("")
        except UserError:
            reasons.append(f"no server answers at {shown_address(url)}")

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(NETWORK_SECONDS + 1)
    return reasons[0] if reasons else f"no answer came from {shown_address(url)} within {NETWORK_SECONDS} s"


def _way_around(proxy: str, shown: str) -> str:
    if not proxy:
        return ""
    return f"; the request went to the proxy {without_login(proxy)}: set NO_PROXY={urlsplit(shown).hostname}"


def _proxy_for(uri: str) -> str:
    """Return the proxy that requests to a server go through by the environment, or ""."""
    from requests.utils import get_environ_proxies, select_proxy

    return str(select_proxy(uri, get_environ_proxies(uri, no_proxy=None)) or "")
