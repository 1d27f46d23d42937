"""Models by their names on the hub: downloads into the cache that huggingface_hub shares, against a local hub."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from harness import DEADLINE_S, MODEL_DIR, Server, Terminal, binary, wait_for
from local_hub import Fault, LocalHub, etag_of, local_hub

FILES = {path.name: path.read_bytes() for path in MODEL_DIR.iterdir()}
WEIGHTS = FILES["model.safetensors"]
WEIGHTS_ETAG = hashlib.sha256(WEIGHTS).hexdigest()
NEEDED = {name for name in FILES if name != "README.md"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    """Holds org/tiny; the environment points to it and to an empty cache."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with local_hub() as hub:
        unneeded = {"pytorch_model.bin": b"pickle", "onnx/model.onnx": b"onnx"}
        hub.repo("org/tiny", FILES | unneeded)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        yield hub


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "hub"


def quire(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(binary()), *arguments],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False, env=os.environ | variables,
    )  # fmt: skip


def pulled(name: str, **variables: str) -> Path:
    ended = quire("pull", name, **variables)
    assert ended.returncode == 0, ended.stderr
    return Path(ended.stdout.strip())


def complaint(*arguments: str, **variables: str) -> str:
    ended = quire(*arguments, **variables)
    assert ended.returncode != 0, ended.stdout
    return ended.stderr


