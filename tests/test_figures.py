"""The figures on the pages are those in jobs/results, rounded."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest

from jobs.bench.page import BEGIN, END, make_table
from jobs.bench.profile import draw_bars
from jobs.field_cases.__main__ import CASES
from jobs.quality.before_after import FRAME
from jobs.stress.hostile.__main__ import CASES as ATTACKS
from jobs.stress.hostile.__main__ import list_usual_cases
from tests.support import ROOT

RESULTS = ROOT / "jobs" / "results"


def read_page(name: str) -> str:
    """Return the text of a page, with single spaces instead of line breaks."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def read_result(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def test_the_picture_shows_the_frame_that_was_measured() -> None:
    shown = read_result("before_after.json")["shown"]
    assert shown["frame"] == FRAME
    bicubic, fast = f"{shown['bicubic']['psnr']:.1f} dB", f"{shown['fast']['psnr']:.1f} dB"
    assert f"plain up-sampling (left) reaches {bicubic} and the result (middle) {fast}" in (
        read_page("README.md")
    )
    page = read_page("docs/quality.md")
    assert f"details of frame {FRAME} of" in page
    assert f"plain up-sampling reaches {bicubic} and `fast` {fast}" in page


def test_the_pages_quote_the_means_of_the_demo() -> None:
    demo = read_result("before_after.json")["demo"]
    bicubic, fast, plain = demo["bicubic"], demo["fast"], demo["bicubic, not encoded"]
    page = read_page("docs/install.md")
    gain = fast["psnr"] - bicubic["psnr"]
    assert f"{bicubic['frames']} frames x4" in page
    assert (
        f"bicubic {bicubic['psnr']:.2f} +0.00 {bicubic['ssim']:.4f} {bicubic['worst']:.2f}" in page
    )
    assert (
        f"CrossNet++ fast {fast['psnr']:.2f} {gain:+.2f} {fast['ssim']:.4f} {fast['worst']:.2f}"
        in page
    )
    assert (
        f"reaches {plain['psnr']:.1f} dB ({bicubic['psnr']:.1f} dB after encoding), "
        f"and the result reaches {fast['psnr']:.1f} dB"
    ) in read_page("docs/key-frames.md")
    for name in ("docs/install.md", "docs/report.md"):
        assert f"{plain['psnr'] - bicubic['psnr']:.1f} dB" in read_page(name)


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "docs/performance.md"])
def test_the_pages_quote_the_simulation(name: str) -> None:
    worlds = read_result("simulate.json")
    page = read_page(name)
    for world in ("calm", "deaths", "deaths and restart"):
        assert f"{worlds[world]['cpu_ms_per_event']:.4f} ms" in page
    assert f"{worlds['calm']['over']:.1%}".replace("%", " %") in page
    slower = {f"{worlds[world]['over']:.0%}" for world in ("deaths", "deaths and restart")}
    assert slower == {"5%"}
    assert "5 %" in page


def test_the_table_of_performance_is_that_of_its_files() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    table = page.partition(BEGIN)[2].partition(END)[0]
    assert table == make_table()
    assert table.count("\n") == 23


def test_the_notes_on_performance_round_their_files() -> None:
    page = read_page("docs/performance.md")
    memory = read_result("bench_pipeline.json")["memory"]
    bicubic, fast = (
        [f"{peak:.0f}" for peak in memory[name]["peak_mb"]] for name in ("bicubic", "fast")
    )
    pairs = read_result("training_pairs.json")["devices"]["cpu"]
    profile = read_result("profile.json")
    networks = profile["networks"]
    share = 1 - networks["fast-quick, fp32"]["gflop"] / networks["fast, fp32"]["gflop"]
    assert f"{share:.1f}" == "0.4"
    for quoted in (
        f"a run needs {bicubic[0]} MB for the clip and {bicubic[1]} MB for a clip ten times",
        f"with `fast`, it needs {fast[0]} and {fast[1]} MB",
        f"{pairs['composed_per_second']:.0f} composed pairs per second",
        f"{pairs['photographs_per_second_on_one_core']:.0f} pairs are cut from photographs",
        "That removes 40 % of the arithmetic",
    ):
        assert quoted in page, quoted
    for precision, possible in profile["large_convolution_gflops"].items():
        assert 0.75 < networks[f"fast, {precision}"]["convolution_gflops"] / possible < 0.9


