from pathlib import Path

import pytest

from fluoro_jax.sim import quantisation

PAGE = Path(__file__).parents[2] / "docs" / "quantisation.md"


def rows_of(text):
    """Numbers by (frame, diameter)."""
    lines = [line.strip("| ").split("|") for line in text.splitlines() if "|" in line]
    numbers = [[float(v) for v in line] for line in lines[2:]]
    return {(int(row[0]), row[2]): row for row in numbers}


def test_the_page_holds_what_the_command_prints():
    page = rows_of(PAGE.read_text())
    assert {frame for frame, _ in page} == set(quantisation.FRAMES)
    for pixels, diameter_mm in ((32, 20.0), (96, 12.0), (256, 30.0)):
        text = quantisation.table((pixels,), (diameter_mm,))
        print(text)
        ((key, row),) = rows_of(text).items()
        assert row == pytest.approx(page[key], rel=0.02, abs=0.002)


def test_smaller_pixels_cost_less():
    page = rows_of(PAGE.read_text())
    for diameter_mm in quantisation.DIAMETERS_MM:
        iou = [page[frame, diameter_mm][3] for frame in quantisation.FRAMES]
        miss_mm = [page[frame, diameter_mm][6] for frame in quantisation.FRAMES]
        assert iou == sorted(iou) and miss_mm == sorted(miss_mm, reverse=True)
    assert page[256, 30.0][6] < 0.1 < page[128, 30.0][6]
