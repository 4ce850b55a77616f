"""Servers: whether one answers, and whether a proxy stands before it."""

from urllib.parse import urlsplit

from configs.environment import shown_address, without_login
from configs.errors import UserError

SERVER_SECONDS = 20
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


def _way_around(proxy: str, shown: str) -> str:
    if not proxy:
        return ""
    return f"; the request went to the proxy {without_login(proxy)}: set NO_PROXY={urlsplit(shown).hostname}"


def _proxy_for(uri: str) -> str:
    """Return the proxy that requests to a server go through by the environment, or ""."""
    from requests.utils import get_environ_proxies, select_proxy

    return str(select_proxy(uri, get_environ_proxies(uri, no_proxy=None)) or "")
