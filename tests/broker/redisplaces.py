"""Redis places for the tests of brokers, whose clock is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