def test_the_page_of_engines_quotes_the_losses_of_precision() -> None:
    page = read_page("docs/engines.md")
    clips = read_result("precision.json")["clips"].values()
    losses = [max(clip[name]["mean_loss_db"] for clip in clips) for name in ("bf16", "int8")]
    assert f"at most {losses[0]:.3f} dB with `bf16` and {losses[1]:.3f} dB with `int8`" in page
    for name, share in (("bf16", "99.96 %"), ("int8", "99.99 %")):
        least = min(clip[name]["within_a_level"] for clip in clips)
        assert f"{int(10000 * least) / 100:.2f} %" == share
        assert share in page
    assert len(clips) == 5


def test_the_drawing_shows_the_profile() -> None:
    drawing = (ROOT / "docs" / "images" / "profile.svg").read_text(encoding="utf-8")
    assert drawing == draw_bars(read_result("profile.json")["networks"])


def test_the_page_quotes_the_hour() -> None:
    short, hour = read_result("long_clip.json")["clips"]
    page = read_page("docs/performance.md")
    assert hour["frames"] == 90_000
    assert not any(clip["times_off"] or clip["numbers_off"] for clip in (short, hour))
    peaks = (
        f"peaks at {hour['peak_mb']} MB for a clip of an hour (90,000 frames), and at "
        f"{short['peak_mb']} MB for one of six minutes"
    )
    assert peaks in page
    copies = f"{hour['ffmpeg_copy_peak_mb']} and {short['ffmpeg_copy_peak_mb']} MB"
    assert f"`ffmpeg -c copy` needs {copies}" in page
    for name, quoted in (("peak_mb", "the 0.5 kB"), ("ffmpeg_copy_peak_mb", "accounts for 0.3")):
        per_frame = (hour[name] - short[name]) * 1024 / (hour["frames"] - short["frames"])
        assert f"{per_frame:.1f}" in quoted
        assert quoted in page


def test_the_page_quotes_the_matrices() -> None:
    page = read_page("docs/formats.md")
    matrix = read_result("media_matrix.json")
    kept, noted = matrix["outcomes"]["kept"], matrix["outcomes"]["noted"]
    assert kept + noted == matrix["cases"] == 320
    assert f"Of the 320 outputs, {kept} are complete, and {noted} lack only" in page
    assert {odd["outcome"] for odd in matrix["odd"]} == {"same"}
    sound = read_result("sound_matrix.json")["outcomes"]
    assert f"Of {sum(sound.values())} combinations, {sound['kept']} preserve" in page
    assert f"and {sound['lost']} are reported in advance" in page


def test_the_pages_quote_the_faulty_references() -> None:
    page = read_page("docs/quality.md")
    for row in read_result("faulty_references.json")["rows"]:
        assert f"| {row['gain']:+.2f} | {row['worst']:+.2f} |" in page
        assert row["worst"] >= 0
    for row in read_result("faulty_references.json")["unrelated"]:
        figures = (row["network_alone"], row["gain"], row["worst"])
        assert f"| {' | '.join(f'{each:+.2f}' for each in figures)} |" in page


def test_the_page_quotes_the_recordings() -> None:
    page = read_page("docs/quality.md")
    result = read_result("recordings/results.json")
    for scene in result["scenes"]:
        methods = scene["methods"]
        before, classical, fast, adapted = (
            f"{methods[name]['gain']:+.2f}" for name in ("old", "classical", "fast", "adapted")
        )
        row = f"{methods['bicubic']['psnr']:.2f} dB | {before} | {classical} | **{fast}**"
        assert f"| {scene['scene']} | {row} | {adapted} |" in page

    figures = {row["what"]: row["figures"] for row in result["summary"]}
    gain = figures["above old, recorded"]
    assert (
        f"`fast` gains {gain['fast']:.2f} dB on average over the `recorded` clips, and adapted "
        f"{gain['adapted']:.2f} dB" in page
    )
    gains = [
        scene["methods"]["adapted"]["gain"]
        for scene in result["scenes"]
        if scene["group"] == "recorded"
    ]
    assert f"gains {min(gains):.1f} to {max(gains):.1f} dB over plain up-sampling" in (
        read_page("README.md")
    )
    weakest = figures["above classical, recorded, weakest clip"]["fast"]
    assert f"`fast` gains at least {weakest:.2f} dB on every `recorded` clip" in page
    leads: dict[str, list[float]] = {"recorded": [], "sensor": [], "bicubic": []}
    for scene in result["scenes"]:
        methods = scene["methods"]
        lead = methods["fast"]["gain"] - methods["classical"]["gain"]
        if (scene["group"], scene["scene"]) == ("bicubic", "flower"):
            assert f"it is behind on flower (by {-lead:.2f} dB)" in page
        elif scene["scene"] != "motorcycle":
            leads[scene["group"]].append(lead)
    least, most = min(leads["sensor"]), max(leads["sensor"])
    mean = statistics.fmean(leads["sensor"])
    assert f"it gains {least:.2f} to {most:.2f} dB, and {mean:.2f} dB on average" in page
    least, most = min(leads["bicubic"]), max(leads["bicubic"])
    assert f"and gains {least:.2f} to {most:.2f} dB on the other clips" in page


