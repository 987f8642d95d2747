"""Films: their frames are read back, odd and small sizes, reproducible bytes, mistakes."""

import av
import numpy as np
import pytest

from eval.latent_space.video import write_mp4
from nada.run.errors import UserError


def frames(count=6, height=16, width=24):
    """Smooth coloured frames; a bright block moves."""
    rows, columns = np.mgrid[:height, :width]
    made = []
    for i in range(count):
        image = np.stack([rows * 255 // height, columns * 255 // width, np.full_like(rows, 40 * i)], axis=2)
        image[4:8, 2 * i : 2 * i + 4] = 230
        made.append(image.astype(np.uint8))
    return made


def read(path):
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        images = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
        return images, float(stream.average_rate), stream.codec_context.name


def test_frames_of_a_film_are_read_back_in_order(tmp_path):
    made = frames()
    assert write_mp4(tmp_path / "a.mp4", iter(made), frames_per_second=12, least_side=64, quality=5) == 6
    images, rate, codec = read(tmp_path / "a.mp4")
    assert (len(images), rate, codec) == (6, 12, "h264")
    for image, original in zip(images, made, strict=True):
        large = original.repeat(4, axis=0).repeat(4, axis=1)
        assert image.shape == large.shape
        # colours have half the resolution: compare away from edges, and over all
        error = np.abs(image.astype(int) - large.astype(int))
        assert error.mean() < 6 and np.median(error) <= 4
    first, last = (np.abs(images[i].astype(int) - images[0].astype(int)).mean() for i in (0, 5))
    assert first == 0 and last > 20


def test_odd_sides_lose_a_row_and_large_frames_keep_their_size(tmp_path):
    write_mp4(tmp_path / "odd.mp4", frames(2, 17, 25), least_side=1)
    assert read(tmp_path / "odd.mp4")[0][0].shape == (16, 24, 3)
    write_mp4(tmp_path / "large.mp4", frames(1, 40, 60), least_side=40)
    assert read(tmp_path / "large.mp4")[0][0].shape == (40, 60, 3)


def test_equal_frames_give_equal_bytes_and_an_earlier_film_is_replaced(tmp_path):
    write_mp4(tmp_path / "a.mp4", frames(3))
    write_mp4(tmp_path / "b.mp4", frames(5))
    write_mp4(tmp_path / "b.mp4", frames(3))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_mistakes_leave_the_earlier_film_and_no_other_file(tmp_path):
    path = tmp_path / "a.mp4"
    write_mp4(path, frames(2), least_side=16)
    before = path.read_bytes()
    for wrong, sentence in (
        ([], "one or more frames"),
        ([*frames(1), frames(1, 20)[0]], r"a frame is uint8 \[20, 24, 3\]"),
        ([frames(1)[0].astype(np.float32)], "a frame is float32"),
        ([frames(1)[0][:, :, 0]], r"a frame is uint8 \[16, 24\]"),
    ):
        with pytest.raises(UserError, match=sentence):
            write_mp4(path, wrong)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(UserError, match="must end in .mp4"):
        write_mp4(tmp_path / "a.gif", frames(1))
