"""One generated image <-> one lossless grey PNG that carries its whole recipe and says that it is synthetic.

Other pictures, of differences for example, become PNGs without a recipe.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from cxr import __version__
from cxr.images.guarded import open_regular, reason_of
from cxr.images.png_text import read_text
from cxr.request.errors import DataError, RequestError
from cxr.request.events import GeneratedImage
from cxr.request.recipe import Recipe

RECIPE_KEY = "recipe"
NO_RECIPE = "holds no recipe; only PNGs that this program wrote do, as they were written"
XMP_KEY = "XML:com.adobe.xmp"  # the keyword that Adobe's XMP specification, part 3, section 1.1.5 reserves in PNG files

XMP_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>%s</Iptc4xmpExt:DigitalSourceType>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""  # %s: IPTC's address for images like these


def encode_png(image: GeneratedImage) -> bytes:
    """Encode one image as a PNG; the same image gives the same bytes.

    Args:
        image: pixels [H, W] uint8 or uint16, 0 = black, and the recipe.
    Returns:
        A grey PNG of 8 or 16 bits with the text fields "recipe" (JSON), "Software", "Warning" and an XMP packet whose
        ``Iptc4xmpExt:DigitalSourceType`` is ``trainedAlgorithmicMedia``, or ``compositeWithTrainedAlgorithmicMedia`` of
        one that began from a picture. No field holds a time or a machine's name.
    """
    pixels = image.pixels
    assert pixels.ndim == 2, f"pixels are [H, W], not {pixels.shape}"
    assert pixels.dtype in (np.uint8, np.uint16), f"pixels are uint8 or uint16, not {pixels.dtype}"
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", f"CXR Studio {__version__}")
    text.add_text("Warning", image.recipe.notice)
    # International text: a prompt may hold any script, and tEXt knows Latin-1 only.
    text.add_itxt(RECIPE_KEY, image.recipe.to_json())
    text.add_itxt(XMP_KEY, XMP_PACKET % image.recipe.digital_source_type)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", pnginfo=text, compress_level=6)
    return buffer.getvalue()


def plain_png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels [H, W], or [H, W, 3] in colours, as a PNG that says nothing of itself."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def data_uri(picture: bytes, kind: str = "png") -> str:
    """The content of a file as an address that needs no request."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def data_address(pixels: NDArray[np.uint8], max_side: int | None = None) -> str:
    """A picture [H, W] as a ``data:`` address: PNG as it is, or WebP of at most ``max_side`` pixels a side."""
    if max_side is None:
        return data_uri(plain_png(pixels))
    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((max_side, max_side))
    picture.save(buffer, "WEBP", quality=80)
    return data_uri(buffer.getvalue(), "webp")


def read_recipe(source: str | Path | bytes, name: str = "") -> Recipe:
    """Read the recipe out of a PNG that ``encode_png`` made. The pixels are not decoded.

    Args:
        source: a file's path or its content.
        name: what messages call it; its path, or "the image", if empty.
    Raises:
        DataError: the file cannot be read, is not a PNG, or holds no recipe whose values are allowed.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open_regular(Path(source)) as file:
            text = read_text(file, RECIPE_KEY)
    except OSError as error:
        raise DataError(f"cannot be read as a PNG: {reason_of(error)}", path=name) from error
    except ValueError as error:
        raise DataError(f"cannot be read as a PNG: {error}", path=name) from error
    if text is None:
        raise DataError(NO_RECIPE, path=name)
    try:
        return Recipe.from_json(text)
    except RequestError as error:
        raise DataError(f"holds a recipe that this version cannot read: {error}", path=name) from error
