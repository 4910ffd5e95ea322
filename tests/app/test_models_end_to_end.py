"""From a hub to a restyled file, through the commands that a user types, with tiny models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from millrace.app import hub_lock

from .fake_hub import FakeHub, serving
from .fake_models import sd_turbo_repositories, teller_repositories, wan_repositories

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FRAMES = 9


class User:
    """Somebody at a terminal, with a home of their own."""

    def __init__(self, home: Path, hub: FakeHub) -> None:
        self.home, self.models, self.hub = home, home / "models", hub
        self._environ = {
            **os.environ,
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": hub.address,
            "MILLRACE_MODELS": str(self.models),
        }
        self._environ.pop("HF_TOKEN", None)

    def types(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", "from millrace.app.cli import main; main()", *arguments]
        return subprocess.run(
            program,
            capture_output=True,
            text=True,
            env=self._environ,
            cwd=self.home,
            timeout=280,
            stdin=subprocess.DEVNULL,
        )

    def does(self, *arguments: str) -> str:
        done = self.types(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *arguments: str) -> tuple[int, str]:
        done = self.types(*arguments)
        assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stderr


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    with serving(FakeHub()) as hub:
        (tmp_path / "home").mkdir()
        yield User(tmp_path / "home", hub)


def clip(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for index in range(FRAMES):
            picture = np.zeros((64, 64, 3), np.uint8)
            picture[:, 5 * index : 5 * index + 8] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    return path


def stylize(user: User, model: str, *more: str) -> dict[str, object]:
    source, target = clip(user.home / "in.mp4"), user.home / "out.mp4"
    told = user.does(
        "stylize", str(source), str(target), "--model", model, "--prompt", "a red fox",
        "--device", "cpu", "--dtype", "float32", "--threads", "1", "--json", *more,
    )  # fmt: skip
    with av.open(str(target)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == FRAMES and any(picture.std() > 1 for picture in pictures)
    report: dict[str, object] = json.loads(told)
    return report


def test_wan_from_the_hub_to_a_restyled_clip(user: User) -> None:
    user.hub.repos |= wan_repositories()
    code, told = user.fails("models", "pull", "wan2.1-1.3b")
    assert code == 1 and "not the file that this version knows" in told
    # What is served here is not what was released, so the newest revision is asked for by name.
    newest = ("models", "pull", "wan2.1-1.3b", "--revision", "main")
    code, told = user.fails(*newest)
    assert code == 2 and "--yes" in told
    code, told = user.fails("stylize", "in.mp4", "out.mp4", "--model", "wan2.1-1.3b")
    assert code == 2 and "millrace models pull wan2.1-1.3b" in told
    user.hub.faults["taew2_1.pth"] = ["cut", "403"]
    code, told = user.fails(*newest, "--yes")
    assert code == 1 and "taew2_1.pth may not be read with this login (403)" in told
    shown = user.does(*newest, "--yes")
    ranges = [wanted for path, wanted in user.hub.requests if path == "taew2_1.pth"]
    assert ranges[-1].startswith("bytes=") and "licence: apache-2.0" in shown
    checked = json.loads(user.does("models", "verify", "wan2.1-1.3b", "--json"))
    assert set(checked.values()) == {"ok"} and "dit" in checked
    listed = json.loads(user.does("models", "list", "--json"))
    assert [m["state"] for m in listed if m["name"] == "wan2.1-1.3b"] == ["pulled"]
    report = stylize(user, "wan2.1-1.3b")
    assert report["frames"] == FRAMES
    # A file that is no longer what was pulled never runs.
    path = user.models / "wan2.1-1.3b/dit/model.pt"
    path.write_bytes(path.read_bytes()[:-5000])
    code, told = user.fails("models", "verify", "wan2.1-1.3b")
    assert code == 1 and "dit/model.pt: has" in told
    code, told = user.fails(
        "stylize", "in.mp4", "out.mp4", "--model", "wan2.1-1.3b",
        "--weights", str(user.models / "wan2.1-1.3b"), "--device", "cpu", "--dtype", "float32",
    )  # fmt: skip
    assert "model.pt" in told


def test_sd_turbo_from_the_hub_to_a_restyled_clip(user: User) -> None:
    pytest.importorskip("diffusers")
    user.hub.repos |= sd_turbo_repositories(user.home / "made")
    user.does("models", "pull", "sd-turbo", "--yes", "--revision", "main")
    files = hub_lock.read(user.models / "sd-turbo") or ()
    assert ("unet", "diffusion_pytorch_model.safetensors") in {(f.role, f.file) for f in files}
    checked = json.loads(user.does("models", "verify", "sd-turbo", "--json"))
    assert set(checked.values()) == {"ok"} and "unet" in checked
    assert stylize(user, "sd-turbo")["frames"] == FRAMES


def test_a_teller_is_pulled_and_verified(user: User) -> None:
    user.hub.repos |= teller_repositories()
    user.does("models", "pull", "qwen2.5-vl-3b", "--yes")
    checked = json.loads(user.does("models", "verify", "qwen2.5-vl-3b", "--json"))
    assert set(checked.values()) == {"ok"} and "model" in checked
