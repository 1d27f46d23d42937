"""Requests and servers that end early, late, or all at once."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from harness import MODEL, MODEL_DIR, Server, binary, wait_for
from openai import AsyncOpenAI, OpenAI

PROMPT = "Once upon a time"
LONG_TOKENS = 1900  # nearly all that the context holds
LONG: dict[str, Any] = {"max_tokens": LONG_TOKENS, "extra_body": {"ignore_eos": True}}
RUNNING = "vllm:num_requests_running"


def begin_stream(client: OpenAI, **options: Any) -> openai.Stream[Any]:
    """A long stream whose first chunk is read."""
    stream = client.completions.create(
        model=MODEL,
        prompt=PROMPT,
        stream=True,
        stream_options={"include_usage": True},
        **{**LONG, **options},
    )
    next(stream)
    return stream


def assert_ends_whole(stream: openai.Stream[Any]) -> None:
    chunks = list(stream)
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == LONG_TOKENS


def test_a_client_that_leaves_frees_its_place(client: OpenAI, server: Server) -> None:
    server.wait_for_metric(RUNNING, 0)
    before = server.metric("vllm:generation_tokens_total")
    leaving, staying = begin_stream(client), begin_stream(client)
    server.wait_for_metric(RUNNING, 2)
    leaving.close()
    server.wait_for_metric(RUNNING, 1)
    assert_ends_whole(staying)
    server.wait_for_metric(RUNNING, 0)
    assert server.metric("vllm:generation_tokens_total") < before + 2 * LONG_TOKENS
    server.wait_for_metric("vllm:kv_cache_usage_perc", 0)


def test_all_choices_of_a_client_that_leaves_end(client: OpenAI, server: Server) -> None:
    leaving = begin_stream(client, n=4)
    server.wait_for_metric(RUNNING, 4)
    leaving.close()
    server.wait_for_metric(RUNNING, 0)


def test_a_client_that_does_not_stream_may_leave(client: OpenAI, server: Server) -> None:
    before = server.metric("vllm:generation_tokens_total")
    with pytest.raises(openai.APITimeoutError):
        client.completions.create(model=MODEL, prompt=PROMPT, n=16, timeout=0.2, **LONG)
    server.wait_for_metric(RUNNING, 0)
    assert server.metric("vllm:generation_tokens_total") < before + 16 * LONG_TOKENS


async def stream_many(base_url: str, count: int, **options: Any) -> list[str]:
    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60) as client:

        async def one() -> str:
            stream = await client.completions.create(model=MODEL, stream=True, **options)
            return "".join([chunk.choices[0].text async for chunk in stream])

        return await asyncio.gather(*(one() for _ in range(count)))


def test_200_streams_at_once_say_what_one_says(client: OpenAI, base_url: str) -> None:
    options: dict[str, Any] = {"prompt": PROMPT, "temperature": 0, "max_tokens": 32}
    alone = client.completions.create(model=MODEL, **options).choices[0].text
    assert set(asyncio.run(stream_many(base_url, 200, **options))) == {alone}


def test_more_streams_than_places_are_all_served(start_server: Callable[..., Server]) -> None:
    server = start_server("--max-num-seqs", "3", "--num-gpu-blocks-override", "16")
    options: dict[str, Any] = {"prompt": PROMPT, "temperature": 1, "seed": 9, "max_tokens": 100}
    options["extra_body"] = {"ignore_eos": True}
    alone = server.client.completions.create(model=MODEL, **options).choices[0].text
    assert set(asyncio.run(stream_many(server.base_url, 12, **options))) == {alone}


def test_more_samples_than_places_run_in_parts(
    client: OpenAI, start_server: Callable[..., Server]
) -> None:
    server = start_server("--max-num-seqs", "3", "--num-gpu-blocks-override", "16")
    options: dict[str, Any] = {"prompt": PROMPT, "temperature": 1, "seed": 9, "max_tokens": 40, "n": 8}

    def texts(of: OpenAI) -> list[str]:
        return [choice.text for choice in of.completions.create(model=MODEL, **options).choices]

    assert texts(server.client) == texts(client)
    beams = {"prompt": PROMPT, "n": 4, "use_beam_search": True}
    refused = server.post("/v1/completions", beams)
    assert refused.status_code == 400
    assert "4 beams side by side, and max_num_seqs is 3" in refused.json()["error"]["message"]


def test_a_signal_lets_running_streams_finish(start_server: Callable[..., Server]) -> None:
    server = start_server()
    stream = begin_stream(server.client)
    server.signal(signal.SIGTERM)
    wait_for("the log to say that it drains", lambda: "draining" in server.log())
    try:  # on a new connection
        assert server.post("/v1/completions", {"prompt": PROMPT}).status_code == 503
    except httpx.TransportError:
        pass  # refused, which says the same
    assert_ends_whole(stream)
    assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(
    start_server: Callable[..., Server], number: signal.Signals
) -> None:
    server = start_server()
    stream = begin_stream(server.client, n=32)
    server.signal(number)
    wait_for("the log to say that it drains", lambda: "draining" in server.log())
    server.signal(number)
    server.wait(deadline_s=5)
    finished = 0
    try:
        for chunk in stream:
            finished += sum(choice.finish_reason == "length" for choice in chunk.choices)
    except (openai.APIError, httpx.TransportError):
        pass  # the connection was cut
    assert finished < 32


def test_an_idle_server_stops_with_its_first_signal(start_server: Callable[..., Server]) -> None:
    server = start_server()
    server.signal(signal.SIGINT)
    assert server.wait(deadline_s=5) == 0


def open_for_writing(pipe: Path) -> int | None:
    """A descriptor, once somebody has opened the pipe for reading."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("option", ["--chat-template", "--shared-prefix"])
def test_a_signal_while_the_model_loads_ends_it_at_once(
    tmp_path: Path, option: str, number: signal.Signals
) -> None:
    pipe = tmp_path / "pipe"  # read by the server, and never written
    os.mkfifo(pipe)
    log = tmp_path / "log"
    command = [str(binary()), "serve", "--port", "0", "--kv-cache-memory", "128MiB"]
    with log.open("w") as err:
        process = subprocess.Popen([*command, option, str(pipe)], stdout=subprocess.DEVNULL, stderr=err)
    writer = None
    try:
        writer = wait_for("the server to read the pipe", lambda: open_for_writing(pipe))
        process.send_signal(number)
        assert process.wait(timeout=5) == 128 + number
        assert number.name in log.read_text()
        assert "loading" in log.read_text()
    finally:
        process.kill()
        process.wait()
        if writer is not None:
            os.close(writer)


def test_threads_that_cannot_start_are_an_error() -> None:
    def little_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))  # the stacks of 1024 threads take four times that

    ended = subprocess.run(
        [str(binary()), "serve", str(MODEL_DIR), "--port", "0", "--threads", "1024"],
        capture_output=True, text=True, timeout=30, check=False, preexec_fn=little_memory,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "of 1024 threads only" in ended.stderr
