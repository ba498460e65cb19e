"""What the names of pictures say about their times."""

from __future__ import annotations

import pytest

from pipeline.media.pictures.names import (
    parse_seconds,
    read_doubtful_times,
    read_numbers,
    read_times,
)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("frame_12.5s", 12.5),
        ("t=3.2", 3.2),
        ("cam_t=-1_a", -1.0),
        ("00-01-02.500", 62.5),
        ("frame_0012", None),
        ("2s_and_more", 2.0),
        ("3seconds", None),
        ("frame_600ms", 0.6),
        ("clip_1m05s", 65.0),
        ("shot_00h45m04s500", 2704.5),
        ("00-01-02-500", 62.5),
        ("00-00-05-12", None),  # the last number counts frames
        ("2023-11-27_00-45-04", None),
        ("20231127_004504", None),
    ],
)
def test_times_are_read_from_names(name: str, seconds: float | None) -> None:
    assert parse_seconds(name) == seconds


@pytest.mark.parametrize(
    "names",
    [
        ["promo_15s_0001", "promo_15s_0002"],
        ["t=3_a", "t=3_b"],
        ["vlcsnap-2023-11-27-00h45m04s000", "vlcsnap-2023-11-27-00h45m05s600"],
        ["2023-11-27_a", "2023-11-28_b"],
        ["11-27-04 first", "11-27-04 second"],
        ["23-11-27_00-45-04", "23-11-27_00-45-09"],
        ["15s_a", "15s_b", "30s_c"],
    ],
)
def test_constants_and_dates_are_no_times(names: list[str]) -> None:
    assert read_times(names) is None


def test_the_time_that_differs_is_read() -> None:
    found = read_times(["promo_15s_0.5s", "promo_15s_1.5s"])
    assert found is not None
    assert (found.values, found.example) == ((0.5, 1.5), "0.5s")


@pytest.mark.parametrize(
    ("names", "kind", "values"),
    [
        (
            ["vlcsnap-2023-11-27-00h00m04s250", "vlcsnap-2023-11-27-00h00m05s000"],
            "clock",
            (4.25, 5.0),
        ),
        (
            [
                "a_snapshot_00.00.04_[2023.11.27_10.11.12]",
                "a_snapshot_00.00.09_[2023.11.27_10.11.18]",
            ],
            "clock",
            (4.0, 9.0),
        ),
        (["00_01_02.500", "00_01_04.000"], "seconds", (62.5, 64.0)),
        (["x_0.600", "x_1.200"], "seconds", (0.6, 1.2)),
        (
            ["Sequence 01.00_00_05_12.Still001", "Sequence 01.00_00_07_00.Still002"],
            "timecode",
            (5.0, 7.0),
        ),
        (["IMG_20231127_004504", "IMG_20231127_004509"], "date", (1701045904.0, 1701045909.0)),
        (
            ["PXL_20231127_004504123", "PXL_20231127_004509000"],
            "date",
            (1701045904.123, 1701045909.0),
        ),
    ],
)
def test_what_may_be_a_time_is_read(names: list[str], kind: str, values: tuple[float, ...]) -> None:
    assert (kind, values) in [(each.kind, each.values) for each in read_doubtful_times(names)]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["frame_000015", "frame_000030"], [(15, 30)]),
        (["2023-11-27_v1.2_15s_0007", "2023-11-27_v1.2_15s_0011"], [(7, 11)]),
        (["key3_0015", "key4_0030"], [(3, 4), (15, 30)]),
        (["a_15", "b_30"], []),
        (["2023-11-27 at 00.45.04", "2023-11-27 at 00.45.09"], []),
        (["a", "b"], []),
    ],
)
def test_numbers_are_read_where_all_names_differ(
    names: list[str], numbers: list[tuple[int, ...]]
) -> None:
    assert read_numbers(names) == numbers
