"""Decode one image to RGB pixels of one size, by the same rules for every image set.

Steps, in this order:

- turned as its EXIF orientation says; of an animation, the first frame;
- 16 bits per channel: the high byte is kept, which is exact for widened 8-bit images;
- grey and palette images become RGB; CMYK is converted without a colour profile, and colour
  profiles are ignored, as in the published preparations;
- transparent pixels become white, like the paper of a sketch (their stored colour is undefined);
- the centre is cropped to a square and resized to the resolution with Lanczos, as the published
  sets were prepared (`box`: FFHQ-256); images are enlarged only on request.

Another release of Pillow may decode a JPEG to other pixels. Pillow accepts a JPEG that lost data:
libjpeg makes up the rest and only warns. simplejpeg, which wraps the same decoder, raises these
warnings as errors, and the image is refused as damaged. JPEG and lossy WebP have no checksums: a few
wrong bytes that do not confuse the decoder cannot be found.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nada.run.errors import UserError

DECODERS = ("PNG", "JPEG", "BMP", "WEBP")
FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
MAX_PIXELS = 89_478_485  # Pillow warns of a decompression bomb from here on; 268 MB as RGB
# Prefixes of libjpeg's warnings of lost data; its other warnings concern the header, not the pixels.
LOST = ("Corrupt JPEG data", "Premature end of JPEG file", "Inconsistent progression")
DAMAGED, HUGE, SMALL, OTHER_SIZE = "damaged", "huge", "small", "other size"  # kinds of Unusable

# EXIF orientation → transposition that turns the stored image upright (EXIF 2.3, tag 0x0112).
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's mode → key of DONE for its conversion to RGB; images of other modes are refused.
MODES = {"1": "grey", "L": "grey", "LA": "grey", "P": "palette", "PA": "palette"}
MODES |= {"CMYK": "cmyk", "RGB": None, "RGBA": None}
# Steps that change an image, and their wording in reports.
DONE = {
    "oriented": "turned as EXIF says",
    "first_frame": "animated: the first frame",
    "sixteen_bit": "16 bits per channel: the high byte",
    "grey": "grey, made RGB",
    "palette": "palette, made RGB",
    "cmyk": "CMYK, made RGB",
    "alpha": "transparent pixels made white",
    "profile": "colour profile ignored",
    "cropped": "centre cropped to a square",
    "reduced": "reduced",
    "enlarged": "enlarged",
    "unchecked": "JPEG not checked for lost data, because simplejpeg is not installed",
}


@dataclass(frozen=True)
class Policy:
    """Options of decoding; the pixels depend on them and on the files.

    resolution: side in pixels; resize: 'lanczos', 'box' or None (every image must have the
    resolution); enlarge: whether smaller images are enlarged.
    """

    resolution: int
    resize: str | None = "lanczos"
    enlarge: bool = False

    def __post_init__(self):
        largest = int(MAX_PIXELS**0.5)
        if type(self.resolution) is not int or not 1 <= self.resolution <= largest:
            raise UserError(f"resolution {self.resolution}: must be 1..{largest} pixels.")
        if self.resize is not None and self.resize not in FILTERS:
            raise UserError(f"resize '{self.resize}': choose {', '.join(FILTERS)} or none.")


class Unusable(Exception):
    """One image cannot be used; `kind` is DAMAGED, HUGE, SMALL or OTHER_SIZE."""

    def __init__(self, kind: str, why: str):
        super().__init__(" ".join(why.split()))
        self.kind = kind


def to_pixels(data: bytes, policy: Policy) -> tuple[np.ndarray, list[int], list[str]]:
    """An encoded image → (uint8 [R,R,3], its stored [width, height], what was done: keys of DONE).

    Raises Unusable if the image is damaged, a decompression bomb, or of a forbidden size.
    """
    done: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # every case that Pillow warns of is handled
            image = _decode(data, done)
            stored = list(image.size)
            image = _fit(_upright(image, done, data), policy, done)
    except (Unusable, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise Unusable(HUGE, str(error)) from error
    except Exception as error:  # decoders raise many types of errors on malformed data
        raise Unusable(DAMAGED, str(error) or type(error).__name__) from error
    return np.asarray(image), stored, done


def _decode(data: bytes, done: list[str]) -> Image.Image:
    """Decode the first frame completely; a decompression bomb is refused before it is decoded."""
    if not data:
        raise Unusable(DAMAGED, "an empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=DECODERS)
    except Image.UnidentifiedImageError:
        raise Unusable(DAMAGED, "not a PNG, JPEG, BMP or WebP") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Unusable(HUGE, f"{width}x{height} pixels, the limit is {MAX_PIXELS}")
    if image.format == "PNG":  # load() checks neither the checksums nor the end of the file
        Image.open(io.BytesIO(data), formats=DECODERS).verify()
    image.load()
    if image.format in ("JPEG", "MPO"):
        _refuse_lost_data(data, done)
    return image


def _refuse_lost_data(data: bytes, done: list[str]) -> None:
    """Raise Unusable for a JPEG whose data end early, are corrupt, or continue after the image."""
    try:
        import simplejpeg
    except ImportError:
        done.append("unchecked")
        return
    try:  # at 1/8 scale: every coefficient is read, few pixels are computed
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        if str(error).startswith(LOST):
            raise Unusable(DAMAGED, str(error)) from error


def _upright(image: Image.Image, done: list[str], data: bytes) -> Image.Image:
    """The image converted to RGB and turned upright."""
    orientation = _orientation(image)
    if getattr(image, "is_animated", False) and image.format != "MPO":  # MPO: a phone's JPEG
        done.append("first_frame")
    if image.info.get("icc_profile"):
        done.append("profile")
    if image.format == "PNG" and data[24] == 16:  # bit depth in IHDR
        done.append("sixteen_bit")
    image = _to_rgb(image, done)
    if orientation in UPRIGHT:
        done.append("oriented")
        image = image.transpose(UPRIGHT[orientation])
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(0x0112, 1)
    except (OSError, SyntaxError, ValueError, struct.error):
        return 1  # an unreadable EXIF block says nothing about the pixels


def _to_rgb(image: Image.Image, done: list[str]) -> Image.Image:
    transparent = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    if transparent and "transparency" in image.info and "sixteen_bit" in done:
        raise Unusable(DAMAGED, "16 bits with a transparent colour, which is not supported")
    if image.mode.startswith("I"):  # 16-bit grey
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in MODES:
        raise Unusable(DAMAGED, f"colour mode {image.mode}, which is not supported")
    if MODES[image.mode]:
        done.append(MODES[image.mode])
    if not transparent:
        return image.convert("RGB")
    done.append("alpha")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")


def _fit(image: Image.Image, policy: Policy, done: list[str]) -> Image.Image:
    """Crop the centre to a square and resize it; an odd pixel is cut from the right or the bottom."""
    (width, height), resolution = image.size, policy.resolution
    side = min(width, height)
    if policy.resize is None and (width, height) != (resolution, resolution):
        raise Unusable(OTHER_SIZE, f"{width}x{height}")
    if side < resolution and not policy.enlarge:
        raise Unusable(SMALL, f"{width}x{height}")
    if width != height:
        done.append("cropped")
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if side != resolution:
        done.append("reduced" if side > resolution else "enlarged")
        image = image.resize((resolution, resolution), FILTERS[policy.resize])
    return image
