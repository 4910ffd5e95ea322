"""First pictures: what is taken in, what is refused, and what the model sees of them."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from millrace.app import pictures as module
from millrace.app.pictures import KEPT_SIDE, PictureError, Pictures, decode, fitted
from millrace.app.server import create_app
from millrace.app.settings import ServerSettings
from millrace.streaming.host import HostInfo
from PIL import Image

from .rig import INFO, Client, EchoHost

LOCAL = "http://127.0.0.1:7860"
URL = "/api/v1/pictures"


def saved(image: Image.Image, format: str = "PNG", **more: Any) -> bytes:
    file = BytesIO()
    image.save(file, format, **more)
    return file.getvalue()


def two_colours(size: tuple[int, int] = (64, 32), mode: str = "RGB") -> Image.Image:
    """Red above, blue below."""
    image = Image.new(mode, size, "red")
    image.paste("blue", (0, size[1] // 2, *size))
    return image


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_each_format_is_read(format: str) -> None:
    kept = decode(saved(two_colours(), format))
    assert kept.size == (64, 32) and kept.mode == "RGB"
    red = kept.getpixel((32, 4))
    assert isinstance(red, tuple) and red[0] > 200 > 60 > red[2]


def test_a_turned_photograph_is_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    kept = decode(saved(two_colours(), "JPEG", exif=exif))
    assert kept.size == (32, 64)
    right = kept.getpixel((28, 32))
    assert isinstance(right, tuple) and right[0] > 200, "what was above is on the right"


def test_alpha_is_laid_on_white_and_size_is_kept_in_bounds() -> None:
    clear = decode(saved(Image.new("RGBA", (8, 8), (0, 0, 0, 0))))
    assert clear.getpixel((4, 4)) == (255, 255, 255)
    large = decode(saved(two_colours((3000, 400))))
    assert large.size[0] == KEPT_SIDE and large.size[1] == round(400 * KEPT_SIDE / 3000)


def bomb() -> bytes:
    """A PNG of a few bytes that says that it has 10^10 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    side = (100_000).to_bytes(4, "big")
    header = chunk(b"IHDR", side + side + bytes([8, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100))


WHOLE = saved(two_colours())
REFUSED = {
    "nothing": b"",
    "text": b"#EXTM3U\nfile:///etc/passwd\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "gif": saved(two_colours(), "GIF"),
    "cut": WHOLE[: len(WHOLE) // 2],
    "bomb": bomb(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_words(name: str) -> None:
    with pytest.raises(PictureError, match="million pixels|no JPEG, PNG or WebP"):
        decode(REFUSED[name])


def test_the_planes_are_those_of_the_colours() -> None:
    """BT.601, limited range: white is 235, black 16, and a cut is around the middle."""
    image = Image.new("RGB", (64, 32), "black")
    image.paste("white", (16, 0, 48, 32))
    planes = fitted(image, 32, 32)
    assert planes.shape == (48, 32) and planes.dtype == np.uint8
    assert (planes[:32] == 235).all() and (planes[32:] == 128).all()
    assert (fitted(Image.new("RGB", (9, 9), "black"), 16, 16)[:16] == 16).all()


def test_few_are_kept_and_only_for_their_viewer() -> None:
    async def run() -> None:
        kept = Pictures()
        ids = [(await kept.add("ann", WHOLE)).id for _ in range(3)]
        assert (await kept.planes("ann", ids[2], 32, 32)).shape == (48, 32)
        with pytest.raises(PictureError, match="choose it again"):
            await kept.planes("ann", ids[0], 32, 32)
        with pytest.raises(PictureError, match="choose it again"):
            await kept.planes("bob", ids[2], 32, 32)
        for viewer in range(module.IN_ALL):
            await kept.add(f"viewer {viewer}", WHOLE)
        with pytest.raises(PictureError, match="choose it again"):
            await kept.planes("ann", ids[2], 32, 32)

    asyncio.run(run())


def from_pictures() -> HostInfo:
    return replace(INFO, pipeline=replace(INFO.pipeline, draws_from=("text", "image")))


def test_over_http_from_the_file_to_what_the_model_sees() -> None:
    host = EchoHost()
    with TestClient(create_app(host, ServerSettings(), from_pictures()), base_url=LOCAL) as web:
        assert web.post(URL, content=b"x" * (module.MAX_BYTES + 1)).status_code == 413
        wrong = web.post(URL, content=REFUSED["text"])
        assert wrong.status_code == 400 and "no JPEG" in wrong.json()["error"]
        large = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
        file = saved(Image.fromarray(large))
        assert len(file) > 1 << 18, "larger than other bodies may be"
        answer = web.post(URL, content=file)
        assert answer.status_code == 201 and answer.json()["width"] == 400
        gone = open_with(web, "none")
        assert gone.status_code == 400 and "choose it again" in gone.json()["error"]
        assert open_with(web, answer.json()["id"]).status_code == 201


def open_with(web: TestClient, picture: str) -> Any:
    async def offer() -> str:
        client = Client()
        sdp = await client.offer()
        await client.close()
        return sdp

    body = {"sdp": asyncio.run(offer()), "width": 64, "height": 64, "picture": picture}
    return web.post("/api/v1/sessions", json=body)


def test_a_model_that_begins_with_no_picture_says_so() -> None:
    with TestClient(create_app(EchoHost(), ServerSettings(), INFO), base_url=LOCAL) as web:
        assert web.post(URL, content=WHOLE).status_code == 409
