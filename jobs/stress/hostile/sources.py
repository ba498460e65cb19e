"""Recordings that try to read other files, by their format or through a hijacked decoder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from jobs.stress.hostile.bench import PLAIN, SECRET, Bench, Case, SkippedError
from pipeline.confinement import landlock_version

_SHAPE = (1, 2, 2, 3, 16, 16)
_HIDDEN = "hidden"


def _write_secret(bench: Bench) -> Path:
    """Write a secret of the victim's as raw bytes and as HDF5, and return the raw file's path."""
    secret = bench.victim / "numbers"
    secret.write_bytes(SECRET.encode() * 200)
    with h5py.File(bench.victim / "numbers.h5", "w") as file:
        file[_HIDDEN] = np.frombuffer(secret.read_bytes()[:3072], np.uint8).reshape(_SHAPE)
    return secret


def _add_storage(file: h5py.File, secret: Path) -> None:
    storage = [(str(secret), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("img_HR", _SHAPE, np.uint8, external=storage)


def _add_relative_storage(file: h5py.File, secret: Path) -> None:
    storage = [("../../../victim/numbers", 0, 3072)]
    file.create_dataset("img_HR", _SHAPE, np.uint8, external=storage)


def _add_later_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("a", (2, 2), np.uint8)
    file.create_dataset("img_HR", _SHAPE, np.uint8, external=[(str(secret), 7, 3072)])


def _add_link(file: h5py.File, secret: Path) -> None:
    file["img_HR"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), f"/{_HIDDEN}")


def _add_group_link(file: h5py.File, secret: Path) -> None:
    file["group"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/")
    file["img_HR"] = h5py.SoftLink(f"/group/{_HIDDEN}")


def _add_nested_link(file: h5py.File, secret: Path) -> None:
    file.create_group("a/b")
    file["a/b/c"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), f"/{_HIDDEN}")
    file["img_HR"] = h5py.SoftLink("/a/b/c")


def _make_layout(secret: Path, name: str = "") -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(_SHAPE, np.uint8)
    place = name or str(secret.with_suffix(".h5"))
    layout[...] = h5py.VirtualSource(place, _HIDDEN, _SHAPE)
    return layout


def _add_virtual(file: h5py.File, secret: Path) -> None:
    file.create_virtual_dataset("img_HR", _make_layout(secret))


def _add_virtual_pattern(file: h5py.File, secret: Path) -> None:
    file.create_virtual_dataset("img_HR", _make_layout(secret, "../../../victim/numbers.h5"))


def _add_virtual_of_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset(_HIDDEN, _SHAPE, np.uint8, external=[(str(secret), 0, 3072)])
    file.create_virtual_dataset("img_HR", _make_layout(secret, "."))


_ADDITIONS: dict[str, Callable[[h5py.File, Path], None]] = {
    "external storage": _add_storage,
    "relative external storage": _add_relative_storage,
    "external storage of a second dataset": _add_later_storage,
    "an external link": _add_link,
    "a link through a linked group": _add_group_link,
    "a link through nested groups": _add_nested_link,
    "a virtual dataset": _add_virtual,
    "a virtual dataset with a relative source": _add_virtual_pattern,
    "a virtual dataset of external storage": _add_virtual_of_storage,
}


def _attack_hdf5(bench: Bench, what: str) -> None:
    secret = _write_secret(bench)
    for suffix in (".h5", ".mat"):
        with h5py.File(bench.folder / f"a{suffix}", "w") as file:
            _ADDITIONS[what](file, secret)
    more = ("--dataset", "img_HR") if what == "external storage of a second dataset" else ()
    bench.attack("convert", "a.h5", "--to", "folder", "-o", "out", "-q", *more, status=(2,))
    bench.attack("probe", "a.mat", *more, status=(2,))


def _attack_hdf5_sandbox(bench: Bench) -> None:
    secret = _write_secret(bench)
    bench.copy("small.png")
    with h5py.File(bench.folder / "a.h5", "w") as file:
        _add_virtual(file, secret)
    more = ("--ref-view", "0,0", *PLAIN, "--sandbox", "on")
    bench.attack("plan", "a.h5", "--ref-stream", "small.png", *more, status=(2,))


def _attack_claims(bench: Bench) -> None:
    for number, shape in enumerate([(1, 2, 2, 3, 90000, 90000), (1, 90000, 90000, 3, 8, 8)]):
        with h5py.File(bench.folder / f"{number}.h5", "w") as file:
            file.create_dataset("img_HR", shape, np.float32)
        bench.attack("probe", f"{number}.h5", status=(2,))
        bench.attack("look", f"{number}.h5", "-o", "out", "-q", status=(2,))
    with h5py.File(bench.folder / "bomb.h5", "w") as file:
        file.create_dataset(
            "img_HR",
            (1, 2, 2, 3, 8000, 8000),
            np.uint8,
            chunks=(1, 1, 1, 3, 8000, 8000),
            compression="gzip",
            fillvalue=7,
        )
    bench.attack("probe", "bomb.h5")


_PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{film}\n#EXT-X-ENDLIST\n",
    "b.mkv": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{film}\n#EXT-X-ENDLIST\n",
    "c.ffconcat": "ffconcat version 1.0\nfile '{film}'\n",
    "d.mp4": "ffconcat version 1.0\nfile '{film}'\n",
    "e.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "f.mpd": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet><Representation id="1" '
        'mimeType="video/mp4"><BaseURL>{film}</BaseURL></Representation></AdaptationSet></Period>'
        "</MPD>"
    ),
    "g.txt": "{film}\n",
    "h.svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{film}"/></svg>',
}


def _attack_playlist(bench: Bench, name: str) -> None:
    film = bench.victim / "film.mp4"
    film.write_bytes(bench.materials.get("lr.mp4").read_bytes())
    bench.write(name, _PLAYLISTS[name].format(film=film))
    bench.copy("hr.mkv")
    bench.attack("probe", name, status=(2,))
    bench.attack("plan", name, "--ref-stream", "hr.mkv", *PLAIN, status=(2,))


def _attack_protocol(bench: Bench) -> None:
    film = bench.victim / "film.mp4"
    film.write_bytes(bench.materials.get("lr.mp4").read_bytes())
    for name in (f"concat:{film}|{film}", f"subfile,,start,0,end,0,,:{film}", f"crypto:{film}"):
        bench.attack("probe", name, status=(2,))


def _attack_linked_picture(bench: Bench, target: str) -> None:
    bench.copy("frames", "large.png")
    (bench.folder / "frames/001.png").unlink()
    bench.link("frames/001.png", target)
    # a link whose target is not a file is ignored
    allowed = (2,) if target == "/etc/passwd" else (0, 2)
    bench.attack("probe", "frames", status=allowed)
    more = ("--ref-stream", "large.png", *PLAIN)
    bench.attack("plan", "frames", *more, status=allowed)


_TAKEN_OVER = """
import os, socket, sys
from pathlib import Path
from pipeline.media.sandbox.confine import confine_process
recording, victim, marker = map(Path, sys.argv[1:4])
confine_process([recording])
recording.read_bytes()
secret = victim / "thesis.txt"
acts = {
    "read": secret.read_bytes,
    "list": lambda: os.listdir(victim),
    "write": lambda: (victim / "new").write_bytes(b"x"),
    "write here": lambda: Path("new").write_bytes(b"x"),
    "read here": Path("other").read_bytes,
    "truncate": lambda: os.truncate(secret, 0),
    "rename": lambda: secret.rename(victim / "gone"),
    "remove": secret.unlink,
    "mode": lambda: secret.chmod(0o666),
    "time": lambda: os.utime(secret, (1, 1)),
    "attribute": lambda: os.setxattr(secret, "user.x", b"1"),
    "link": lambda: os.link(secret, "link"),
    "symbolic link": lambda: os.symlink(secret, "symlink"),
    "socket": lambda: socket.socket().close(),
    "Unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "signal": lambda: os.kill(os.getppid(), 0),
    "program": lambda: os.posix_spawn("/bin/sh", ["sh", "-c", f"touch {marker}"], os.environ),
    "password": Path("/etc/passwd").read_bytes,
}
done = []
for name, act in acts.items():
    try:
        act()
    except OSError:
        continue
    done.append(name)
