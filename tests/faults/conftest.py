"""The stores of the fault tests: ``HTTPStore`` with each of its transports; and servers of the store tests."""

from __future__ import annotations

from tests.storage.conftest import http as http
from tests.storage.conftest import nginx_server as nginx_server
