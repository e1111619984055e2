"""The figures as a person reads them: the report, charts, pages. It measures nothing."""

from __future__ import annotations