print(done)
"""


def _attack_sandbox(bench: Bench) -> None:
    if not landlock_version():
        raise SkippedError("this kernel has no Landlock")
    bench.copy("lr.mkv")
    bench.write("other", "x")
    code = (sys.executable, "-c", _TAKEN_OVER)
    given = (str(bench.folder / "lr.mkv"), str(bench.victim), str(bench.marker))
    # the confined process cannot write to files, not even to stdout if that is a file
    done = bench.attack(*given, program=code, shell='"$@" | cat', makes=(), status=(0,))
    bench.expect(done.stdout.strip() == b"[]", f"the confined process did: {done.text}")


CASES = (
    *(
        Case(
            f"hdf5-{number}",
            "sources",
            f"{what} in .h5 and .mat",
            partial(_attack_hdf5, what=what),
            number == 0,
        )
        for number, what in enumerate(_ADDITIONS)
    ),
    Case("hdf5-sandbox", "sources", "a virtual dataset in the sandbox", _attack_hdf5_sandbox),
    Case("hdf5-claims", "sources", "HDF5 headers that claim huge views", _attack_claims),
    *(
        Case(
            f"playlist-{name}",
            "sources",
            f"a playlist named {name}",
            partial(_attack_playlist, name=name),
        )
        for name in _PLAYLISTS
    ),
    Case("protocols", "sources", "names that are FFmpeg protocols", _attack_protocol),
    *(
        Case(
            f"linked-picture-{number}",
            "sources",
            f"a link to {target} among a folder's pictures",
            partial(_attack_linked_picture, target=target),
        )
        for number, target in enumerate(("/dev/zero", "001.png", "/etc/passwd"))
    ),
    Case("taken-over", "sources", "a hijacked decoder in the sandbox", _attack_sandbox),
)
