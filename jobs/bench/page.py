"""Write the table in docs/performance.md from the files in jobs/results.

    python -m jobs.bench.page

Each row states what was measured, the result, its spread, the target, the file that contains the
figures, and the machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from jobs.machine import RESULTS

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
BEGIN = "<!-- written by python -m jobs.bench.page -->\n"
END = "<!-- end -->\n"
HEAD = "| measurement | result | spread | target | file | machine |\n|---|---|---|---|---|---|\n"


class Row(NamedTuple):
    """A measurement, its outcome, and the file that contains it."""

    measurement: str
    result: str
    file: str
    spread: str = ""
    target: str = ""


def read_result(name: str) -> Any:
    """Return the content of the file jobs/results/<name>.json."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def name_processor(result: Any) -> str:
    """Return the name of the GPU on which the figures of `result` were measured.

    If a CPU was used, return its name and the number of cores.
    """
    for case in result.get("results", ()):
        for line in case.get("lines", ()):
            if "gpu" in line:
                return str(line["gpu"]["name"])
    machine = result["machine"]
    name = str(machine["processor"]).replace("(R)", "").removesuffix(" Processor")
    return f"{machine['cores']} cores of {name}"


def judge(value: float, target: float) -> str:
    """Return a target as text, with the remark "missed" if `value` is below it."""
    return f"{target:g}" if value >= target else f"{target:g}, **missed**"


def list_comparisons() -> list[Row]:
    """Return the rows that compare whole runs with an older commit."""
    result = read_result("bench_against")
    targets = {"effort fast": 2.0, "light field": 1.5}
    names = {
        "effort fast": "`--effort fast` at 720x480",
        "fast": "`--effort normal` at 720x480, with two references",
        "fast, one reference": "`--effort normal` at 720x480, with one reference",
        "bicubic": "`--engine bicubic` at 720x480",
        "light field": "light field of 9x9 views of 512x512",
        "light field, effort fast": "the same light field with `--effort fast`",
    }
    rows = []
    for case, name in names.items():
        if case not in result:
            continue
        figures = result[case]
        ratios = figures["wall_ratios"]
        gain = figures["new"]["psnr"] - figures["old"]["psnr"]
        ratio = figures["wall_ratio"]
        rows.append(
            Row(
                f"{name} against commit {result['against']}",
                f"{ratio:.2f} times as fast, {gain:+.2f} dB",
                "bench_against",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                judge(ratio, targets[case]) if case in targets else "",
            )
        )
    return rows


def list_runs() -> list[Row]:
    """Return the rows about whole runs: their speed, memory and start-up time."""
    bench = read_result("bench_pipeline")
    seconds = bench["presets"]["seconds"]
    turns = [turn["ratio"] for turn in bench["end_to_end"]["turns"]]
    memory = bench["memory"]
    return [
        Row(
            "`--engine bicubic --scale 2` against `ffmpeg` at 720p",
            f"{bench['overhead']['ratio']:.2f} of its speed",
            "bench_pipeline",
            target=judge(bench["overhead"]["ratio"], 0.95),
        ),
        Row(
            "`fast` with overlapping stages against a loop that runs them one after another",
            f"{bench['end_to_end']['ratio']:.2f} times as fast",
            "bench_pipeline",
            f"{min(turns):.2f} to {max(turns):.2f}",
        ),
        Row(
            "`fast` against `paper`, one frame of 512x320",
            f"{bench['presets']['ratio']:.1f} times as fast "
            f"({seconds['fast']:.2f} s, {seconds['paper']:.2f} s)",
            "bench_pipeline",
            target=judge(bench["presets"]["ratio"], 15),
        ),
        Row(
            "growth in peak memory for a clip ten times as long",
            f"{memory['bicubic']['ratio'] - 1:+.0%} (bicubic), "
            f"{memory['fast']['ratio'] - 1:+.0%} (`fast`)".replace("%", " %"),
            "bench_pipeline",
            target="+5 %" if memory["fast"]["ratio"] < 1.055 else "+5 %, **missed**",
        ),
        Row(
            "start-up",
            f"{bench['overhead']['pipeline']['startup_seconds']:.1f} s",
            "bench_pipeline",
        ),
        Row(
            "growth in memory over an hour of tiny frames in MP4",
            f"{find_growth(read_result('long_clip')['clips'], 'peak_mb'):.1f} kB per frame",
            "long_clip",
            target="flat, **missed**",
        ),
    ]


def find_growth(clips: list[dict[str, Any]], name: str) -> float:
    """Return by how many kB per additional frame a peak grows from a short clip to a long one.

    `clips` are the figures of both clips, and `name` is the key of the peak, in MB.
    """
    short, long = clips
    return float((long[name] - short[name]) * 1024 / (long["frames"] - short["frames"]))


def list_engines() -> list[Row]:
    """Return the rows that compare engines, and the network's speed with the highest possible."""
    engines = read_result("bench_engines")["320x512"]
    names = {"bf16": "bf16", "int8": "int8", "openvino": "OpenVINO", "onnx": "onnxruntime"}
    rows = [
        Row(
            f"{text} against float32 in PyTorch at 512x320",
            f"{engines['of_torch'][name]:.2f} times as fast",
            "bench_engines",
        )
        for name, text in names.items()
        if name in engines["of_torch"]
    ]

    profile = read_result("profile")
    for precision, possible in profile["large_convolution_gflops"].items():
        network = profile["networks"][f"fast, {precision}"]
        rate = network["gflop"] / sum(network["milliseconds"].values()) * 1000
        rows.append(
            Row(
                f"operations per second of `fast` in {precision} against a large convolution",
                f"{rate / possible:.0%} (its convolutions alone: "
                f"{network['convolution_gflops'] / possible:.0%})".replace("%", " %"),
                "profile",
                target=judge(rate / possible, 0.7).replace("0.7", "70 %"),
            )
        )
    return rows


def list_many_workers() -> list[Row]:
    """Return the rows about GPUs and about several workers."""
    rows = []
    for model, target in (("fast", 300), ("paper", 40)):
        fps = max(
            line["fps"]
            for case in read_result("gpu_check")["results"]
            if case["case"].startswith("engine ")
            for line in case["lines"]
            if line.get("model") == model and line.get("height") == 1088 and "fps" in line
        )
        rows.append(
            Row(
                f"`{model}` at 1920x1088 in float16",
                f"{fps:.3g} frames per second",
                "gpu_check",
                target=judge(fps, target),
            )
        )
    scaling = read_result("scaling")["times_one"]
    rows.append(
        Row(
            "2 and 8 actors with an engine that only sleeps",
            f"{scaling['2']:.2f} and {scaling['8']:.2f} times as fast as one",
            "scaling",
            target="1.8 and 7",
        )
    )
    return rows


def make_table() -> str:
    """Return the table in Markdown."""
    rows = [*list_comparisons(), *list_runs(), *list_engines(), *list_many_workers()]
    lines = []
    for row in rows:
        processor = name_processor(read_result(row.file))
        file = f"`{row.file}.json`"
        cells = (row.measurement, row.result, row.spread, row.target, file, processor)
        lines.append("".join(f"| {cell} " if cell else "| " for cell in cells) + "|\n")
    return HEAD + "".join(lines)


def main() -> None:
    """Replace the table in the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}{make_table()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
