"""Which proxy a request goes through."""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

from yarl import URL

from aioloader.storage.hosts import is_loopback_host


def proxy_for(url: URL, proxy: str | None) -> URL | None:
    """The proxy's address for ``url``, or None. ``"env"`` asks the environment, never for loopback."""
    if proxy is None:
        return None
    if proxy != "env":
        return URL(proxy)
    host = url.host or ""
    if is_loopback_host(host) or proxy_bypass(f"{host}:{url.port}"):
        return None
    proxies = getproxies()
    found = proxies.get(url.scheme) or proxies.get("all")
    if not found:
        return None
    return URL(found if "://" in found else f"http://{found}")
