"""Evaluation of real pictures in a small data folder, compared with independent computations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as PillowImage

from crossnetpp.checkpoint import load_network, save_weights
from crossnetpp.data.degradation import degrade
from crossnetpp.data.sample import read_rgb
from crossnetpp.evaluate import main
from crossnetpp.evaluation.choose_methods import load_methods
from crossnetpp.evaluation.classical import enhance_classical, enhance_classical_plain
from crossnetpp.evaluation.data_folder import DataFolder, Sampling
from crossnetpp.evaluation.faults import DISPLACEMENT, EXPOSURE, make_fault_scenes
from crossnetpp.evaluation.figures import Figures, Measured, SceneResult, collect_gains
from crossnetpp.evaluation.methods import TrainedNetwork
from crossnetpp.evaluation.protocol import make_clip_scenes, make_distance_scenes
from crossnetpp.evaluation.scenes import Picture, Reference, as_image, as_picture
from crossnetpp.evaluation.sheet import BAR, CROP, GAP, ZOOM, find_most_detailed
from crossnetpp.evaluation.summary import summarise_results
from crossnetpp.evaluation.temporal import estimate_motion, measure_warping_error
from crossnetpp.metrics import Quality
from crossnetpp.networks.build import build_network
from crossnetpp.networks.fast import CrossNetFast
from tests.support import ROOT

PHOTOGRAPH = read_rgb(ROOT / "tests" / "data" / "kodak_21.jpg")
CLIP = ROOT / "pipeline" / "samples" / "monster.mp4"
HEIGHT, WIDTH = 131, 166
FRAMES = 34


def crop_photograph(row: int, col: int, height: int = HEIGHT, width: int = WIDTH) -> Picture:
    """Return a crop of the photograph that starts at (row, col)."""
    return np.ascontiguousarray(PHOTOGRAPH[row : row + height, col : col + width])


def write_picture(path: Path, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data folder with shifted crops of a photograph and parts of a real clip."""
    folder = tmp_path_factory.mktemp("data")
    for i in (0, 1, 3, 5, 7):
        view = crop_photograph(200 + i, 300 + i)
        write_picture(folder / f"lightfields/lytro_stegosaurus/view_{i:02}_{i:02}.png", view)
    write_picture(folder / "stereo/motorcycle_left.png", crop_photograph(250, 300))
    write_picture(folder / "stereo/motorcycle_right.png", crop_photograph(250, 309))
    for number in (1, 2):
        write_picture(
            folder / f"stereo/lund/{number:02}.jpg", crop_photograph(200, 300 + 5 * number)
        )
    (folder / "videos").mkdir()
    for name, col in {"frog": 100, "monster": 260, "flower": 420}.items():
        capture = cv2.VideoCapture(str(CLIP))
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        out = cv2.VideoWriter(str(folder / f"videos/{name}.mp4"), fourcc, 30, (WIDTH, 128))
        for _ in range(FRAMES):
            out.write(np.ascontiguousarray(capture.read()[1][200:328, col : col + WIDTH]))
        out.release()
    return folder


def compute_psnr(image: Picture, truth: Picture) -> float:
    error = (image.astype(np.float64) - truth.astype(np.float64)) ** 2
    return 10 * float(np.log10(255**2 / error.mean()))


