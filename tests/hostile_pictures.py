"""Pictures that nobody should trust, made in code, by name."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def ihdr(width: int, height: int, depth: int = 8, colour: int = 0, rest: bytes = b"\0\0\0") -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, depth, colour) + rest)


def repeated(byte: bytes, count: int) -> bytes:
    """A zlib stream of one byte many times. Its pieces are alike, so that only one of them has to be compressed."""
    size = 2**18
    packer = zlib.compressobj(9, wbits=-15)
    piece = packer.compress(byte * size) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.compress(byte * (count % size)) + packer.flush()
    checksum = zlib.adler32(byte * count).to_bytes(4, "big")
    return b"\x78\xda" + piece * (count // size) + end + checksum


def rows(width: int, height: int) -> bytes:
    return repeated(b"\0", (width + 1) * height)


def png(*chunks: bytes, width: int = 8, height: int = 8, end: bytes = b"") -> bytes:
    return SIGNATURE + ihdr(width, height) + b"".join(chunks) + chunk(b"IEND", b"") + end


def saved(kind: str, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()


def with_recipe(text: str) -> bytes:
    """An honest picture whose recipe is this text."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("recipe", text)
    return saved("PNG", pnginfo=info)


def text_of(kind: bytes, compressed: bytes, keyword: bytes = b"recipe") -> bytes:
    head = b"\0\0" if kind == b"zTXt" else b"\0\1\0\0\0"
    return chunk(kind, keyword + head + compressed)


def compressed_text(kind: bytes, text: bytes, keyword: bytes = b"recipe") -> bytes:
    return text_of(kind, zlib.compress(text, 9), keyword)


def bomb(kind: bytes, size: int) -> bytes:
    return text_of(kind, repeated(b"A", size))


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG of 64 x 64 pixels whose header tells another size."""
    data = bytearray(saved("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


PIXELS = chunk(b"IDAT", rows(8, 8))
GOOD_PNG, GOOD_JPEG = saved("PNG"), saved("JPEG")
FRAME = GOOD_JPEG[GOOD_JPEG.index(b"\xff\xc0") : GOOD_JPEG.index(b"\xff\xc4")]
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "text": b"A 55-year-old man with pneumonia",
    "gif": saved("GIF"),
    "bmp": saved("BMP"),
    "tiff": saved("TIFF"),
    "webp": saved("WEBP"),
    "signature alone": SIGNATURE,
    "png cut in the middle": GOOD_PNG[: len(GOOD_PNG) // 2],
    "png without an end": GOOD_PNG[:-12],
    "png with a page behind it": GOOD_PNG + b"<script>alert(1)</script>",
    "png with a zip behind it": GOOD_PNG + b"PK\3\4" + bytes(100),
    "png with a wrong checksum": SIGNATURE + ihdr(8, 8) + chunk(b"IDAT", rows(8, 8), 1) + chunk(b"IEND", b""),
    "png with two headers": png(ihdr(8, 8), PIXELS),
    "png without a header": SIGNATURE + PIXELS + chunk(b"IEND", b""),
    "png without pixels": png(),
    "png of no width": png(PIXELS, width=0),
    "png of depth 3": SIGNATURE + ihdr(8, 8, depth=3) + PIXELS + chunk(b"IEND", b""),
    "png of colour 5": SIGNATURE + ihdr(8, 8, colour=5) + PIXELS + chunk(b"IEND", b""),
    "png of another compression": SIGNATURE + ihdr(8, 8, rest=b"\1\0\0") + PIXELS + chunk(b"IEND", b""),
    "png of 12,000 x 12,000": png(chunk(b"IDAT", rows(12_000, 12_000)), width=12_000, height=12_000),
    "png of 2**31 x 2**31": png(PIXELS, width=2**31 - 1, height=2**31 - 1),
    "png with too few pixels": png(PIXELS, width=4_000, height=4_000),
    "png with damaged pixels": png(chunk(b"IDAT", b"x\x9c" + bytes(range(64)))),
    "animated png": png(chunk(b"acTL", struct.pack(">II", 9, 0)), PIXELS),
    "png whose chunk is longer than the file": SIGNATURE + ihdr(8, 8) + b"\x7f\xff\xff\xffIDAT" + bytes(64),
    "png with 100,000 chunks": png(*[chunk(b"tEXt", b"a\0b")] * 100_000, PIXELS),
    "png with a huge text": png(chunk(b"tEXt", b"recipe\0" + bytes([65]) * 1_000_000), PIXELS),
    "png with a zTXt bomb": png(bomb(b"zTXt", 100_000_000), PIXELS),
    "png with an iTXt bomb": png(bomb(b"iTXt", 100_000_000), PIXELS),
    "png with forty small zTXt bombs": png(*[bomb(b"zTXt", 900_000)] * 40, PIXELS),
    "jpeg cut in the middle": GOOD_JPEG[: len(GOOD_JPEG) // 2],
    "jpeg signature alone": b"\xff\xd8\xff",
    "jpeg of 65,000 x 65,000": jpeg_of_size(65_000, 65_000),
    "jpeg of no height": jpeg_of_size(64, 0),
    "jpeg with two frames": GOOD_JPEG.replace(FRAME, FRAME + FRAME),
    "lossless jpeg": GOOD_JPEG.replace(b"\xff\xc0", b"\xff\xc3", 1),
    "jpeg whose segment is longer than the file": b"\xff\xd8\xff\xe1\xff\xff" + bytes(100) + b"\xff\xd9",
    "jpeg of fill bytes": b"\xff\xd8" + b"\xff" * 1_000_000 + b"\xff\xd9",
    "png with a text that is not UTF-8": png(chunk(b"iTXt", b"recipe\0\0\0\0\0\xff\xfe"), PIXELS),
    "png with a text that is no zlib stream": png(chunk(b"zTXt", b"recipe\0\0" + bytes(range(64))), PIXELS),
    "png with a text that is cut": png(chunk(b"zTXt", b"recipe\0\0" + zlib.compress(b"A" * 999)[:-6]), PIXELS),
    "png with a text of another compression": png(chunk(b"zTXt", b"recipe\0\1" + zlib.compress(b"{}")), PIXELS),
    "png with a text of no compression method": png(chunk(b"iTXt", b"recipe\0\1"), PIXELS),
    "png with a text whose checksum is wrong": png(chunk(b"tEXt", b"recipe\0{}", 1), PIXELS),
    "more than 5 MB": GOOD_PNG + bytes(5_000_000),
}