def test_the_page_quotes_the_mix_with_optical_flow() -> None:
    page = read_page("docs/quality.md")
    captures = {"sensor": "pixel means", "bicubic": "bicubic"}
    methods = ("classical", "fast", "fast:mixed", "best")
    result = read_result("mixed/results.json")
    reached = []
    for scene in result["scenes"]:
        if scene["scene"] == "motorcycle":
            continue  # a single reference and no measured kernel: nothing is mixed
        gains = [scene["methods"][name]["gain"] for name in methods]
        if scene["group"] == "sensor" and gains[3] > gains[0] + 0.7:
            reached.append(scene["scene"])
        cells = " | ".join(f"{gain:+.2f}" for gain in gains)
        assert f"| {captures[scene['group']]} | {scene['scene']} | {cells} |" in page
        assert gains[2] > gains[0]
        if (scene["group"], scene["scene"]) == ("sensor", "sintel"):
            assert f"sintel with pixel means loses {gains[1] - gains[2]:.2f} dB by mixing" in page
        else:
            assert gains[2] > gains[1] - 0.01
        assert gains[3] > gains[2]

    leads = {row["what"]: row["figures"] for row in result["summary"]}["above classical, sensor"]
    assert f"by {leads['fast:mixed']:.2f} and {leads['best']:.2f} dB on average" in page
    *others, last = reached
    assert f"*best* reaches it on {', '.join(others)} and {last}" in page


def test_the_page_quotes_the_accuracy_of_the_motion() -> None:
    page = read_page("docs/quality.md")
    result = read_result("flow.json")
    scenes = [scene["scene"] for scene in result["scenes"]]
    median = {(r["scene"], r["scale"], r["method"]): r["median"] for r in result["figures"]}
    far_off = {(r["scene"], r["scale"], r["method"]): r["above_3"] for r in result["figures"]}
    once = ("fast-recorded", "fast-quick", "fast-recorded-quick")  # networks that search only once
    methods = ("dis", "fast:stage1", "fast:stage2", "fast:no-stage2", "fast", *once)
    for scene in scenes:
        cells = (f"{median[scene, 4, m]:.2f} px, {far_off[scene, 4, m]:.1f} %" for m in methods)
        assert f"| {scene} | {' | '.join(cells)} |" in page

    *others, widest = scenes
    lowered = [1 - median[s, 4, "fast"] / median[s, 4, "fast:stage2"] for s in scenes]
    quoted = f"lowers the median error by {min(lowered):.0%} to {max(lowered):.0%}"
    assert quoted.replace("% to", " to").replace("%", " %") in page
    with_stage2, without = (
        {scene: far_off[scene, 4, method] for scene in scenes}
        for method in ("fast", "fast:no-stage2")
    )
    assert f"rises from {with_stage2[widest]:.1f} to {without[widest]:.1f} % in" in page
    assert f"falls from {with_stage2['cones']:.1f} to {without['cones']:.1f} % on cones" in page
    changes = [abs(without[s] - with_stage2[s]) for s in others if s != "cones"]
    assert f"changes by at most {max(changes):.1f} percentage points elsewhere" in page

    assert all(far_off[scene, 2, "dis"] < far_off[scene, 2, "fast"] for scene in scenes)
    assert all(far_off[scene, 8, "dis"] > far_off[scene, 8, "fast"] for scene in scenes)
    small, large = (
        [f"{far_off['motorcycle', scale, method]:.1f}" for method in ("dis", "fast")]
        for scale in (2, 8)
    )
    assert f"in every scene ({small[0]} against {small[1]} % on motorcycle)" in page
    assert f"in every scene ({large[1]} against {large[0]} %)" in page
    shares = [f"{far_off[widest, 4, method]:.1f} % for `{method}`" for method in once]
    assert f"{shares[0]}, {shares[1]} and {shares[2]}, in the band from 32 px" in page
    assert (
        f"have {far_off[widest, 4, 'old']:.1f} % of errors above 3 pixels in the band from 32 px, "
        f"and {far_off['motorcycle', 4, 'old']:.1f} % on motorcycle" in page
    )


