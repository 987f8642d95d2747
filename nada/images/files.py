"""One encoded image to RGB pixels of one size: the policy that every image set shares.

What happens to an image, in this order:

- turned as its EXIF orientation says; of an animation, the first frame;
- 16 bits a channel: the high byte is kept, which is exact where 8 bits had been widened;
- grey and palettes become RGB; CMYK is converted without a colour profile, and colour profiles are
  passed over, as in the published preparations;
- transparency is laid on white, the paper of a sketch (what lies beneath it is undefined);
- the centre is cropped to a square and resized to the resolution with Lanczos, as the published
  sets were prepared (`box`: FFHQ-256); it is never enlarged unasked.

Another release of Pillow may decode a JPEG to other pixels. A JPEG that lost data decodes, too, and
Pillow does not say so: libjpeg makes up the rest and only warns. simplejpeg, which wraps the same
decoder, raises such warnings, so that the image is refused as damaged. JPEG and lossy WebP have no
checksums: a few wrong bytes that leave the decoder in step cannot be found.
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
MAX_PIXELS = 89_478_485  # where Pillow begins to warn of a bomb; 268 MB as RGB
# How libjpeg's warnings of lost data begin; others are of the header and change no pixel.
LOST = ("Corrupt JPEG data", "Premature end of JPEG file", "Inconsistent progression")
DAMAGED, HUGE, SMALL, OTHER_SIZE = "damaged", "huge", "small", "other size"  # kinds of Unusable

# EXIF orientation → what turns the stored image upright (EXIF 2.3, tag 0x0112).
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's mode → what is done to make it RGB; images of other modes are refused.
MODES = {"1": "grey", "L": "grey", "LA": "grey", "P": "palette", "PA": "palette"}
MODES |= {"CMYK": "cmyk", "RGB": None, "RGBA": None}
# What can be done to an image, in words.
DONE = {
    "oriented": "turned as EXIF says",
    "first_frame": "animated: the first frame",
    "sixteen_bit": "16 bits a channel: the high byte",
    "grey": "grey, made RGB",
    "palette": "palette, made RGB",
    "cmyk": "CMYK, made RGB",
    "alpha": "transparency laid on white",
    "profile": "colour profile passed over",
    "cropped": "centre cropped to a square",
    "reduced": "reduced",
    "enlarged": "enlarged",
    "unchecked": "a JPEG not checked for lost data, since simplejpeg is not installed",
}


@dataclass(frozen=True)
class Policy:
    """What the pixels of an index depend on beside the files.

    resize: 'lanczos', 'box' or None (every image must have the resolution); enlarge: whether
    smaller images are enlarged. The rest is fixed: transparency on white, the centre cropped.
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
    """One image cannot be used; `kind` is one of damaged, huge, small, other size."""

    def __init__(self, kind: str, why: str):
        super().__init__(" ".join(why.split()))
        self.kind = kind


def to_pixels(data: bytes, policy: Policy) -> tuple[np.ndarray, list[int], list[str]]:
    """An encoded image → (uint8 [R,R,3], its stored [width, height], what was done: keys of DONE).

    Raises Unusable where the image is damaged, a bomb, or of a size that the policy forbids.
    """
    done: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the policy handles whatever Pillow warns of
            image = _decode(data, done)
            stored = list(image.size)
            image = _fit(_upright(image, done, data), policy, done)
    except (Unusable, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise Unusable(HUGE, str(error)) from error
    except Exception as error:  # decoders raise errors of every kind on malformed data
        raise Unusable(DAMAGED, str(error) or type(error).__name__) from error
    return np.asarray(image), stored, done


def _decode(data: bytes, done: list[str]) -> Image.Image:
    """The stored first frame, decoded to its last byte; a bomb is met before it unfolds."""
    if not data:
        raise Unusable(DAMAGED, "an empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=DECODERS)
    except Image.UnidentifiedImageError:
        raise Unusable(DAMAGED, "no PNG, JPEG, BMP or WebP inside") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Unusable(HUGE, f"{width}x{height} pixels, the bound is {MAX_PIXELS}")
    if image.format == "PNG":  # loading alone checks neither the checksums nor the end
        Image.open(io.BytesIO(data), formats=DECODERS).verify()
    image.load()
    if image.format in ("JPEG", "MPO"):
        _refuse_lost_data(data, done)
    return image


def _refuse_lost_data(data: bytes, done: list[str]) -> None:
    """Raise Unusable for a JPEG whose data end early, do not decode, or go on behind the image."""
    try:
        import simplejpeg
    except ImportError:
        done.append("unchecked")
        return
    try:  # at an eighth of its size: every coefficient is read, and hardly a pixel is made
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        if str(error).startswith(LOST):
            raise Unusable(DAMAGED, str(error)) from error


def _upright(image: Image.Image, done: list[str], data: bytes) -> Image.Image:
    """The image as it is meant to be seen: RGB and upright."""
    orientation = _orientation(image)
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's JPEG
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
        raise Unusable(DAMAGED, "16 bits with a transparent colour, which is not handled")
    if image.mode.startswith("I"):  # 16-bit grey
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in MODES:
        raise Unusable(DAMAGED, f"colours of the mode {image.mode}, which is not handled")
    if MODES[image.mode]:
        done.append(MODES[image.mode])
    if not transparent:
        return image.convert("RGB")
    done.append("alpha")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")


def _fit(image: Image.Image, policy: Policy, done: list[str]) -> Image.Image:
    """Crop the centre to a square, the odd pixel off the far side, and resize it."""
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
