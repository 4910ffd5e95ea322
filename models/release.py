"""What a released model is made of: files of repositories, each in a role. Plain data, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Family = Literal["wan", "sd", "vl"]


@dataclass(frozen=True, slots=True)
class Part:
    """Files of one repository that play one role in a model.

    Attributes:
        role: "config", "dit", "vae", "taehv", "text_encoder", "tokenizer", "unet", "lora" or
            "model": the folder in which the files lie here.
        repo: the hub's name of the repository.
        files: the names there, below `folder`; patterns with * are allowed.
        bytes: of all of them together, as far as known; the hub is asked again before a download.
        licence: under which its owner gives it out.
        sha256: by file name, where several public records agree; the hub tells the others.
        folder: of the repository in which the files lie; it is left out here.
        drop: of the file names is left out here, so that loaders need not know of variants.
        verified: repository, file names, sizes and licence were found in public records.
    """

    role: str
    repo: str
    files: tuple[str, ...]
    bytes: int
    licence: str
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)
    folder: str = ""
    drop: str = ""
    verified: bool = True

    def remote(self) -> tuple[str, ...]:
        """The patterns as the repository has them."""
        return tuple(f"{self.folder}/{name}" if self.folder else name for name in self.files)

    def local(self, path: str) -> str:
        """Where a file of the repository lies here, below the folder of its role."""
        name = path.removeprefix(f"{self.folder}/") if self.folder else path
        return name.replace(self.drop, "") if self.drop else name


@dataclass(frozen=True, slots=True)
class Released:
    """One model that `millrace models pull` fetches.

    Attributes:
        name: on the command line.
        about: one line on what it does.
        parts: all that it needs.
        family: which loader reads it.
        spec: name of its dimensions.
        runs: what runs it: the name that `--model` takes, or "" where `--vlm` takes this name.
        policy: how its weights want to be streamed, a name of `policies`; "" for the usual way.
    """

    name: str
    about: str
    parts: tuple[Part, ...]
    family: Family
    spec: str
    runs: str
    policy: str = ""

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def roles(self) -> tuple[str, ...]:
        """In their order, each once."""
        return tuple(dict.fromkeys(part.role for part in self.parts))
