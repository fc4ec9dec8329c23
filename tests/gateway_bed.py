"""A whole gateway for the tests that need one: real parts, on loopback, with its own state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.app import Gateway, running
from gateway.commands.client import GatewayClient
from gateway.identity.development import DevIssuer
from gateway.settings import Settings

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Served:
    """A gateway that serves, and how to be somebody to it."""

    gateway: Gateway
    settings: Settings
    issuer: DevIssuer

    def token(self, subject: str, client: str = "sluice-cli", **more: Any) -> str:
        """Return a token of the development issuer."""
        return self.issuer.issue(subject=subject, client=client, **more)

    def client(self, subject: str, client: str = "sluice-cli", **more: Any) -> GatewayClient:
        """Return an HTTP client that holds such a token; use it as an async context."""
        return GatewayClient(self.gateway.url, self.token(subject, client, **more))


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[Served]:
    """Run a gateway with these settings."""
    async with running(settings) as gateway:
        yield Served(gateway, settings, DevIssuer.open(settings.keys_dir))