def python(code: str, cache: Path, hub: LocalHub, **variables: str) -> str:
    """huggingface_hub in a process of its own, as it reads its variables when it is imported."""
    ended = subprocess.run(
        [sys.executable, "-c", "from huggingface_hub import *\n" + code],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        env=os.environ | {"HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_XET": "1",
                          "HF_HUB_DISABLE_TELEMETRY": "1"} | variables,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def layout(cache: Path) -> dict[str, str | bytes]:
    """Everything in the cache: what links say, what files hold. The tag names who made it."""
    found: dict[str, str | bytes] = {}
    for path in sorted(cache.rglob("*")):
        name = str(path.relative_to(cache))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file() and name != "CACHEDIR.TAG":
            found[name] = path.read_bytes()
    return found


def test_a_name_is_served_and_its_second_start_asks_nobody(
    hub: LocalHub, cache: Path, start_server: Callable[..., Server]
) -> None:
    server = start_server("org/tiny")
    assert server.client.models.list().data[0].id == "org/tiny"
    assert server.client.completions.create(model="org/tiny", prompt="Once", max_tokens=4).choices
    assert {request.path.rsplit("/", 1)[1] for request in hub.bodies()} == NEEDED
    hub.requests.clear()
    assert quire("run", "org/tiny", "Once", "-n", "4", HF_ENDPOINT="http://127.0.0.1:1").returncode == 0
    assert not hub.requests


def test_the_cache_is_what_huggingface_hub_makes_of_it(
    hub: LocalHub, cache: Path, tmp_path: Path
) -> None:
    files = FILES | {"additional_chat_templates/tool_use.jinja": b"{{ tools }}"}
    hub.repo("org/both", files)
    theirs = tmp_path / "theirs"
    names = sorted(NEEDED | {"additional_chat_templates/*"})
    python(f"snapshot_download('org/both', allow_patterns={names})", theirs, hub)
    pulled("org/both")
    ours = layout(cache)
    absent = {name for name in ours if "/.no_exist/" in name}
    assert any(name.endswith("/chat_template.jinja") for name in absent)
    assert {name: ours[name] for name in ours if name not in absent} == layout(theirs)
    assert (cache / "CACHEDIR.TAG").read_text().startswith(
        (theirs / "CACHEDIR.TAG").read_text().split("\n")[0]
    )


def test_what_one_has_downloaded_the_other_finds(hub: LocalHub, cache: Path, tmp_path: Path) -> None:
    path = pulled("org/tiny")
    hub.requests.clear()
    code = "print(hf_hub_download('org/tiny', 'model.safetensors', local_files_only=True))"
    code += f"\nprint(snapshot_download('org/tiny', allow_patterns={sorted(NEEDED)}))"
    code += "\nfrom huggingface_hub.file_download import _CACHED_NO_EXIST as NONE"
    code += "\nprint(try_to_load_from_cache('org/tiny', 'chat_template.jinja') is NONE)"
    said = python(code, cache, hub).splitlines()
    assert said == [str(path / "model.safetensors"), str(path), "True"]
    assert not hub.bodies()

    theirs = tmp_path / "theirs"
    python(f"for name in {sorted(NEEDED)}: hf_hub_download('org/tiny', name)", theirs, hub)
    hub.requests.clear()
    ended = quire("run", "org/tiny", "Once", "-n", "4", HF_HUB_CACHE=str(theirs), HF_HUB_OFFLINE="1")
    assert ended.returncode == 0, ended.stderr
    assert not hub.requests


def test_only_what_is_new_is_downloaded(hub: LocalHub, cache: Path) -> None:
    first = pulled("org/tiny")
    hub.requests.clear()
    second = hub.repos["org/tiny"].commit(FILES | {"config.json": FILES["config.json"] + b" "})
    assert quire("run", "org/tiny", "Once", "-n", "1").returncode == 0, "of the old commit"
    assert not hub.requests
    path = pulled("org/tiny")
    assert path.name == second != first.name
    assert [request.path.rsplit("/", 1)[1] for request in hub.bodies()] == ["config.json"]
    assert pulled(f"org/tiny@{first.name}") == first
    hub.repos["org/tiny"].tags["v1"] = first.name
    assert pulled("org/tiny@v1") == first
    assert (cache / "models--org--tiny/refs/v1").read_text() == first.name


def test_the_index_says_which_weights_are_needed(hub: LocalHub) -> None:
    shards = {f"model-0000{i}-of-00002.safetensors": b"shard %d" % i for i in (1, 2)}
    index = {"weight_map": {"a": min(shards), "b": max(shards)}}
    stale = {"model.safetensors": WEIGHTS, "model-00001-of-00009.safetensors": b"stale"}
    files = {"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode()}
    hub.repo("org/shards", shards | stale | files)
    assert {path.name for path in pulled("org/shards").iterdir()} == set(shards) | set(files)


GGUFS = {
    "README.md": b"", "config.json": b"{}",
    "m-Q4_K_M.gguf": b"GGUF4", "m-Q8_0.gguf": b"GGUF8", "mmproj-F16.gguf": b"mm",
    "BF16/m-BF16-00001-of-00002.gguf": b"one", "BF16/m-BF16-00002-of-00002.gguf": b"two",
}  # fmt: skip


def test_a_quantisation_is_picked_with_all_its_parts(hub: LocalHub, cache: Path) -> None:
    hub.repo("org/ggufs", GGUFS)
    text = complaint("serve", "org/ggufs:Q8_0")  # downloaded, and then it is no such file
    assert "m-Q8_0.gguf: the header: truncated" in text
    assert pulled("org/ggufs").name == "m-Q4_K_M.gguf"
    assert pulled("org/ggufs:q8_0").read_bytes() == b"GGUF8"
    path = pulled("org/ggufs:BF16")
    assert path.name == "m-BF16-00001-of-00002.gguf"
    assert (path.parent / "m-BF16-00002-of-00002.gguf").read_bytes() == b"two"
    assert len(hub.bodies()) == 4
    text = complaint("pull", "org/ggufs:Q5_0")
    assert '"Q5_0"' in text and "BF16, Q4_K_M, Q8_0" in text


def test_a_gguf_of_the_hub_answers_as_the_model_that_it_was_made_of(hub: LocalHub, tmp_path: Path) -> None:
    file = tmp_path / "tiny-BF16.gguf"
    ended = quire("convert", str(MODEL_DIR), str(file))
    assert ended.returncode == 0, ended.stderr
    hub.repo("org/tiny-ggufs", {file.name: file.read_bytes()})
    prompt = ("Tell me a story about a fox.", "--chat", "--temperature", "0", "--max-tokens", "12")
    ended, local = quire("run", "org/tiny-ggufs:BF16", *prompt), quire("run", str(MODEL_DIR), *prompt)
    assert (ended.returncode, ended.stdout) == (0, local.stdout), ended.stderr
    assert local.stdout


def test_the_token_goes_to_the_hub_alone(hub: LocalHub) -> None:
    hub.repo("org/private", FILES, token="hf_right")
    pulled("org/private", HF_TOKEN="hf_right")
    for request in hub.requests:
        assert request.headers.get("Authorization") == (
            "Bearer hf_right" if request.server == "hub" else None
        )
    assert {request.server for request in hub.requests} == {"hub", "cdn"}


def test_refusals_say_what_to_do(hub: LocalHub) -> None:
    hub.repo("org/gated", FILES, token="hf_right", gated=True)
    text = complaint("pull", "org/gated")
    assert "gated" in text and f"{hub.url}/org/gated" in text and "HF_TOKEN" in text
    text = complaint("pull", "org/gated", HF_TOKEN="hf_other")
    assert "gated" in text and "the token of HF_TOKEN" in text
    assert "refuses the token of HF_TOKEN" in complaint("pull", "org/tiny", HF_TOKEN="hf_expired")
    assert "there is no model org/absent" in complaint("run", "org/absent", "x")
    assert "there is no model org/absent" in complaint("pull", "org/absent", HF_TOKEN="hf_right")
    hub.repos["org/tiny"].tags["v1"] = hub.repos["org/tiny"].branches["main"]
    assert "no revision v2: there are main, v1" in complaint("pull", "org/tiny@v2")
    hub.repo("org/pickle", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    assert "pytorch_model.bin" in complaint("pull", "org/pickle")
    hub.repo("org/huge", FILES, claimed_size={"model.safetensors": 10**17})
    text = complaint("pull", "org/huge")
    assert "needs 100 PB more" in text and "are free" in text
    assert not hub.bodies("model.safetensors")


def test_without_a_network_it_says_what_is_cached(hub: LocalHub) -> None:
    pulled("org/tiny")
    for variables in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:1"}):
        text = complaint("run", "org/other", "x", **variables)
        assert "org/other is not in the cache" in text and "holds org/tiny" in text
    assert "cannot reach http://127.0.0.1:1" in text
    assert "TRANSFORMERS_OFFLINE" in complaint("run", "org/other", "x", TRANSFORMERS_OFFLINE="1")
    assert pulled("org/tiny", HF_HUB_OFFLINE="1").is_dir()


def test_what_passes_is_tried_again(hub: LocalHub) -> None:
    again = {"Retry-After": "0"}
    hub.faults = [
        Fault("/revision/main", "hub", status=503, headers=again),
        Fault("config.json", "hub", status=429, headers=again),
        Fault("model.safetensors", "hub", status=500, headers=again),
        Fault("model.safetensors", status=503, headers=again),
        Fault("model.safetensors", status=403, headers=again),  # a link that has expired
    ]
    assert (pulled("org/tiny") / "model.safetensors").read_bytes() == WEIGHTS
    assert not hub.faults


def test_a_cut_connection_is_gone_on_with(hub: LocalHub) -> None:
    hub.faults = [
        Fault("model.safetensors", cut_after=1_000_000),
        Fault("model.safetensors", cut_after=500_000),
    ]
    assert (pulled("org/tiny") / "model.safetensors").read_bytes() == WEIGHTS
    asked = [request.headers.get("Range") for request in hub.bodies("model.safetensors")]
    assert asked == [None, "bytes=1000000-", "bytes=1500000-"]
    assert hub.bodies("model.safetensors")[1].headers["If-Range"] == f'"cdn-{WEIGHTS_ETAG[:16]}"'


def test_a_file_that_changes_between_its_parts_starts_over(hub: LocalHub) -> None:
    other = bytes(reversed(WEIGHTS))
    hub.faults = [
        Fault("model.safetensors", cut_after=1_000_000, body=other),
        Fault("model.safetensors", ignore_range=True, cut_after=100),
    ]
    assert (pulled("org/tiny") / "model.safetensors").read_bytes() == WEIGHTS


def test_bytes_that_are_not_the_files_never_get_its_name(hub: LocalHub, cache: Path) -> None:
    hub.faults = [Fault("model.safetensors", body=bytes(len(WEIGHTS))) for _ in range(8)]
    text = complaint("pull", "org/tiny")
    assert "model.safetensors" in text and WEIGHTS_ETAG in text
    assert not (cache / "models--org--tiny/blobs" / WEIGHTS_ETAG).exists()
    hub.faults.clear()
    # What another client has left may be anything, and too much.
    part = cache / "models--org--tiny/blobs" / f"{WEIGHTS_ETAG}.incomplete"
    for left in (b"x" * 1000, WEIGHTS[:-1] + b"x", WEIGHTS + b"x"):
        part.write_bytes(left)
        assert (pulled("org/tiny") / "model.safetensors").read_bytes() == WEIGHTS
        (cache / "models--org--tiny/blobs" / WEIGHTS_ETAG).unlink()


def test_an_interrupted_download_never_looks_whole(hub: LocalHub, cache: Path) -> None:
    hub.faults = [Fault("model.safetensors", stall_after=1_500_000)]
    process = subprocess.Popen([str(binary()), "pull", "org/tiny"], stderr=subprocess.DEVNULL)
    part = cache / "models--org--tiny/blobs" / f"{WEIGHTS_ETAG}.incomplete"
    wait_for("a part of the file", lambda: part.exists() and part.stat().st_size == 1_500_000)
    process.kill()
    process.wait()
    assert "not whole" in quire("list").stdout
    assert "model.safetensors is missing" in complaint("run", "org/tiny", "x", HF_HUB_OFFLINE="1")
    hub.requests.clear()
    assert quire("run", "org/tiny", "Once", "-n", "1").returncode == 0
    assert [request.headers["Range"] for request in hub.bodies()] == ["bytes=1500000-"]
    assert not part.exists()


def test_who_downloads_a_blob_has_its_lock(hub: LocalHub, cache: Path) -> None:
    path = cache / ".locks/models--org--tiny" / f"{WEIGHTS_ETAG}.lock"
    path.parent.mkdir(parents=True)
    with FileLock(path):
        process = subprocess.Popen([str(binary()), "pull", "org/tiny"], stderr=subprocess.PIPE)
        blob = cache / "models--org--tiny/blobs" / WEIGHTS_ETAG
        wait_for("the other files", lambda: len(hub.bodies()) == len(NEEDED) - 1)
        time.sleep(0.3)
        assert not hub.bodies("model.safetensors") and process.poll() is None
        blob.write_bytes(WEIGHTS)
    assert process.wait(DEADLINE_S) == 0
    assert not hub.bodies("model.safetensors")
    assert process.stderr is not None and b"another process" in process.stderr.read()

    blob.unlink()
    hub.faults = [Fault("model.safetensors", stall_after=10)]
    process = subprocess.Popen([str(binary()), "pull", "org/tiny"], stderr=subprocess.DEVNULL)
    wait_for("the request", lambda: hub.bodies("model.safetensors"))
    with pytest.raises(TimeoutError):
        FileLock(path, timeout=0.1).acquire()
    assert "being downloaded" in complaint("rm", "org/tiny")
    process.kill()
    process.wait()


def test_a_proxy_is_used(hub: LocalHub) -> None:
    pulled("org/tiny", HF_ENDPOINT="http://hub.invalid", http_proxy=hub.url)
    assert {request.headers["Host"] for request in hub.requests} == {"hub.invalid"}


def test_models_are_listed_and_removed(hub: LocalHub, cache: Path) -> None:
    hub.repo("org/ggufs", GGUFS)
    pulled("org/tiny")
    pulled("org/ggufs:Q8_0")
    pulled("org/ggufs:BF16")
    text = quire("list").stdout
    assert "org/tiny" in text and "safetensors" in text and "main" in text
    listed = json.loads(quire("list", "--json").stdout)
    assert listed["cache"] == str(cache)
    by_name = {model["model"]: model for model in listed["models"]}
    assert by_name["org/ggufs"]["revisions"][0]["formats"] == ["GGUF BF16", "GGUF Q8_0"]
    assert by_name["org/tiny"]["revisions"][0]["whole"]
    seen = python("print(sorted(r.repo_id for r in scan_cache_dir().repos))", cache, hub)
    assert seen == "['org/ggufs', 'org/tiny']"
    assert quire("rm", "org/ggufs:q8_0", "org/tiny").returncode == 0
    left = json.loads(quire("list", "--json").stdout)["models"]
    assert [model["revisions"][0]["formats"] for model in left] == [["GGUF BF16"]]
    assert not (cache / "models--org--ggufs/blobs" / etag_of("m-Q8_0.gguf", b"GGUF8")).exists()
    assert "holds org/ggufs" in complaint("rm", "org/tiny")


def test_a_terminal_shows_bars(hub: LocalHub, open_terminal: Callable[..., Terminal]) -> None:
    hub.faults = [Fault("model.safetensors", stall_after=1_000_000)]
    terminal = open_terminal("pull", "org/tiny")
    terminal.wait_for("model.safetensors")
    terminal.wait_for(" 52% [")
    terminal.wait_for("1.00 MB/1.91 MB")
    terminal.wait_for("4 of 5 files")
