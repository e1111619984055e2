"""The stores of the fault tests: ``HTTPStore`` with each of its transports."""

from __future__ import annotations

from tests.storage.conftest import http as http
