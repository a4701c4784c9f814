"""Damaged CT slices, structure sets, plans: a message or a result, soon and small."""

import shutil
import time

import numpy as np
import patients
import pytest
from marks import further

from fluoro_jax.errors import UserError
from fluoro_jax.io.contours import centroid_mm, rasterise, volume_ml
from fluoro_jax.io.dicom.rtstruct import read_rtstruct
from fluoro_jax.io.dicom.series import list_series, read_series_ct
from fluoro_jax.io.dicom.write_ct import write_ct_series, write_rtstruct

pydicom = pytest.importorskip("pydicom")
MOST_S = 10.0
MOST_BYTES = 2 * 2**30
FEW, MANY = 40, 1000
HU = patients.random_hu()
SYNTAXES = (  # big endian, deflated, RLE, JPEG, JPEG-LS, JPEG 2000: not what is inside
    b"1.2.840.10008.1.2.2\0\0",
    b"1.2.840.10008.1.2.5\0\0",
    b"1.2.840.10008.1.2\0\0\0\0",
)
KEYWORDS = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "SamplesPerPixel",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelRepresentation",
    "SOPClassUID",
    "Modality",
    "PixelPaddingValue",
)
VALUES = {
    "US": (0, 1, 7, 65535),
    "IS": ("0", "-5", "2147483647"),
    "DS": ("0", "-1", "1e308", "1e-300", "3"),
    "UI": ("1.2", "1.2.840.10008.5.1.4.1.1.481.3"),
    "CS": ("MR", "RTPLAN"),
}


def flip(rng, data):
    data = bytearray(data)
    for at in rng.integers(132, len(data), rng.integers(1, 12)):
        data[at] = rng.integers(256)
    return bytes(data)


def cut(rng, data):
    return data[: rng.integers(len(data))]


def repeat(rng, data):
    """A piece of the file once more, in the middle of it."""
    a, b = sorted(rng.integers(132, len(data), 2))
    return data[:b] + data[a:b] + data[b:]


def lengths(rng, data):
    """A length that the file does not have: of an element or a sequence."""
    data = bytearray(data)
    at = int(rng.integers(132, len(data) - 4))
    data[at : at + 4] = [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"][rng.integers(2)]
    return bytes(data)


def syntax(rng, data):
    """Another transfer syntax than the file's."""
    own = b"1.2.840.10008.1.2.1\0"
    return data.replace(own, SYNTAXES[rng.integers(3)][: len(own)], 1)


def nest(rng, data):
    """Sequences in sequences, deeper than Python's stack."""
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    start = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff"
    return data[:400] + (start + item) * 5000 + data[400:]


BYTES = (flip, cut, repeat, lengths, syntax, nest)


def set_value(rng, path):
    """An element of the wrong value, or none."""
    data = pydicom.dcmread(path)
    keyword = KEYWORDS[rng.integers(len(KEYWORDS))]
    if keyword not in data or rng.random() < 0.2:
        if keyword in data:
            delattr(data, keyword)
    else:
        element = data[keyword]
        choice = VALUES[element.VR]
        value = choice[rng.integers(len(choice))]
        count = max(1, element.VM)
        element.value = value if count == 1 else [value] * count
    data.save_as(path)


def set_contour(rng, path):
    """Contours with other numbers, types or none."""
    data = pydicom.dcmread(path)
    item = data.ROIContourSequence[0].ContourSequence[rng.integers(3)]
    case = rng.integers(4)
    if case == 0:
        count = int(rng.integers(0, 40))
        numbers = rng.choice([0.0, 1e6, -3.0, 45.0, 1e-30], count)
        item.ContourData = [f"{v:g}" for v in numbers]
    elif case == 1:
        item.ContourGeometricType = "OPEN_PLANAR"
    elif case == 2:
        del item.ContourData
    else:
        data.StructureSetROISequence[0].ROINumber = int(rng.integers(-9, 99))
    data.save_as(path)


@pytest.fixture(scope="module", params=["plain", further("compressed")])
def whole(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write_ct_series(folder / "ct", HU, patients.GRID)
    write_rtstruct(folder / "rt.dcm", [patients.cylinder()])
    if request.param == "compressed":  # GDCM takes memory for what a file claims
        for path in (folder / "ct").iterdir():
            data = pydicom.dcmread(path)
            data.compress(pydicom.uid.RLELossless)
            data.save_as(path)
    return folder


def read_all(folder):
    """Reads what a user would; returns the messages."""
    messages = []
    for step in (
        lambda: list_series(folder),
        lambda: read_series_ct(folder),
        lambda: _contours(folder),
    ):
        try:
            step()
        except UserError as error:
            messages.append(str(error))
    return messages


def _contours(folder):
    structures = read_rtstruct(folder / "rt.dcm")
    structures.roi("GTV")
    for roi in structures.rois:
        if roi.contours_mm:
            volume_ml(roi)
            centroid_mm(roi)
            rasterise(roi, patients.GRID, patients.SHAPE)


def reset_peak():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pytest.skip("no /proc/self/clear_refs: memory cannot be measured")
    return peak_bytes()


def peak_bytes():
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def damaged(whole, folder, seed):
    rng = np.random.default_rng(seed)
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    contours = rng.random() < 0.4
    path = folder / "rt.dcm" if contours else folder / "ct" / "0004.dcm"
    if rng.random() < 0.35:
        (set_contour if contours else set_value)(rng, path)
    else:
        path.write_bytes(BYTES[rng.integers(len(BYTES))](rng, path.read_bytes()))


def check(whole, folder, seeds):
    before = reset_peak()
    refused = 0
    for seed in seeds:
        damaged(whole, folder, seed)
        start = time.perf_counter()
        messages = read_all(folder)
        assert time.perf_counter() - start < MOST_S, seed
        assert all(len(m.splitlines()) == 4 for m in messages), (seed, messages)
        refused += bool(messages)
        shutil.rmtree(folder)
    assert peak_bytes() - before < MOST_BYTES
    return refused


# pydicom warns when the test itself writes wrong values.
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_end_in_a_message(whole, tmp_path):
    refused = check(whole, tmp_path / "here", range(FEW))
    assert refused > FEW // 3  # the damage is felt


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_thousand_damaged_files(whole, tmp_path):
    refused = check(whole, tmp_path / "here", range(FEW, FEW + MANY))
    assert refused > MANY // 3
