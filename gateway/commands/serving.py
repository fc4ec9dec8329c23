"""`sluice serve` and `sluice token`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal

from rich.console import Console

from gateway.app import running
from gateway.errors import Misconfigured
from gateway.identity.development import DevIssuer, development_issuer
from gateway.settings import Settings, load
from gateway.telemetry import configure


async def serve(arguments: argparse.Namespace, console: Console) -> int:
    """Serve until SIGTERM or SIGINT, then stop gracefully."""
    settings = load(arguments.config)
    configure(settings.log_format, settings.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings) as gateway:
        console.print(f"serving on {gateway.url}")
        await stop.wait()
        console.print("stopping")
    return 0


async def token(arguments: argparse.Namespace, _: Console) -> int:
    """Print a token of the development issuer. Refuses where none is configured."""
    settings = load(arguments.config)
    issuer = demanded_issuer(settings)
    text = issuer.issue(
        subject=arguments.sub,
        groups=tuple(arguments.group),
        client=arguments.client,
        act=arguments.act,
        ttl=arguments.ttl,
    )
    print(json.dumps({"token": text, "expires_in": arguments.ttl}) if arguments.json else text)  # noqa: T201 -- a command's output
    return 0


def demanded_issuer(settings: Settings) -> DevIssuer:
    """Return the development issuer of this installation. Raises ``Misconfigured``."""
    issuer = development_issuer(settings, settings.keys_dir)
    if issuer is None:
        raise Misconfigured(
            "no_development_issuer",
            "no development issuer is configured; outside production set "
            "SLUICE_IDENTITY__DEVELOPMENT_ISSUER=true",
            field="identity.development_issuer",
        )
    return issuer
