"""Servers for the tests: one that all share, and more with options of their own.

    pip install -r tests/e2e/requirements.txt
    QUIRE_BINARY=build/ci/quire python -m pytest tests/e2e

The tests compare answers with each other, never with a fixed text: of the weights they ask only
that a chat answer ends by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from harness import Server, Terminal, binary
from openai import OpenAI


def pytest_configure() -> None:
    if not binary().is_file():
        raise pytest.UsageError(f"no server at {binary()}: build it, or set QUIRE_BINARY")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    shared = Server()
    try:
        yield shared
    finally:
        shared.close()


@pytest.fixture(scope="session")
def smollm2_file() -> str:
    """A trained model's GGUF file. Without a network there is none; CI refuses tests that were skipped."""
    file = os.environ.get("QUIRE_SMOLLM2")
    if not file:
        pytest.skip("QUIRE_SMOLLM2 is not set: QUIRE_SMOLLM2=$(scripts/fetch_model smollm2)")
    return file


@pytest.fixture(scope="session")
def base_url(server: Server) -> str:
    return server.base_url


@pytest.fixture(scope="session")
def client(server: Server) -> OpenAI:
    return server.client


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*options: str, key: str = "none") -> Server:
        servers.append(Server(*options, key=key))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def open_terminal() -> Iterator[Callable[..., Terminal]]:
    terminals: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        terminals.append(Terminal(*arguments))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()
