"""MP4 films of frames, through PyAV's copy of FFmpeg (H.264, which every browser plays)."""

import itertools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from nada.run.atomic import atomic_path
from nada.run.errors import UserError

CODEC = "libx264"
#: Off: with them, two encodings of one tiny film (32 px) had different bytes in some of 30 tries.
PARAMETERS = "mbtree=0:weightp=0:weightb=0"
PIXELS = "yuv420p"  # what browsers play
#: Constant quality of H.264, 0 (lossless) to 51; 18 is called visually lossless in FFmpeg's guide.
QUALITY = 18
FRAMES_PER_SECOND = 24
#: Small pictures are enlarged, whole pixels at a time, until their shorter side has as many pixels.
LEAST_SIDE = 256


def write_mp4(
    path,
    frames: Iterable[np.ndarray],
    frames_per_second: int = FRAMES_PER_SECOND,
    least_side: int = LEAST_SIDE,
    quality: int = QUALITY,
) -> int:
    """Write a film, atomically, and return its number of frames; equal frames give equal bytes on one machine.

    frames: uint8 [H,W,3], all of one size. A side that is odd after the enlargement loses its last row or
    column, since H.264 stores colours for 2x2 pixels. UserError: no frame, one of another size or type, a
    path that does not end in .mp4, or a build of FFmpeg without H.264.
    """
    import av  # not at the top: only films need it

    path = Path(path)
    if path.suffix != ".mp4":
        raise UserError(f"{path}: a film's name must end in .mp4.")
    if CODEC not in av.codecs_available:
        raise UserError(
            f"PyAV {av.__version__} was built without {CODEC}; install its wheel: pip install av"
        )
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise UserError(f"{path}: a film needs one or more frames.")
    _check(path, first, first.shape)
    scale = max(1, -(-max(least_side, 2) // min(first.shape[:2])))
    height, width = (side * scale // 2 * 2 for side in first.shape[:2])
    count = 0
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as film:
        # one thread: with several, the bytes depend on the machine
        stream = film.add_stream(CODEC, rate=Fraction(frames_per_second))
        stream.width, stream.height, stream.pix_fmt = width, height, PIXELS
        stream.options = {"crf": str(quality), "threads": "1", "x264-params": PARAMETERS}
        stream.codec_context.thread_count = 1
        for image in itertools.chain([first], frames):
            _check(path, image, first.shape)
            film.mux(stream.encode(_frame(av, image, scale, height, width)))
            count += 1
        film.mux(stream.encode(None))
    return count


def _check(path: Path, image: np.ndarray, shape: tuple) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.shape != shape:
        raise UserError(
            f"{path}: a frame is {image.dtype} {list(image.shape)}; uint8 [H, W, 3], all of one size, "
            f"expected."
        )


def _frame(av, image: np.ndarray, scale: int, height: int, width: int):
    large = image.repeat(scale, axis=0).repeat(scale, axis=1)[:height, :width]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(large), format="rgb24")
    return frame.reformat(format=PIXELS)
