"""`pipeline keyframes`: the pictures that it writes, and their way back into a plan."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from pipeline.media.pictures.exr import load_exr
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.planning.plan import make_plan
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings
from tests.support import DATA, ROOT, scenes
from tests.support.commands import invoke
from tests.support.killed_command import run_until

SIDECAR = "keyframes.json"
RATE = Fraction(30000, 1001)
CUT = 45  # frames of the first scene


def write_clip(path: Path, frames: list[np.ndarray]) -> Path:
    """Encode frames at 29.97 per second, with a key frame in every 20 frames."""
    with av.open(str(path), "w", container_options={"video_track_timescale": "30000"}) as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "8", "g": "20", "sc_threshold": "0", "threads": "1"}
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = number
            frame.time_base = 1 / RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clip of two scenes, 45 frames of a hand-held camera and 35 of a film."""
    frames: list[np.ndarray] = []
    monster = ROOT / "pipeline" / "samples" / "monster.mp4"
    for source, count in ((monster, CUT), (DATA / "big_buck_bunny_720p.mp4", 35)):
        read = list(read_frames(probe(str(source))))[:count]
        frames += [cv2.resize(f.rgb, (160, 96), interpolation=cv2.INTER_AREA) for f in read]
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", frames)


def write_keys(clip: Path, folder: Path, *options: object) -> dict[str, Any]:
    """Call the command, and return the object that it prints."""
    done = invoke("keyframes", clip, "-o", folder, *options, "--json", "-q")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def enlarge(folder: Path, suffix: str = ".png", appended: str = "") -> None:
    """Enlarge every picture by 2, as another program would, and save it under its name."""
    for file in sorted(folder.glob("*.png")):
        picture = cv2.resize(cv2.imread(str(file)), None, fx=2, fy=2)
        file.unlink()
        assert cv2.imwrite(str(file.with_name(f"{file.stem}{appended}{suffix}")), picture)


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def plan_with(clip: Path, ref: Path, **changes: object) -> Plan:
    values = {"input": str(clip), "ref_stream": str(ref), "output": str(ref.parent / "out.mkv")}
    return make_plan(RunSettings.model_validate(values | changes))


def find_source(plan: Plan) -> str:
    (note,) = [note for note in plan.notes if note.startswith("reference pictures: ")]
    return note.removeprefix("reference pictures: ")


def list_exact(plan: Plan) -> list[int]:
    """Return the numbers of the frames whose reference has exactly their time."""
    return [n for n, choice in enumerate(plan.reference_map) if choice.seconds == 0.0]


def test_each_scene_gets_a_picture_of_one_of_its_frames(clip: Path, tmp_path: Path) -> None:
    made = write_keys(clip, tmp_path / "keys")
    assert {key["scene"] for key in made["key_frames"]} == {0, 1}
    assert (made["frames"], made["scenes"]) == (80, 2)
    shown = {frame.pts: frame.rgb for frame in read_frames(probe(str(clip)))}
    numbers = {pts: number for number, pts in enumerate(scan(probe(str(clip))).pts)}
    for key in made["key_frames"]:
        assert key["scene"] == (key["frame"] >= CUT)
        assert numbers[key["pts"]] == key["frame"]
        assert key["file"] == f"key_{key['frame']:06d}_{float(key['frame'] / RATE):.3f}s.png"
        picture = cv2.imread(str(tmp_path / "keys" / key["file"]))[..., ::-1]
        assert np.array_equal(picture, shown[key["pts"]])

    names = sorted(key["file"] for key in made["key_frames"])
    assert list_names(tmp_path / "keys") == [*names, SIDECAR]
    stored = json.loads((tmp_path / "keys" / SIDECAR).read_text())
    assert (stored["format"], stored["version"], stored["input"]) == ("key frames", 1, "in.mp4")
    assert stored["fingerprint"] == probe(str(clip)).fingerprint
    assert stored["time_base"] == "1/30000"
    written = [{k: v for k, v in key.items() if k != "seconds"} for key in made["key_frames"]]
    assert stored["key_frames"] == written


