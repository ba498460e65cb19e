"""Measure what the network spends its time on, and draw the result.

    python -m jobs.bench.profile [--calls 5]

One frame is enhanced to 704x480 at x4 with one reference, on one CPU thread, by `fast` and by
`fast-quick`: in float32 and, if the processor has fast bfloat16 instructions, in bfloat16. The time
of each operation, as measured by PyTorch's profiler, excludes the operations that it calls. The
figures are written to jobs/results/profile.json, and the drawing to docs/images/profile.svg.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from deploy.choice import make_sample_frames
from deploy.engines.bf16_engine import is_bf16_fast
from deploy.engines.torch_engine import TorchEngine
from deploy.export.lowering import Precision
from jobs.machine import RESULTS, write_result

HEIGHT = 480
WIDTH = 704  # a multiple of 32, so that no padding is measured
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "profile.svg"

# kind of operation -> the beginnings of the names that such operations have in PyTorch
KINDS = {
    "convolution": ("aten::mkldnn_convolution", "aten::thnn_conv2d", "aten::_slow_conv2d"),
    "correlation": ("aten::bmm",),
    "warping": ("aten::grid_sampler",),
    "copying": ("aten::copy_", "aten::cat", "aten::fill_", "aten::pixel_shuffle", "aten::empty"),
}
OTHER = "other arithmetic"
COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#bbbbbb")


def find_kind(operation: str) -> str:
    """Return the kind of an operation: a key of KINDS, or OTHER."""
    for kind, beginnings in KINDS.items():
        if operation.startswith(beginnings):
            return kind
    return OTHER


def profile_engine(engine: TorchEngine, calls: int) -> dict[str, Any]:
    """Return the milliseconds per frame that each kind of operation takes.

    The result also contains the GFLOP per frame, and the GFLOP/s of the convolutions.
    """
    lr, refs = make_sample_frames(HEIGHT, WIDTH, 1)
    engine.enhance(lr, refs)  # prepares the reference, which is cached from then on

    with FlopCounterMode(display=False) as counter:
        engine.enhance(lr, refs)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(calls):
            engine.enhance(lr, refs)

    milliseconds = dict.fromkeys((*KINDS, OTHER), 0.0)
    for event in profiled.key_averages():
        milliseconds[find_kind(event.key)] += event.self_cpu_time_total / 1000 / calls
    flops = counter.get_flop_counts()["Global"]
    convolutions = sum(int(n) for name, n in flops.items() if "convolution" in str(name))
    return {
        "milliseconds": {kind: round(value, 1) for kind, value in milliseconds.items()},
        "gflop": round(counter.get_total_flops() / 1e9, 1),
        "convolution_gflops": round(convolutions / 1e6 / milliseconds["convolution"], 1),
    }


def measure_convolution_rate(dtype: torch.dtype) -> float:
    """Return the GFLOP/s of a large convolution on one thread, in the fastest of ten calls."""
    layer = torch.nn.Conv2d(256, 256, 3, padding=1).to(dtype=dtype)
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs = torch.rand(1, 256, 64, 64, dtype=dtype).to(memory_format=torch.channels_last)
    best = 0.0
    with torch.inference_mode():
        for _ in range(10):
            start = time.perf_counter()
            layer(inputs)
            seconds = time.perf_counter() - start
            best = max(best, 2 * 9 * 256 * 256 * 64 * 64 / seconds / 1e9)
    return round(best, 1)


def draw_bars(profiles: dict[str, dict[str, Any]]) -> str:
    """Return an SVG with a stacked bar for each profile: the milliseconds per kind of operation."""
    kinds = (*KINDS, OTHER)
    longest = max(sum(each["milliseconds"].values()) for each in profiles.values())
    left, bar, row = 130, 560, 34
    height = row * len(profiles) + 50
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + bar + 80} {height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (name, each) in enumerate(profiles.items()):
        x, y = float(left), 10 + row * number
        lines.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(name)}</text>')
        for kind, colour in zip(kinds, COLOURS, strict=True):
            width = bar * each["milliseconds"][kind] / longest
            lines.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="24" fill="{colour}"/>'
            )
            x += width
        total = sum(each["milliseconds"].values())
        lines.append(f'<text x="{x + 6:.1f}" y="{y + 17}">{total:.0f} ms</text>')

    for number, (kind, colour) in enumerate(zip(kinds, COLOURS, strict=True)):
        x, y = left + 125 * number, height - 24
        lines.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{x + 17}" y="{y + 11}">{escape(kind)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Profile the networks, and write the figures and the drawing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--calls", type=int, default=5, metavar="N", help="profiled calls per engine (default 5)"
    )
    calls = parser.parse_args().calls

    torch.set_num_threads(1)
    precisions: dict[Precision, torch.dtype] = {"fp32": torch.float32}
    if is_bf16_fast():
        precisions["bf16"] = torch.bfloat16
    profiles = {}
    for model in ("fast", "fast-quick"):
        for precision in precisions:
            engine = TorchEngine(model, threads=1, precision=precision, device=torch.device("cpu"))
            profiles[f"{model}, {precision}"] = profile_engine(engine, calls)

    result = {
        "size": [WIDTH, HEIGHT],
        "large_convolution_gflops": {
            name: measure_convolution_rate(dtype) for name, dtype in precisions.items()
        },
        "networks": profiles,
    }
    write_result("profile", result)
    PICTURE.write_text(draw_bars(profiles), encoding="utf-8")
    sys.stdout.write(f"{json.dumps(result, indent=1)}\n{RESULTS / 'profile.json'}\n{PICTURE}\n")


if __name__ == "__main__":
    main()
