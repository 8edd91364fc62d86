"""A container image as an archive, made without a daemon: what `docker load`, `ctr import` and kind read.

    python archive.py OUT.tar NAME:TAG --entrypoint /program [--link PATH=TARGET] [--folder PATH] SOURCE=PATH…

One layer, nothing in it but what is named: the same input gives the same bytes, whoever makes it and when. Standard
library only: it also makes images before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

__all__ = ["write_image"]

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}  # as the OCI names processors
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def write_image(
    out: Path,
    names: Mapping[str, Mapping[str, str]],
    *,
    files: Mapping[str, Path],
    entrypoint: Sequence[str],
    links: Mapping[str, str] = {},
    folders: Sequence[str] = (),
    user: str = "",
) -> None:
    """Write an archive, whole or not at all. Raises OSError.

    `names`: NAME:TAG -> its environment. All share the one layer; those of one environment are one image. `files`: path
    in the image -> file or folder to copy. `links`: path in the image -> what the link says.
    """
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        layer = Path(scratch) / "layer.tar"
        with tarfile.open(layer, "w", format=tarfile.GNU_FORMAT) as tar:
            made: set[PurePosixPath] = set()
            for folder in ("/etc", "/tmp", *folders):
                _add_folder(tar, PurePosixPath(folder), made)
            for path, target in sorted(links.items()):
                _add_folder(tar, PurePosixPath(path).parent, made)
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                tar.addfile(entry)
            for path, source in sorted(files.items()):
                _add_folder(tar, PurePosixPath(path).parent, made)
                tar.add(source, path.lstrip("/"), filter=_anonymous)
        with layer.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        configs: dict[str, bytes] = {}
        index = []
        for name, environment in sorted(names.items()):
            config = _config(digest, {"PATH": PATH, **environment}, entrypoint, user)
            config_name = f"{hashlib.sha256(config).hexdigest()}.json"
            configs[config_name] = config
            index.append({"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]})
        whole = Path(scratch) / "whole.tar"
        with tarfile.open(whole, "w", format=tarfile.GNU_FORMAT) as tar:
            for config_name, config in sorted(configs.items()):
                _add_bytes(tar, config_name, config)
            tar.add(layer, f"{digest}/layer.tar", filter=_anonymous)
            _add_bytes(tar, "manifest.json", json.dumps(index).encode())
        os.replace(whole, out)


def _config(layer: str, environment: Mapping[str, str], entrypoint: Sequence[str], user: str) -> bytes:
    setting = {
        "architecture": MACHINES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "Entrypoint": list(entrypoint),
            "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
            "User": user,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
    }
    return json.dumps(setting, sort_keys=True).encode()


def _add_folder(tar: tarfile.TarFile, path: PurePosixPath, made: set[PurePosixPath]) -> None:
    """The folder and those above it, once."""
    if path in made or path == PurePosixPath("/"):
        return
    _add_folder(tar, path.parent, made)
    made.add(path)
    entry = tarfile.TarInfo(str(path).lstrip("/"))
    entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if path.name == "tmp" else 0o755
    tar.addfile(entry)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 0
    return entry


def _main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("name")
    parser.add_argument("files", nargs="+", metavar="SOURCE=PATH")
    parser.add_argument("--entrypoint", action="append", required=True)
    parser.add_argument("--link", action="append", default=[], metavar="PATH=TARGET")
    parser.add_argument("--folder", action="append", default=[])
    parser.add_argument("--user", default="")
    said = parser.parse_args()
    write_image(
        said.out, {said.name: {}}, entrypoint=said.entrypoint, folders=said.folder, user=said.user,
        files={path: Path(source) for source, _, path in (one.partition("=") for one in said.files)},
        links={path: target for path, _, target in (one.partition("=") for one in said.link)},
    )  # fmt: skip


if __name__ == "__main__":
    _main()