def test_times_count_and_stream_key_frames(clip: Path, tmp_path: Path) -> None:
    made = write_keys(clip, tmp_path / "a", "--at", "0,1.01,0:02.0,1.0")
    assert [key["frame"] for key in made["key_frames"]] == [0, 30, 60]
    assert [key["scene"] for key in made["key_frames"]] == [None] * 3
    made = write_keys(clip, tmp_path / "b", "--i-frames")
    assert [key["frame"] for key in made["key_frames"]] == [0, 20, 40, 60]
    assert len(write_keys(clip, tmp_path / "c", "--count", 7)["key_frames"]) == 7
    assert len(write_keys(clip, tmp_path / "d", "--every", 0.5)["key_frames"]) == 3 + 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--count", 3, "--every", 1), "found --count and --every, expected at most one of"),
        (("--at", "1", "--i-frames"), "found --at and --i-frames"),
        (("--every", "0"), "expected seconds above 0"),
        (("--every", "nan"), "expected seconds above 0"),
        (("--every", "0.0001"), "expected at most 2000 key frames"),
        (("--at", "1,soon"), "expected times in seconds or h:mm:ss"),
        (("--at", "60"), "expected times within 0.000 to 2.636 s"),
        (("--at", "nan"), "expected times within"),
        (("-o", "missing/keys"), "does not exist"),
    ],
)
def test_impossible_options_are_refused_in_one_line(
    options: tuple[object, ...], words: str, clip: Path, tmp_path: Path
) -> None:
    done = invoke("keyframes", clip, "-o", tmp_path / "keys", *options)
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_light_field_has_no_key_frames(tmp_path: Path) -> None:
    views = scenes.write_folder(tmp_path / "views", 2, 2)
    done = invoke("keyframes", views, "-o", tmp_path / "keys")
    assert done.exit_code == 2
    assert "found the light field" in done.stderr


@pytest.mark.parametrize(("option", "suffix"), [("tiff", ".tif"), ("exr", ".exr")])
def test_other_formats(option: str, suffix: str, clip: Path, tmp_path: Path) -> None:
    made = write_keys(clip, tmp_path / "keys", "--at", "0.5", "--format", option)
    (key,) = made["key_frames"]
    file = tmp_path / "keys" / key["file"]
    assert file.suffix == suffix
    expected = list(read_frames(probe(str(clip))))[15].rgb
    found = load_exr(file) if option == "exr" else cv2.imread(str(file))[..., ::-1]
    assert np.array_equal(found, expected)


def test_the_text_says_what_to_do_next(clip: Path, tmp_path: Path) -> None:
    done = invoke("keyframes", clip, "-o", tmp_path / "my keys", "--count", 4, "-q")
    assert "4 key frames of 80 frames" in done.stdout
    assert "2 of 2 scenes have key frames" in done.stdout
    assert "keep their names" in done.stdout
    last = done.stdout.splitlines()[-1].strip()
    assert last == f"pipeline run {clip} --ref-stream '{tmp_path / 'my keys'}'"


def test_the_next_command_reaches_frames_that_are_far_away(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), n % 200, np.uint8) for n in range(160)]
    long = write_clip(tmp_path / "long.mp4", frames)
    made = write_keys(long, tmp_path / "keys", "--at", "0,0.5")
    assert made["next"].endswith("--max-ref-distance 4.9")
    assert write_keys(long, tmp_path / "b", "--at", "1.5,4")["next"].endswith("b")


@pytest.mark.parametrize(
    ("suffix", "appended"), [(".png", ""), (".jpg", ""), (".tif", "_x2"), (".png", "-out 2")]
)
def test_enlarged_pictures_are_matched_by_the_sidecar(
    suffix: str, appended: str, clip: Path, tmp_path: Path
) -> None:
    made = write_keys(clip, tmp_path / "keys", "--count", 5)
    enlarge(tmp_path / "keys", suffix, appended)
    plan = plan_with(clip, tmp_path / "keys")
    assert plan.scale == 2
    assert find_source(plan) == "frames from keyframes.json (5 pictures)"
    assert list_exact(plan) == [key["frame"] for key in made["key_frames"]]


