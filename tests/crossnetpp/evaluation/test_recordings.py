"""Groups of recordings: their cases, limits of methods, leads over others, VMAF and faults."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from crossnetpp.checkpoint import save_weights
from crossnetpp.data.recorder import CAPTURES, record_clip
from crossnetpp.data.sample import read_rgb
from crossnetpp.evaluate import main
from crossnetpp.evaluation.choose_methods import load_methods
from crossnetpp.evaluation.classical import enhance_classical
from crossnetpp.evaluation.data_folder import DataFolder, Sampling
from crossnetpp.evaluation.faults import (
    FAULTS,
    LATE_FRAMES,
    RECORDED_FAULTS,
    find_cut,
    make_recorded_fault_cases,
)
from crossnetpp.evaluation.figures import Figures, Measured, SceneResult
from crossnetpp.evaluation.intervals import find_neighbouring_keys
from crossnetpp.evaluation.leads import average_lead, render_leads
from crossnetpp.evaluation.recordings import make_recorded_cases, make_recorded_scenes
from crossnetpp.evaluation.scenes import (
    Picture,
    Reference,
    as_image,
    as_picture,
)
from crossnetpp.evaluation.summary import summarise_results
from crossnetpp.evaluation.vmaf_runs import VmafRuns
from crossnetpp.metrics import Quality
from crossnetpp.networks.build import build_network
from crossnetpp.networks.taps import make_box_taps, make_separable_taps
from crossnetpp.vmaf import find_program
from tests.support import ROOT

PHOTOGRAPH = read_rgb(ROOT / "tests" / "data" / "kodak_21.jpg")
HEIGHT, WIDTH = 128, 160


def pan(count: int, start: int = 100, row: int = 200, step: int = 3) -> list[Picture]:
    """Return the frames of a pan over the photograph."""
    return [
        np.ascontiguousarray(
            PHOTOGRAPH[row : row + HEIGHT, start + step * i : start + step * i + WIDTH]
        )
        for i in range(count)
    ]


def compute_psnr(image: Picture, truth: Picture) -> float:
    error = (image.astype(np.float64) - truth.astype(np.float64)) ** 2
    return 10 * float(np.log10(255**2 / error.mean()))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a clip in each kind of container, and a few lossless frames."""
    folder = tmp_path_factory.mktemp("data")
    for name, codec in {"videos/monster.mp4": "mp4v", "clips/asl_again.mkv": "FFV1"}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        fourcc = cv2.VideoWriter.fourcc(*codec)
        out = cv2.VideoWriter(str(path), fourcc, 30, (WIDTH, HEIGHT))
        for frame in pan(32):
            out.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        out.release()
    (folder / "frames_sintel").mkdir()
    for number, frame in enumerate(pan(10, step=2)):
        path = folder / f"frames_sintel/frame_{number:04}.png"
        cv2.imwrite(str(path), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


@pytest.mark.parametrize(
    ("number", "expected"),
    [(3, [0, 15]), (8, [15, 0]), (20, [15, 30]), (31, [30]), (15, [15])],
)
def test_key_frames_on_both_sides_are_found_nearest_first(number: int, expected: list[int]) -> None:
    assert find_neighbouring_keys(number, 35) == expected


def test_cases_of_a_recording_have_both_key_frames_and_what_was_recorded() -> None:
    frames = pan(33)
    recorded = record_clip(frames, 4, CAPTURES["recorded"])
    cases = make_recorded_cases(frames, recorded, Sampling(positions=(2, 7, 14)))
    assert [case.frame for case in cases] == [2, 7, 14, 17, 22, 29, 32]
    assert [case.condition for case in cases] == ["2", "7", "1", "2", "7", "1", "2"]
    for case in cases:
        assert np.array_equal(case.lr, recorded.lr[case.frame])
        assert np.array_equal(case.truth, frames[case.frame])
        distances = [abs(key - case.frame) for key in find_neighbouring_keys(case.frame, 33)]
        assert [reference.distance for reference in case.references] == distances
        assert all(any(r.picture is key for key in recorded.keys.values()) for r in case.references)
    material = cases[0].material
    assert all(case.material is material for case in cases)
    assert [moment.number for moment in material.moments] == [0, 15, 30]
    assert np.array_equal(material.moments[1].lr, recorded.lr[15])
    assert material.moments[1].hr is recorded.keys[15]
    halved = make_recorded_cases(frames, recorded, Sampling(stride=2))
    assert {case.frame // 15 for case in halved} == {0, 2}


def test_the_kernel_of_a_recording_is_measured() -> None:
    frames = pan(31)
    for name, averaged in {"bicubic": False, "sensor": True}.items():
        recorded = record_clip(frames, 4, CAPTURES[name])
        taps = make_recorded_cases(frames, recorded, Sampling())[0].material.taps
        assert (taps is not None) == averaged
        if taps is not None:
            found = np.einsum("tr,tc->rc", taps[:, 0], taps[:, 1])
            box = np.zeros((16, 16))
            box[6:10, 6:10] = 1 / 16
            assert np.abs(found - box).max() < 0.005


def test_groups_read_every_container_and_pictures(data: Path) -> None:
    sampling = Sampling(positions=(2,), scenes=("monster", "asl_again", "sintel"))
    scenes = {s.name: s for s in make_recorded_scenes("recorded", DataFolder(data), sampling)}
    assert list(scenes) == ["monster", "asl_again", "sintel"]
    assert np.array_equal(scenes["asl_again"].cases[0].truth, pan(32)[2])
    assert [len(scene.cases) for scene in scenes.values()] == [2, 2, 1]
    # Ten frames have their key frames at both ends
    assert [r.distance for r in scenes["sintel"].cases[0].references] == [2, 7]
    assert all(scene.split == "test" and scene.in_order for scene in scenes.values())


def test_limits_take_references_and_the_kernel_away() -> None:
    frames = pan(16)
    lr = record_clip(frames, 4, CAPTURES["sensor"]).lr[6]
    references = (Reference(frames[0], 6), Reference(frames[15], 9))
    taps = make_box_taps(4)
    words = ["classical", "near=classical:1ref", "classical:bicubic-kernel"]
    words += ["classical:1ref+bicubic-kernel"]
    methods, _ = load_methods(words, torch.device("cpu"))
    names = ["bicubic", "classical", "near", "classical:bicubic-kernel", words[-1]]
    assert [method.name for method in methods] == names

    images = [as_image(frames[0]), as_image(frames[15])]
    weights = np.array([1, 10**-0.15], np.float32)
    expected = {
        "classical": enhance_classical(as_image(lr), images, weights, taps),
        "near": enhance_classical(as_image(lr), images[:1], None, taps),
        "classical:bicubic-kernel": enhance_classical(as_image(lr), images, weights, None),
        words[-1]: enhance_classical(as_image(lr), images[:1], None, None),
    }
    made = {method.name: method.enhance(lr, references, taps).sr for method in methods[1:]}
    for name, borrowed in expected.items():
        assert np.array_equal(made[name], as_picture(borrowed.sr))
    assert len({picture.tobytes() for picture in made.values()}) == 4


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["classical:2ref"], "'2ref'"),
        (["classical:"], None),
        (["a=classical", "a=classical-plain"], "name 'a'"),
        (["a=magic:1ref"], "'magic'"),
    ],
)
def test_unusable_methods_are_refused_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], found: str
) -> None:
    argv = ["--data", str(data), "--out", str(tmp_path / "out"), "--groups", "recorded"]
    argv += ["--scenes", "monster", "--positions", "2", "--frames", "16"]
    status = main([*argv, "--methods", ",".join(words)])
    message = capsys.readouterr().err
    if found is None:
        assert status == 0
    else:
        assert status == 2
        assert message.count("\n") == 1
        assert found in message
        assert "; try" in message