def test_the_page_quotes_the_efforts() -> None:
    page = read_page("docs/quality.md")
    captures = {"sensor": "pixel means", "recorded": "recorded"}
    methods = ("fast", "fast:1ref", "fast-quick:1ref", "best")
    recorded = []
    for scene in read_result("effort/results.json")["scenes"]:
        gains = [scene["methods"][name]["gain"] for name in methods]
        cells = " | ".join(f"{gain:+.2f}" for gain in gains)
        assert f"| {captures[scene['group']]} | {scene['scene']} | {cells} |" in page
        if scene["group"] == "recorded":
            recorded.append(gains)
    normal, one_reference, quick, best = (
        statistics.fmean(gains) for gains in zip(*recorded, strict=True)
    )
    assert f"gains {one_reference - quick:.2f} dB less than the usual one with one" in page
    assert f"and `best` gains {best - normal:.2f} dB more than `normal`" in page


def test_every_case_was_recorded_and_came_out_right() -> None:
    cases = read_result("field_cases.json")["cases"]
    assert [case["case"] for case in cases] == [case.number for case in CASES]
    assert [case["case"] for case in cases if not case["right"]] == []
    assert f"recreates {len(cases)} situations" in read_page("docs/formats.md")


def test_every_usual_attack_was_made_and_did_no_harm() -> None:
    result = read_result("hostile.json")
    made = [(case["direction"], case["case"]) for case in result["cases"]]
    assert set(made) >= {(case.direction, case.name) for case in list_usual_cases()}
    assert made == [place for case in ATTACKS if (place := (case.direction, case.name)) in made]
    assert [case["case"] for case in result["cases"] if case["faults"] or case["skipped"]] == []
    *directions, total = result["directions"]
    for key in ("cases", "attempts", "refused", "harmless", "broken"):
        assert total[key] == sum(direction[key] for direction in directions)
    assert total["broken"] == 0
    page = read_page("docs/security.md")
    assert (
        f"ran {total['attempts']:,} commands on files, folders and other things that a stranger "
        f"could make, in {total['cases']} cases" in page
    )
    assert f"{total['refused']} were refused, and {total['harmless']} ended without harm" in page
    for direction in directions:
        row = f"{direction['attempts']} | {direction['refused']} | {direction['harmless']} |"
        assert f"| {direction['direction']} | {row}" in page


def test_the_page_of_good_and_bad_cases_quotes_them() -> None:
    page = read_page("docs/can-and-cannot.md")
    cases = {case["case"]: case for case in read_result("good_and_bad.json")["cases"]}
    assert set(cases) == {picture.stem for picture in (ROOT / "docs/images/cases").iterdir()}
    for name in ("texture", "text", "view", "unrelated"):
        before, after = (f"{cases[name][method]:.1f}" for method in ("bicubic", "fast"))
        assert f"PSNR rises from {before} to {after} dB" in page
    assert all(f"(images/cases/{name}.jpg)" in page for name in cases)


def test_the_page_quotes_the_generated_key_frames() -> None:
    figures = read_result("generated_keys.json")["figures"]
    ours, alone = figures["with"], figures["generated one by one"]
    page = read_page("docs/key-frames.md")
    assert (
        f"agree with the result to {ours['agreement']:.1f} dB, and with frames that the network "
        f"enlarged one by one only to {alone['agreement']:.1f} dB"
    ) in page
    assert (
        f"changes by {ours['flicker']:.1f} levels of 255 on average (the original by "
        f"{figures['original']['flicker']:.1f}), whereas the frames enlarged one by one change by "
        f"{alone['flicker']:.1f} levels"
    ) in page