def test_a_quick_run_agrees_with_figures_computed_independently(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    argv = ["--data", str(data), "--out", str(out), "--quick", "--methods", "bicubic,classical"]
    assert main(argv) == 0
    record = json.loads((out / "results.json").read_text())
    scenes = {(s["group"], s["scene"], s["scale"]): s for s in record["scenes"]}
    assert len(scenes) == 2 + 3 + 3 + 1 + 1 + 3 + 2

    truth = crop_photograph(207, 307)[:128, :160]
    small = PillowImage.fromarray(truth).resize((20, 16), PillowImage.Resampling.BICUBIC)
    up = cv2.resize(np.asarray(small), (160, 128), interpolation=cv2.INTER_CUBIC)
    row = scenes["lightfield", "stegosaurus", 8]["conditions"]["(7,7)"]
    assert row["bicubic"]["psnr"] == pytest.approx(compute_psnr(up, truth), abs=0.05)
    assert row["bicubic"]["warped"] is None
    assert row["classical"]["gain"] == pytest.approx(
        row["classical"]["psnr"] - row["bicubic"]["psnr"], abs=1e-3
    )
    assert row["classical"]["warped"] > row["bicubic"]["psnr"]

    lines = [json.loads(line) for line in (out / "cases.jsonl").read_text().splitlines()]
    assert len(lines) == sum(scene["images"] for scene in scenes.values())
    for scene in scenes.values():
        title = f"{scene['group']}_{scene['scene']}_x{scene['scale']}"
        each = [line["methods"] for line in lines if line["scene"] == title]
        for name, means in scene["methods"].items():
            for figure in ("psnr", "ssim", "psnr_y", "ssim_y"):
                expected = np.mean([methods[name][figure] for methods in each])
                assert means[figure] == pytest.approx(expected, abs=2e-4)
    # Only clips have successive frames: 14 between two key frames, i.e. 13 pairs
    assert {key[0] for key, s in scenes.items() if s["warping_error"]} == {"clips"}

    page = (out / "results.md").read_text()
    for heading in ("Summary", "Stereo", "Temporal consistency", "References that do not help"):
        assert f"## {heading}" in page
    sheet = cv2.imread(str(out / "lightfield_stegosaurus_x4.png"))
    tile_height, tile_width = (side * ZOOM for side in CROP)
    rows = 2 * (2 * BAR + tile_height + GAP)
    assert sheet.shape == (rows, 4 * (tile_width + GAP), 3)
    assert len(list(out.glob("*.png"))) == len(scenes)


@pytest.mark.parametrize(
    ("method", "least"), [(enhance_classical, 2), (enhance_classical_plain, 1)]
)
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_classical_borrows_from_a_shifted_picture(scale: int, method: Any, least: float) -> None:
    truth = crop_photograph(200, 304, 160, 200)
    reference = crop_photograph(203, 300, 160, 200)
    lr = degrade(truth, scale)
    up = cv2.resize(lr, (200, 160), interpolation=cv2.INTER_CUBIC)
    sr, warped = (as_picture(image) for image in method(as_image(lr), [as_image(reference)]))
    assert compute_psnr(sr, truth) > compute_psnr(up, truth) + least
    assert compute_psnr(warped, truth) > compute_psnr(reference, truth) + 3


@pytest.mark.parametrize("method", [enhance_classical, enhance_classical_plain])
def test_classical_ignores_unrelated_references(method: Any) -> None:
    truth = crop_photograph(200, 300, 160, 200)
    unrelated = crop_photograph(0, 0, 160, 200)[::-1].copy()
    lr = degrade(truth, 4)
    up = cv2.resize(lr, (200, 160), interpolation=cv2.INTER_CUBIC)
    sr = as_picture(method(as_image(lr), [as_image(unrelated)]).sr)
    assert compute_psnr(sr, truth) > compute_psnr(up, truth) - 0.05


def write_fast_weights(folder: Path) -> Path:
    """Write random weights of `fast` with a fixed seed."""
    torch.manual_seed(0)
    path = folder / "mine.safetensors"
    save_weights(build_network("fast"), "fast", path)
    return path


def test_a_network_agrees_with_its_padded_forward_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_fast_weights(tmp_path)
    calls = []
    prepare = CrossNetFast.prepare
    monkeypatch.setattr(CrossNetFast, "prepare", lambda *args: calls.append(1) or prepare(*args))
    method = TrainedNetwork("mine", str(path), torch.device("cpu"))
    reference = crop_photograph(200, 300, 76, 100)
    answers = [
        method.enhance(degrade(crop_photograph(200, c, 76, 100), 4), (Reference(reference),), None)
        for c in (301, 302)
    ]
    assert len(calls) == 1
    small = Reference(reference[:72, :96].copy())
    method.enhance(degrade(crop_photograph(200, 301, 72, 96), 8), (small,), None)
    assert len(calls) == 2

    lr = (
        torch.from_numpy(degrade(crop_photograph(200, 302, 76, 100), 4)).permute(2, 0, 1)[None]
        / 255
    )
    ref = torch.from_numpy(reference).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        output = load_network(str(path))(
            F.pad(lr, (0, 7, 0, 5), mode="replicate"), F.pad(ref, (0, 28, 0, 20), mode="replicate")
        )
    for made, expected in ((answers[1].sr, output.sr), (answers[1].warped, output.warped)):
        assert made is not None
        rounded = expected[0, :, :76, :100].permute(1, 2, 0).clamp(0, 1).mul(255).round().numpy()
        assert made.shape == (76, 100, 3)
        assert np.abs(made - rounded).max() <= 1  # channels-last sums in another order


def test_the_published_network_reports_the_reference_warped_by_stage_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weights = tmp_path / "published.safetensors"
    weights.write_bytes(b"any")
    monkeypatch.setattr(
        "crossnetpp.evaluation.methods.load_network", lambda _: build_network("paper")
    )
    method = TrainedNetwork("published", str(weights), torch.device("cpu"))
    answer = method.enhance(
        degrade(crop_photograph(200, 301, 48, 56), 8),
        (Reference(crop_photograph(200, 300, 48, 56)),),
        None,
    )
    assert answer.warped is not None
    assert answer.sr.shape == answer.warped.shape == (48, 56, 3)
    assert method.about.parameters == 69_013_951


def test_presets_without_weights_are_skipped_in_one_line_each(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("crossnetpp.checkpoint.WEIGHTS_FOLDER", tmp_path)
    path = write_fast_weights(tmp_path)
    argv = ["--data", str(data), "--out", str(tmp_path / "out"), "--groups", "stereo"]
    assert main([*argv, "--methods", f"fast,crossnet,paper,{path}"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert [line.split()[0] for line in lines] == ["fast", "crossnet", "paper"]
    record = json.loads((tmp_path / "out/results.json").read_text())
    assert list(record["methods"]) == ["bicubic", "mine"]
    assert len(record["methods"]["mine"]["sha256"]) == 64
    assert set(record["skipped"]) == {"fast", "crossnet", "paper"}
    assert str(tmp_path) not in record["command"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"--data": "/nowhere"}, "/nowhere"),
        ({"--methods": "bicubic,magic"}, "'magic'"),
        ({"--methods": str(CLIP)}, "no readable safetensors file"),
        ({"--groups": "stereo,moon"}, "'moon'"),
        ({"--stride": "0"}, "--stride 0"),
        ({"--out": str(CLIP)}, "a file at"),
        ({"--out": str(CLIP / "results")}, "a file at"),
        ({"--data": str(ROOT / "tests")}, "motorcycle_left.png"),
    ],
)
def test_bad_input_ends_in_one_line_and_status_2(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    found: str,
) -> None:
    out = tmp_path / "out"
    options = {"--data": str(data), "--out": str(out), "--methods": "bicubic"}
    options |= {"--groups": "stereo"} | change
    assert main([word for option in options.items() for word in option]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert found in message
    assert "; try" in message or "try " in message
    assert not out.exists()


def test_clips_use_the_nearest_key_frame(data: Path) -> None:
    source = DataFolder(data)
    frames = source.read_clip("videos/frog")
    assert len(frames) == FRAMES
    scene = next(make_clip_scenes(source, Sampling()))
    expected = [n for n in range(FRAMES) if n % 15]
    assert [case.frame for case in scene.cases] == expected
    for case in scene.cases:
        key = min(range(0, FRAMES, 15), key=lambda k: abs(k - case.frame))
        assert np.array_equal(case.truth, frames[case.frame][:, :164])
        assert np.array_equal(case.references[0].picture, frames[key][:, :164])
        assert case.condition == str(abs(key - case.frame))
    # One object per key frame, so that it is prepared once
    assert len({id(case.references[0].picture) for case in scene.cases}) == 3
    assert [c.condition for c in scene.cases if c.shown] == ["2", "7"]
    half = next(make_clip_scenes(source, Sampling(stride=2)))
    assert [case.frame for case in half.cases] == [n for n in expected if n // 15 != 1]


def test_distances_count_frames_after_their_reference(data: Path) -> None:
    source = DataFolder(data)
    frames = source.read_clip("videos/frog")
    scene = next(make_distance_scenes(source, Sampling(starts=2)))
    assert len(scene.cases) == 2 * 15
    for case in scene.cases:
        start = case.frame - int(case.condition)
        assert start in (0, FRAMES - 16)
        assert np.array_equal(case.references[0].picture, frames[start][:, :164])


def test_faulty_references_match_their_names(data: Path) -> None:
    source = DataFolder(data)
    frames = source.read_clip("videos/frog")
    scene = next(make_fault_scenes(source, Sampling(faults=2)))
    assert len(scene.cases) == 2 * 4
    by_fault = {case.condition: case for case in scene.cases if case.frame == 29}
    good = frames[30][:, :164]
    dark = by_fault[f"exposure x{EXPOSURE}"].references[0].picture
    assert np.abs(dark - EXPOSURE * good).max() <= 0.5
    moved = by_fault["displaced"].references[0].picture
    assert np.array_equal(moved[:, DISPLACEMENT:], good[:, :-DISPLACEMENT])
    assert np.diff(by_fault["blurred"].references[0].picture.astype(float), axis=1).std() < (
        0.7 * np.diff(good.astype(float), axis=1).std()
    )
    unrelated = source.read_clip("videos/flower")[0]
    assert by_fault["unrelated"].references[0].picture.mean() == pytest.approx(
        unrelated.mean(), abs=1
    )


def test_the_warping_error_measures_flicker_and_not_motion() -> None:
    before = crop_photograph(200, 300, 160, 200)
    now = crop_photograph(202, 303, 160, 200)
    moved = estimate_motion(before, now)
    inside = np.s_[20:-20, 20:-20]
    assert np.median(moved.flow[inside], axis=(0, 1)) == pytest.approx([3, 2], abs=0.1)
    assert not moved.seen[-1].any()  # these rows came into view
    assert moved.seen[inside].mean() > 0.95
    still = measure_warping_error(before, now, moved)
    assert still < 1.5
    darker = np.asarray(np.maximum(now, 12) - 12, np.uint8)
    assert measure_warping_error(before, darker, moved) == pytest.approx(12, abs=1.5)


def test_the_sheet_shows_the_crop_that_lost_most_detail() -> None:
    truth = np.full((300, 400, 3), 90, np.uint8)
    truth[150:246, 200:312] = crop_photograph(300, 300, *CROP)
    truth[:, -3:] = 0  # a black border is not detail
    flat = np.full_like(truth, 90)
    rows, cols = find_most_detailed(truth, flat)
    assert (rows.stop - rows.start, cols.stop - cols.start) == CROP
    assert abs(rows.start - 150) <= 2
    assert abs(cols.start - 200) <= 2


def make_result(group: str, name: str, condition: str, **decibels: float) -> SceneResult:
    """Return the result of one case at x8 with a PSNR for each method."""
    figures = {n: Figures(Quality(v, 0.9, v, 0.9), None) for n, v in decibels.items()}
    return SceneResult(group, name, "val", 8, [Measured(condition, 0, figures)])


def test_the_summary_checks_its_requirements() -> None:
    results = [
        make_result("lightfield", "stegosaurus", "(1,1)", bicubic=25, classical=34, fast=35.1),
        make_result(
            "lightfield",
            "stegosaurus",
            "(7,7)",
            **{"bicubic": 25, "classical": 30, "fast": 30.5, "paper": 31, "crossnet": 30.2},
        ),
        make_result("faults", "frog", "unrelated", bicubic=30, classical=30, fast=29.96),
        make_result("faults", "frog", "unrelated", bicubic=30, classical=30, fast=29.6),
    ]
    rows = {row.what: row for row in summarise_results(results, ["classical", "fast", "paper"])}
    near = rows["gain over bicubic, light field x8 (1,1)"]
    assert near.figures == pytest.approx({"classical": 9, "fast": 10.1})
    assert (near.met("classical"), near.met("fast")) == (False, True)
    assert not rows["gain over bicubic, light field x8 (7,7)"].met("fast")
    lead = rows["above classical, light field x8"]
    assert lead.figures["fast"] == pytest.approx((1.1 + 0.5) / 2)
    assert "classical" not in lead.figures
    assert rows["mean gain, reference unrelated"].figures["fast"] == pytest.approx(-0.22)
    assert rows["worst picture, reference unrelated"].figures["fast"] == pytest.approx(-0.4)
    assert rows["two stages above one, light field (7,7)"].figures == pytest.approx({"paper": 0.8})
    assert collect_gains(results, "fast", group="faults") == pytest.approx([-0.04, -0.4])


def test_the_summary_contains_the_gains_of_stage_two_and_the_hybrid_loss() -> None:
    def figures(decibels: float, warped: float | None) -> Figures:
        return Figures(Quality(decibels, 0.9, decibels, 0.9), warped)

    by_method = {
        "bicubic": figures(25, None),
        "two_stages": figures(31, 30),
        "one_stage": figures(30.5, 29),
        "sr_loss": figures(30.7, 27.5),
    }
    far = SceneResult("lightfield", "s", "val", 8, [Measured("(7,7)", 0, by_method)])
    fault = SceneResult("faults", "s", "val", 8, [Measured("blurred", 0, by_method)])
    rows = {row.what: row for row in summarise_results([far, fault], ["two_stages", "one_stage"])}
    stages = rows["two stages above one, light field (7,7)"]
    assert stages.figures == pytest.approx({"two_stages": 0.5})
    loss = rows["warped reference, hybrid loss above super-resolution loss alone"]
    assert loss.figures == pytest.approx({"two_stages": 2.5})


def test_bicubic_comes_first_and_files_are_named_by_their_stem(tmp_path: Path) -> None:
    path = write_fast_weights(tmp_path)
    methods, _ = load_methods(["classical", str(path), "bicubic"], torch.device("cpu"))
    assert [method.name for method in methods] == ["bicubic", "classical", "mine"]