def test_two_references_are_mixed_by_how_well_they_explain_the_lr() -> None:
    frames = pan(16, step=2)
    lr = record_clip(frames, 4, CAPTURES["bicubic"]).lr[7]
    # Each reference hides one half of the scene
    left, right = frames[0].copy(), frames[15].copy()
    left[:, WIDTH // 2 :] = 90
    right[:, : WIDTH // 2] = 90
    both, first, second = (
        compute_psnr(as_picture(enhance_classical(as_image(lr), images).sr), frames[7])
        for images in (
            [as_image(left), as_image(right)],
            [as_image(left)],
            [as_image(right)],
        )
    )
    assert both > max(first, second) + 1


def test_a_network_borrows_from_all_references(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "mine.safetensors"
    save_weights(build_network("fast"), "fast", path)
    methods, _ = load_methods([str(path), f"{path}:1ref"], torch.device("cpu"))
    both, near = methods[1:]
    assert [both.name, near.name] == ["mine", "mine:1ref"]
    frames = pan(16)
    lr = record_clip(frames, 4, CAPTURES["sensor"]).lr[6]
    references = (Reference(frames[0], 6), Reference(frames[15], 9))
    taps = make_box_taps(4)
    alone = near.enhance(lr, references, taps)
    assert np.array_equal(both.enhance(lr, references[:1], taps).sr, alone.sr)
    mixed = both.enhance(lr, references, taps)
    assert not np.array_equal(mixed.sr, alone.sr)
    assert not np.array_equal(both.enhance(lr, references, None).sr, mixed.sr)


def test_mirrored_versions_are_averaged(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "mine.safetensors"
    save_weights(build_network("fast"), "fast", path)
    methods, _ = load_methods([str(path), f"{path}:mirrored"], torch.device("cpu"))
    once, four = methods[1:]
    frames = pan(16)
    lr = record_clip(frames, 4, CAPTURES["sensor"]).lr[6]
    taps = make_separable_taps(np.arange(16.0), np.ones(16))

    def mirror(picture: Picture, rows: int, columns: int) -> Picture:
        return np.ascontiguousarray(picture[::rows, ::columns])

    results = []
    for rows, columns in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        reference = Reference(mirror(frames[0], rows, columns))
        kernel = np.stack((taps[:, 0, ::rows], taps[:, 1, ::columns]), axis=1)
        sr = once.enhance(mirror(lr, rows, columns), [reference], kernel).sr
        results.append(mirror(sr, rows, columns).astype(np.float64))
    mean = np.mean(results, axis=0)

    mirrored = four.enhance(lr, [Reference(frames[0])], taps).sr
    assert np.abs(mirrored - mean).max() <= 0.5
    assert not np.array_equal(mirrored, results[0])


def test_a_run_compares_with_another_method_and_measures_vmaf(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    argv = ["--data", str(data), "--out", str(out), "--groups", "sensor,recorded"]
    argv += ["--scenes", "monster", "--frames", "16", "--positions", "6,7,12", "--vmaf"]
    argv += ["--methods", "classical,plain=classical-plain", "--against", "plain"]
    assert main(argv) == 0
    record = json.loads((out / "results.json").read_text())
    assert "--positions 6,7,12 --frames 16 --scenes monster --against plain" in record["command"]
    scenes = {scene["group"]: scene for scene in record["scenes"]}
    assert list(scenes) == ["sensor", "recorded"]
    assert scenes["sensor"]["images"] == 3
    assert scenes["sensor"]["measured_kernels"] == 1
    assert set(record["protocol"]["captures"]) == {"sensor", "recorded"}
    assert "libx264 at 20" in record["protocol"]["captures"]["recorded"]
    for scene in scenes.values():
        vmaf = scene["vmaf"]
        assert 0 < vmaf["bicubic"] < vmaf["classical"] <= 100
    lossless, recorded = (scenes[group]["methods"] for group in scenes)
    assert lossless["classical"]["psnr"] > recorded["classical"]["psnr"] + 1

    rows = {row["what"]: row for row in record["summary"]}
    lead = lossless["classical"]["psnr"] - lossless["plain"]["psnr"]
    assert rows["above plain, sensor"]["figures"] == pytest.approx({"classical": lead}, abs=1e-3)
    page = (out / "results.md").read_text()
    for heading in ("Above `classical`", "Above `plain`", "VMAF", "Cost"):
        assert f"## {heading}\n" in page


def make_clip_result(name: str, split: str, old: list[float], new: list[float]) -> SceneResult:
    """Return a recorded clip whose pictures have these PSNRs."""

    def figures(decibels: float) -> Figures:
        return Figures(Quality(decibels, 0.9, decibels, 0.9), None)

    measured = [
        Measured(
            str(i + 1),
            i + 1,
            {
                "bicubic": figures(20),
                "classical": figures(21),
                "old": figures(a),
                "new": figures(b),
            },
        )
        for i, (a, b) in enumerate(zip(old, new, strict=True))
    ]
    return SceneResult("recorded", name, split, 4, measured)


def test_leads_are_means_of_test_clips() -> None:
    results = [
        make_clip_result("frog", "val", [30], [20]),
        make_clip_result("monster", "test", [30, 30, 30, 30], [32, 32, 32, 32]),
        make_clip_result("flower", "test", [30, 30], [29.8, 30.2]),
    ]
    assert average_lead(results[1:], "new", "old") == pytest.approx(1.0)
    table = render_leads(results, ["bicubic", "classical", "old", "new"], "old")
    line = next(line for line in table.splitlines() if "flower" in line)
    assert line.endswith("| +0.00 (-0.20, 1 loses) |")
    assert "| **recorded, mean of 2 test clips** | 6 | **-9.00** | **+1.00** |" in table

    rows = {row.what: row for row in summarise_results(results, ["old", "new"], "old")}
    progress = rows["above old, recorded"]
    assert progress.figures == pytest.approx({"new": 1.0})
    assert not progress.met("new")
    assert rows["worst frame against old, recorded"].figures["new"] == pytest.approx(-0.2)
    weakest = rows["above classical, recorded, weakest clip"]
    assert weakest.figures == pytest.approx({"old": 9.0, "new": 9.0})


def test_vmaf_is_that_of_each_run_of_frames(tmp_path: Path) -> None:
    ffmpeg = find_program()
    assert ffmpeg is not None
    frames = pan(12)
    soft = [np.asarray(cv2.GaussianBlur(frame, (0, 0), 2.0), np.uint8) for frame in frames]
    numbers = [1, 2, 3, 5, 8, 9, 10, 11]  # 5 has no neighbour
    with VmafRuns(ffmpeg) as runs:
        for number in numbers:
            runs.add(number, {"soft": soft[number], "same": frames[number]}, frames[number])
        scores = runs.finish()
    assert [len(score) for score in scores.values()] == [7, 7]
    assert min(scores["same"]) > max(scores["soft"]) + 10

    # The program itself, on the second run as files
    for name, pictures in {"made": soft, "truth": frames}.items():
        for number in range(8, 12):
            path = tmp_path / f"{name}{number - 8}.png"
            cv2.imwrite(str(path), cv2.cvtColor(pictures[number], cv2.COLOR_RGB2BGR))
    luma = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
    graph = f"[0:v]{luma}[a];[1:v]{luma}[b];[a][b]libvmaf=log_fmt=json:log_path=own.json"
    command = [ffmpeg, "-v", "error", "-i", "made%d.png", "-i", "truth%d.png"]
    subprocess.run([*command, "-lavfi", graph, "-f", "null", "-"], cwd=tmp_path, check=True)
    frames_log = json.loads((tmp_path / "own.json").read_text())["frames"]
    own = [frame["metrics"]["vmaf"] for frame in frames_log]
    assert scores["soft"][3:] == pytest.approx(own, abs=0.1)


def test_recorded_faults_spoil_the_key_frames() -> None:
    frames, others = pan(31), pan(31, row=20)
    cases = make_recorded_fault_cases(frames, others, others[0], Sampling(faults=3))
    by_fault = {case.condition: case for case in cases}
    assert list(by_fault) == [*FAULTS, *RECORDED_FAULTS]
    assert len({id(case.material) for case in by_fault.values()}) == len(by_fault)
    good = record_clip(frames, 4, CAPTURES["recorded"])
    for fault, case in by_fault.items():
        keys = {moment.number: moment.hr for moment in case.material.moments}
        if fault == "two scenes":
            continue
        assert list(keys) == [0, 15, 30]
        for number in (0, 15) if fault != "noisy LR" else ():
            assert compute_psnr(keys[number], good.keys[number]) < 40, fault
        if fault == "late":
            assert compute_psnr(keys[15], frames[15 + LATE_FRAMES]) > 38
        changed = fault == "noisy LR"
        assert np.array_equal(case.lr, good.lr[case.frame]) != changed, fault

    joined = by_fault["two scenes"]
    nearest, farther = (reference.picture for reference in joined.references)
    cut = find_cut(len(frames))
    assert joined.frame < cut == joined.frame + joined.references[0].distance - 1
    assert compute_psnr(nearest, others[15]) > 38
    assert compute_psnr(farther, frames[0]) > 38
    assert np.array_equal(joined.truth, frames[joined.frame])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"--positions": "0,3"}, "--positions 0,3"),
        ({"--positions": "two"}, "--positions two"),
        ({"--frames": "0"}, "--frames 0"),
        ({"--scenes": "moon"}, "no scene"),
        ({"--against": "moon"}, "--against moon"),
        ({"--scenes": "coffee"}, "clips/coffee.mp4"),
    ],
)
def test_bad_options_end_in_one_line(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    found: str,
) -> None:
    options = {"--data": str(data), "--out": str(tmp_path / "out"), "--methods": "bicubic"}
    options |= {"--groups": "recorded", "--scenes": "monster"} | change
    assert main([word for option in options.items() for word in option]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert found in message
    assert "; try" in message
    assert not (tmp_path / "out").exists()