def test_pictures_may_be_removed_and_others_added(clip: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    made = write_keys(clip, keys, "--at", "0,0.5,1,2")
    enlarge(keys)
    (keys / made["key_frames"][1]["file"]).unlink()
    plan = plan_with(clip, keys)
    assert find_source(plan) == "frames from keyframes.json (3 pictures)"
    assert list_exact(plan) == [0, 30, 60]

    (keys / "photo_1.301s.png").write_bytes((keys / made["key_frames"][0]["file"]).read_bytes())
    plan = plan_with(clip, keys)
    assert find_source(plan) == (
        "frames from keyframes.json for 3, times from names like 1.301s for 1 (4 pictures)"
    )
    assert list_exact(plan) == [0, 30, 39, 60]

    (keys / "photo_1.301s.png").rename(keys / "photo.png")
    done = invoke("plan", clip, "--ref-stream", keys)
    assert done.exit_code == 2
    assert "found photo in" in done.stderr
    assert "expected a time in its name" in done.stderr


def test_two_pictures_of_one_frame_are_refused(clip: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    made = write_keys(clip, keys, "--at", "0,1")
    enlarge(keys)
    file = keys / made["key_frames"][0]["file"]
    file.with_name(f"{file.stem}_b.png").write_bytes(file.read_bytes())
    done = invoke("plan", clip, "--ref-stream", keys)
    assert done.exit_code == 2
    assert "found two pictures of one frame" in done.stderr


def strip(plan: Plan) -> dict[str, Any]:
    """Return the plan without its notes and the paths of its pictures."""
    data = plan.model_dump(mode="json")
    del data["notes"]
    for key in ("path", "files"):
        del data["reference"]["clip"][key]
    return data


def test_times_numbers_and_the_sidecar_give_the_same_plan(clip: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    made = write_keys(clip, keys, "--at", "0.1,0.5,1,1.7,2.4")
    enlarge(keys)
    by_sidecar = plan_with(clip, keys)

    (keys / SIDECAR).unlink()
    by_time = plan_with(clip, keys)
    assert find_source(by_time) == "times from names like 0.100s (5 pictures)"

    numbers = [key["frame"] for key in made["key_frames"]]
    for key in made["key_frames"]:
        (keys / key["file"]).rename(keys / f"frame_{key['frame'] + 1:06d}.png")
    by_number = plan_with(clip, keys)
    assert "frame numbers, from 1 (5 pictures)" in find_source(by_number)

    assert numbers == list_exact(by_sidecar) == list_exact(by_time) == list_exact(by_number)
    assert strip(by_time) == strip(by_sidecar)
    assert strip(by_number) == strip(by_sidecar)


def test_a_sidecar_of_another_recording_is_not_used(clip: Path, tmp_path: Path) -> None:
    other = write_clip(tmp_path / "b.mp4", [f.rgb for f in read_frames(probe(str(clip)))][:70])
    write_keys(clip, tmp_path / "keys", "--at", "0.1,0.5,1")
    enlarge(tmp_path / "keys")
    plan = plan_with(other, tmp_path / "keys")
    assert find_source(plan) == (
        "times from names like 0.100s; keyframes.json was made for another recording and is not "
        "used (3 pictures)"
    )
    assert list_exact(plan) == [3, 15, 30]


def test_pictures_keep_their_names(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(read_frames(probe(str(clip)))):
        if number % 4 == 0:
            cv2.imwrite(str(folder / f"shot {number + 7}.png"), frame.rgb[..., ::-1])
    made = write_keys(folder, tmp_path / "keys", "--count", 3)
    names = [key["file"] for key in made["key_frames"]]
    assert names == [f"shot {4 * key['frame'] + 7}.png" for key in made["key_frames"]]
    enlarge(tmp_path / "keys", ".jpg")
    plan = plan_with(folder, tmp_path / "keys")
    assert find_source(plan) == "frames from keyframes.json (3 pictures)"
    assert list_exact(plan) == [key["frame"] for key in made["key_frames"]]


@pytest.fixture(scope="module")
def enlarged(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two enlarged key frames; tests replace its sidecar."""
    keys = tmp_path_factory.mktemp("enlarged") / "keys"
    write_keys(clip, keys, "--at", "0,1")
    enlarge(keys)
    return keys


HOSTILE = {
    "up": {"file": "../../secret.png"},
    "absolute": {"file": "/etc/passwd"},
    "nul": {"file": "a\0b.png"},
    "empty": {"file": ""},
    "dots": {"file": ".."},
    "long": {"file": "a" * 300},
    "frame": {"frame": 10**400},
    "negative": {"frame": -1},
    "pts": {"pts": 10**30},
    "text": {"pts": "soon"},
    "foreign pts": {"pts": 12345677},
    "more": {"command": "rm"},
}


HOSTILE_FILES = {
    "empty": b"",
    "not JSON": b"\xff\xfe{",
    "list": b"[]",
    "deep": b"[" * 100_000,
    "huge": b" " * 17_000_000,
    "other": b'{"version": 1, "frames": []}',
}

HOSTILE_FIELDS = [
    ("time_base", "1e999999999"),
    ("time_base", "0"),
    ("version", 2),
    ("format", "key\nframes"),
    ("input", "../x"),
    ("fingerprint", "x"),
]


@pytest.fixture(scope="module")
def sidecar(enlarged: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((enlarged / SIDECAR).read_text())
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_entry_is_refused_in_one_line(
    name: str, clip: Path, enlarged: Path, sidecar: dict[str, Any]
) -> None:
    first, second = sidecar["key_frames"]
    changed = sidecar | {"key_frames": [first | HOSTILE[name], second]}
    check_refused(clip, enlarged, json.dumps(changed).encode())


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_file_is_refused_in_one_line(name: str, clip: Path, enlarged: Path) -> None:
    check_refused(clip, enlarged, HOSTILE_FILES[name])


@pytest.mark.parametrize(("field", "value"), HOSTILE_FIELDS)
def test_a_hostile_field_is_refused_in_one_line(
    field: str, value: object, clip: Path, enlarged: Path, sidecar: dict[str, Any]
) -> None:
    check_refused(clip, enlarged, json.dumps(sidecar | {field: value}).encode())


def check_refused(clip: Path, keys: Path, text: bytes) -> None:
    (keys / SIDECAR).write_bytes(text)
    done = invoke("plan", clip, "--ref-stream", keys)
    assert done.exit_code == 2, done.output
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert SIDECAR in done.stderr


@pytest.mark.parametrize(("event", "ending"), [("open", "s.png"), ("os.rename", "keys")])
def test_a_killed_command_leaves_no_folder(
    event: str, ending: str, clip: Path, tmp_path: Path
) -> None:
    command = ("keyframes", clip, "-o", tmp_path / "keys", "--at", "0,1")
    run_until(event, ending, *command)
    assert not (tmp_path / "keys").exists()
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_frame_that_cannot_be_decoded_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    data = bytearray(clip.read_bytes())
    # the second half of the pictures is lost
    start = data.index(b"mdat") + 4
    end = start + int.from_bytes(data[start - 8 : start - 4]) - 8
    data[(start + end) // 2 : end] = bytes(end - (start + end) // 2)
    broken.write_bytes(data)
    done = invoke("keyframes", broken, "-o", tmp_path / "keys", "--at", "0,2.5")
    assert done.exit_code == 1, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["broken.mp4"]


def test_force_replaces_key_frames_and_nothing_else(clip: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    write_keys(clip, keys, "--at", "0,1")
    done = invoke("keyframes", clip, "-o", keys, "--at", "2")
    assert done.exit_code == 2
    assert "already exists" in done.stderr
    write_keys(clip, keys, "--at", "2", "--force")
    assert list_names(keys) == ["key_000060_2.002s.png", SIDECAR]

    (keys / "thesis.odt").write_text("keep")
    done = invoke("keyframes", clip, "-o", keys, "--at", "1", "--force")
    assert done.exit_code == 2
    assert "found thesis.odt in" in done.stderr
    (keys / "thesis.odt").unlink()
    (keys / SIDECAR).unlink()
    done = invoke("keyframes", clip, "-o", keys, "--at", "1", "--force")
    assert done.exit_code == 2
    assert "has no keyframes.json" in done.stderr
    assert list_names(keys) == ["key_000060_2.002s.png"]
    assert list_names(tmp_path) == ["keys"]


def test_an_input_is_never_replaced(clip: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    write_keys(clip, keys, "--at", "0,1")
    for output in (keys, tmp_path):
        done = invoke("keyframes", keys, "-o", output, "--count", 1, "--force")
        assert done.exit_code == 2
        assert "an input is never replaced" in done.stderr or "would be replaced" in done.stderr
    assert len(list_names(keys)) == 3


def test_a_turned_video_has_upright_pictures(clip: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.mp4"
    with av.open(str(clip)) as source, av.open(str(turned), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    set_rotation(turned)
    assert probe(str(turned)).rotation == -90
    made = write_keys(turned, tmp_path / "keys", "--at", "0,1")
    picture = cv2.imread(str(tmp_path / "keys" / made["key_frames"][1]["file"]))[..., ::-1]
    stored = list(read_frames(probe(str(turned))))[30].rgb
    assert np.array_equal(picture, np.rot90(stored, -1))
    enlarge(tmp_path / "keys")
    plan = plan_with(turned, tmp_path / "keys")
    assert (plan.scale, list_exact(plan)) == (2, [0, 30])


def set_rotation(file: Path) -> None:
    """Turn the video by a quarter: replace the identity matrix in the track's header."""
    data = bytearray(file.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = (0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(value.to_bytes(4, signed=True) for value in matrix)
    file.write_bytes(data)
