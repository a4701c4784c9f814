import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.io.mha import MetaImage, read_mha, write_mha
from fluoro_jax.io.trackrad import TrackRadCase, read_trackrad, write_trackrad


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(3, 4, 5)).astype(np.float32)
    return TrackRadCase(frames, 4.0, (1.5, 1.25), (frames > 0).astype(np.uint8))


def test_a_case_comes_back(case, tmp_path):
    write_trackrad(tmp_path / "case_1", case)
    got = read_trackrad(tmp_path / "case_1")
    np.testing.assert_array_equal(got.frames, case.frames)
    np.testing.assert_array_equal(got.labels, case.labels)
    assert (got.rate_hz, got.pixel_mm) == (4.0, (1.5, 1.25))
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*"))
    assert names == [
        "case_1/frame-rate.json",
        "case_1/images/case_1_frames.mha",
        "case_1/targets/case_1_labels.mha",
    ]


def test_time_is_the_last_axis_of_the_array_as_in_the_challenge(case, tmp_path):
    write_trackrad(tmp_path / "a", case)
    image = read_mha(tmp_path / "a" / "images" / "a_frames.mha")
    assert image.array.shape == (5, 4, 3)  # [W, H, T]
    np.testing.assert_array_equal(image.array[2, 1], case.frames[:, 1, 2])


def test_a_case_without_targets(case, tmp_path):
    case.labels = None
    write_trackrad(tmp_path / "a", case)
    assert read_trackrad(tmp_path / "a").labels is None


def test_a_case_is_named_by_its_folder_wherever_it_is_read_from(
    case, tmp_path, monkeypatch
):
    write_trackrad(tmp_path / "case_1", case)
    for here, typed in ((".", "."), ("images", ".."), ("images", "../../case_1")):
        monkeypatch.chdir(tmp_path / "case_1" / here)
        np.testing.assert_array_equal(read_trackrad(typed).frames, case.frames)
    # Files of a case have its name, also behind a link of that name.
    (tmp_path / "case_1").rename(tmp_path / "stored")
    (tmp_path / "case_1").symlink_to(tmp_path / "stored")
    assert read_trackrad(tmp_path / "case_1").rate_hz == 4.0


def test_shapes_that_do_not_fit_are_not_written(case, tmp_path):
    with pytest.raises(ValueError, match="frames are"):
        write_trackrad(tmp_path / "a", TrackRadCase(case.frames[0], 4.0, (1.0, 1.0)))
    case.labels = case.labels[:1]
    with pytest.raises(ValueError, match="labels"):
        write_trackrad(tmp_path / "a", case)
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_with_a_folder_is_said(case, tmp_path):
    folder = tmp_path / "a"
    with pytest.raises(UserError, match=r"no file .*a_frames\.mha"):
        read_trackrad(folder)
    write_trackrad(folder, case)
    for text in ("", '"4"', "0", "null"):
        (folder / "frame-rate.json").write_text(text)
        with pytest.raises(UserError, match="no frame rate"):
            read_trackrad(folder)
    labels = MetaImage(np.zeros((5, 4, 2), np.uint8), (1.0,) * 3)
    write_mha(folder / "targets" / "a_labels.mha", labels)
    with pytest.raises(UserError, match=r"\(2, 4, 5\)"):
        read_trackrad(folder)
    frames = MetaImage(np.zeros((5, 4), np.uint8), (1.0,) * 2)
    write_mha(folder / "images" / "a_frames.mha", frames)
    with pytest.raises(UserError, match="2 axes"):
        read_trackrad(folder)
