"""`POST /api/v1/pictures`: the picture that an image-to-video session begins with."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field

from .pictures import PictureError, Pictures
from .viewers import viewer_of

PATH = "/api/v1/pictures"
FILE = {"schema": {"type": "string", "format": "binary"}}
BODY = {"requestBody": {"required": True, "content": {"image/*": FILE}}}


class PictureBody(BaseModel):
    """A picture that was taken in."""

    id: str = Field(description="to open a session with, as its `picture`")
    width: int
    height: int


def picture_api(pictures: Pictures, wanted: bool) -> APIRouter:
    """The route.

    Args:
        wanted: whether the model here begins with pictures at all.
    """
    router = APIRouter()

    @router.post(PATH, status_code=201, openapi_extra=BODY)
    async def add_picture(request: Request) -> PictureBody:
        """Send a JPEG, PNG or WebP file (at most 8 MB, 40 million pixels) as the body.

        Two pictures of a viewer are kept, and no longer than the server runs.
        """
        if not wanted:
            raise HTTPException(409, "the model that runs here does not begin with a picture")
        data = await request.body()  # bounded by the gate
        try:
            kept = await pictures.add(viewer_of(request.scope).user, data)
        except PictureError as error:
            raise HTTPException(400, str(error)) from None
        return PictureBody(id=kept.id, width=kept.image.width, height=kept.image.height)

    return router
