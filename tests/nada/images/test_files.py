"""One encoded image: every kind of file becomes RGB pixels, or is said to be of no use."""

import base64
import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from nada.images.files import Policy, Unusable, to_pixels
from tests.nada.images.pictures import BY_RESTARTS, DAMAGED, EOI, LARGE, R, encode, noise, png


def test_an_rgb_image_of_the_resolution_is_kept_bit_for_bit():
    pixels, size, done = to_pixels(encode(noise()), Policy(R))
    assert np.array_equal(pixels, noise()) and size == [R, R] and done == []
    assert pixels.dtype == np.uint8 and pixels.shape == (R, R, 3)


UPRIGHT = {  # EXIF 2.3: where the stored row 0 and column 0 are seen
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_orientation_says(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels, _, done = to_pixels(encode(noise(), exif=exif), Policy(R))
    assert np.array_equal(pixels, UPRIGHT[orientation](noise()))
    assert done == ([] if orientation == 1 else ["oriented"])


def test_a_turned_jpeg_is_cropped_after_it_was_turned_and_its_stored_size_recorded():
    image = np.zeros((12, 8, 3), np.uint8)
    image[2:10] = 255  # the centre in either way of looking at it
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(image, "JPEG", quality=100, exif=exif)
    pixels, size, done = to_pixels(data, Policy(R))
    assert size == [8, 12] and done == ["oriented", "cropped"]
    assert pixels.mean() > 240


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_exif_does_not_define_changes_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels, _, done = to_pixels(encode(noise(), exif=exif), Policy(R))
    assert np.array_equal(pixels, noise()) and done == []


@pytest.mark.parametrize("block", [b"no TIFF header", b"Exif\0\0MM\0*"])
def test_an_exif_block_that_cannot_be_read_changes_nothing(block):
    pixels, _, done = to_pixels(encode(noise(), exif=block), Policy(R))
    assert np.array_equal(pixels, noise()) and done == []


@pytest.mark.parametrize("form", ["PNG", "BMP", "JPEG"])
def test_grey_becomes_three_equal_channels(form):
    grey = np.full((R, R), 77, np.uint8)
    pixels, _, done = to_pixels(encode(grey, form), Policy(R))
    assert (pixels == 77).all() and done == ["grey"]


def test_black_and_white_of_one_bit_becomes_0_and_255():
    pixels, _, done = to_pixels(encode(Image.new("1", (R, R), 1)), Policy(R))
    assert (pixels == 255).all() and done == ["grey"]


def test_a_palette_becomes_its_colours():
    image = Image.new("P", (R, R), 1)
    image.putpalette([1, 2, 3, 40, 50, 60])
    pixels, _, done = to_pixels(encode(image), Policy(R))
    assert (pixels == [40, 50, 60]).all() and done == ["palette"]


@pytest.mark.parametrize("colour", [(200, 40, 0), (10, 10, 10)])
@pytest.mark.parametrize("alpha", [0, 100, 255])
def test_transparency_is_laid_on_white(colour, alpha):
    pixels, _, done = to_pixels(encode(Image.new("RGBA", (R, R), (*colour, alpha))), Policy(R))
    expected = (np.array(colour) * alpha + 255 * (255 - alpha)) / 255
    assert np.abs(pixels - expected).max() <= 1 and done == ["alpha"]


def test_transparent_grey_palettes_and_colours_are_laid_on_white_too():
    grey = encode(Image.new("LA", (R, R), (60, 0)))
    palette = Image.new("P", (R, R), 1)
    palette.putpalette([1, 2, 3, 40, 50, 60])
    keyed = Image.new("RGB", (R, R), (9, 8, 7))
    cases = {
        "grey": grey,
        "palette": encode(palette, transparency=1),
        None: encode(keyed, transparency=(9, 8, 7)),
    }
    for kind, data in cases.items():
        pixels, _, done = to_pixels(data, Policy(R))
        assert (pixels == 255).all()
        assert done == [kind, "alpha"] if kind else done == ["alpha"]


def test_a_cmyk_jpeg_becomes_the_rgb_that_was_meant():
    red = encode(Image.new("CMYK", (R, R), (0, 255, 255, 0)), "JPEG", quality=100)
    pixels, _, done = to_pixels(red, Policy(R))
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 6 and done == ["cmyk"]


def test_of_16_bits_the_high_byte_is_kept_which_restores_widened_8_bits():
    grey = noise(channels=1)
    pixels, _, done = to_pixels(encode(Image.fromarray(grey.astype(np.uint16) * 257)), Policy(R))
    assert np.array_equal(pixels, grey[..., None].repeat(3, 2)) and done == ["sixteen_bit", "grey"]
    wide = (noise().astype(">u2") * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    pixels, _, done = to_pixels(png(R, R, 16, 2, rows), Policy(R))
    assert np.array_equal(pixels, noise()) and done == ["sixteen_bit"]


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_animation_gives_its_first_frame_and_says_so(form):
    frames = [Image.new("RGB", (R, R), colour) for colour in ("red", "blue")]
    lossless = {"lossless": True} if form == "WEBP" else {}
    data = encode(frames[0], form, save_all=True, append_images=frames[1:], **lossless)
    pixels, _, done = to_pixels(data, Policy(R))
    assert (pixels == [255, 0, 0]).all() and done == ["first_frame"]


def test_a_phone_s_jpeg_with_a_second_view_is_no_animation():
    views = [Image.new("RGB", (R, R), "white"), Image.new("RGB", (R, R), "black")]
    data = encode(views[0], "MPO", save_all=True, append_images=views[1:])
    pixels, _, done = to_pixels(data, Policy(R))
    assert (pixels == 255).all() and done == []


def test_a_colour_profile_is_passed_over_and_said():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels, _, done = to_pixels(encode(noise(), icc_profile=profile), Policy(R))
    assert np.array_equal(pixels, noise()) and done == ["profile"]


@pytest.mark.parametrize(("height", "width"), [(8, 11), (11, 8), (8, 9), (9, 8), (8, 30)])
def test_the_centre_is_cropped_and_an_odd_pixel_falls_off_the_far_side(height, width):
    pixels, size, done = to_pixels(encode(noise(height, width)), Policy(R))
    top, left = (height - R) // 2, (width - R) // 2
    assert np.array_equal(pixels, noise(height, width)[top : top + R, left : left + R])
    assert size == [width, height] and done == ["cropped"]


def test_box_reduces_to_the_mean_of_each_block():
    image = noise(2 * R, 2 * R)
    pixels, _, done = to_pixels(encode(image), Policy(R, "box"))
    mean = image.reshape(R, 2, R, 2, 3).mean((1, 3))
    assert np.abs(pixels - mean).max() <= 1 and done == ["reduced"]


def test_lanczos_reduces_with_the_windowed_sinc_of_three_lobes():
    image = noise(2 * R, 2 * R)
    pixels, _, _ = to_pixels(encode(image), Policy(R))
    distance = (np.arange(2 * R) + 0.5)[None] / 2 - (np.arange(R) + 0.5)[:, None]  # [new, old]
    weight = np.sinc(distance) * np.sinc(distance / 3) * (np.abs(distance) < 3)
    weight /= weight.sum(1, keepdims=True)
    across = np.clip(np.einsum("no,hoc->hnc", weight, image), 0, 255)  # Pillow's order and range
    expected = np.clip(np.einsum("no,owc->nwc", weight, across), 0, 255)
    assert np.abs(pixels - expected).max() <= 1.01


def test_enlarging_and_other_sizes_are_refused_unless_asked_for():
    small, large = encode(noise(7, 9)), encode(noise(16, 16))
    with pytest.raises(Unusable, match="9x7") as caught:
        to_pixels(small, Policy(R))
    assert caught.value.kind == "small"
    pixels, _, done = to_pixels(small, Policy(R, enlarge=True))
    assert pixels.shape == (R, R, 3) and done == ["cropped", "enlarged"]
    with pytest.raises(Unusable, match="16x16") as caught:
        to_pixels(large, Policy(R, None))
    assert caught.value.kind == "other size"


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_is_of_no_use_and_the_reason_is_one_line(name):
    with pytest.raises(Unusable) as caught:
        to_pixels(DAMAGED[name], Policy(R))
    assert caught.value.kind == "damaged" and str(caught.value) and "\n" not in str(caught.value)


def test_the_holes_of_a_jpeg_are_what_pillow_alone_would_take_for_pixels():
    sound = encode(LARGE, "JPEG")
    for name in ("second half missing.jpg", "zeros in the middle.jpg", "intervals cut out.jpg"):
        decoded = Image.open(io.BytesIO(DAMAGED[name]))
        decoded.load()
        assert (
            np.abs(np.asarray(decoded, int) - np.asarray(Image.open(io.BytesIO(sound)))).max() > 16
        )


TABLES = [[300] * 64, [300] * 64]  # of 16 bits, which baseline JPEG has not
EXIF = Image.Exif()
EXIF[0x0112] = 1
# cjpeg -arithmetic -quality 50 of libjpeg-turbo 2.1.5, of a random image of 32 pixels.
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxO"
    "QERXRTc4UG1RV19iZ2hnPk1xeXBkeFxlZ2P/2wBDARESEhgVGC8aGi9jQjhCY2NjY2NjY2NjY2NjY2NjY2Nj"
    "Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2P/yQARCAAgACADASIAAhEBAxEB/8wACgAQEAUBEBEF"
    "/9oADAMBAAIRAxEAPwDRva9cYJpZNMqnKTy4GJHTnyB17QdQ9U/JAEUGvUDnYazsu8emChCHTVLm4vGdnX2e"
    "XJE5LcAoQ4dmfV7rG3DAR1RTqVvb+XBTJFtwY6Vz+4nNe+BDN6vE9gJpKS0XzvTvEoohkJGVOhTCGS+4ELNb"
    "B66W7+Ci8OlgdJ47hdU3Je+ZXbPheKvj1CRrO8Svomr6XP/Z"
)
SOUND_JPEGS = {
    "arithmetic coding": ARITHMETIC,
    "baseline": encode(LARGE, "JPEG"),
    "no thinning of colours": encode(LARGE, "JPEG", subsampling="4:4:4"),
    "colours at a quarter of the width": encode(LARGE, "JPEG", subsampling="4:1:1"),
    "optimised tables": encode(LARGE, "JPEG", optimize=True),
    "progressive": encode(LARGE, "JPEG", progressive=True),
    "16-bit tables": encode(LARGE, "JPEG", qtables=TABLES),
    "restart markers": BY_RESTARTS,
    "grey": encode(noise(96, 96, channels=1), "JPEG"),
    "CMYK": encode(Image.fromarray(LARGE).convert("CMYK"), "JPEG"),
    "RGB without transform": encode(LARGE, "JPEG", keep_rgb=True),
    "sides that are no multiple of 8": encode(noise(97, 83), "JPEG"),
    "one pixel": encode(noise(1, 1), "JPEG"),
    "bytes behind the end": encode(LARGE, "JPEG") + b"\0 of a mail program \xff\xd8\xff" * 9,
    "another JPEG behind the end": encode(LARGE, "JPEG") + encode(noise(), "JPEG"),
    "fill bytes before the end": encode(LARGE, "JPEG")[:-2] + b"\xff\xff\xff" + EOI,
    "a camera's zero before the end": encode(LARGE, "JPEG")[:-2] + b"\0" + EOI,
    "a second view": encode(LARGE, "MPO", save_all=True, append_images=[Image.fromarray(noise())]),
    "a preview in EXIF": encode(LARGE, "JPEG", exif=EXIF.tobytes() + encode(noise(), "JPEG")),
    "a comment and a profile": encode(
        LARGE, "JPEG", comment=b"\xff\xd9", icc_profile=b"\xff\xd9" * 70_000
    ),
    "a JFIF version of the future": encode(LARGE, "JPEG").replace(b"JFIF\0\1", b"JFIF\0\5"),
}


@pytest.mark.parametrize("name", SOUND_JPEGS)
def test_a_sound_jpeg_of_any_kind_passes_with_the_pixels_that_pillow_decodes(name):
    image = Image.open(io.BytesIO(SOUND_JPEGS[name]))
    side = min(image.size)
    pixels, _, done = to_pixels(SOUND_JPEGS[name], Policy(side))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    wanted = image.convert("RGB").crop((left, top, left + side, top + side))
    assert np.array_equal(pixels, np.asarray(wanted)) and "unchecked" not in done


def test_without_simplejpeg_a_jpeg_is_taken_and_marked_as_not_checked(monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)  # as if it were not installed
    _, _, done = to_pixels(DAMAGED["second half missing.jpg"], Policy(96))
    assert done == ["unchecked"]
    assert to_pixels(encode(LARGE), Policy(96))[2] == []
